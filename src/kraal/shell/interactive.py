"""The prompt: history, completion, colours, and events that do not destroy the line."""

from __future__ import annotations

import os
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from kraal.client import SessionState
from kraal.shell.completion import ShellCompleter
from kraal.shell.events import PROMPT_STATES
from kraal.shell.shell import Shell
from kraal.shell.signals import Signals

_COLOURS = {
    SessionState.CONNECTED: "ansigreen",
    SessionState.CONNECTED_READ_ONLY: "ansiyellow",
    SessionState.CONNECTING: "ansiyellow",
}


async def prompt(shell: Shell, signals: Signals) -> None:
    """Ask for lines and run them until Ctrl-D or `quit`; Ctrl-C ends a line or a command."""
    if not shell.settings.is_quiet:
        shell.output.lines(["Welcome to ZooKeeper!", "Tab completes, help lists the commands."])
    signals.spares_shell = True
    session: PromptSession[str] = PromptSession(
        history=open_history(),
        completer=ShellCompleter(shell),
        auto_suggest=AutoSuggestFromHistory(),
        complete_while_typing=False,
        enable_open_in_editor=False,
    )
    while not shell.is_over:
        try:
            with patch_stdout(raw=True):
                text = await session.prompt_async(lambda: _prompt(shell), handle_sigint=False)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        await _run(shell, signals, text)


async def _run(shell: Shell, signals: Signals, text: str) -> None:
    """One line, or several that were pasted together: each is a command of its own.

    The first that fails ends them, because those behind it may rely on it.
    """
    pasted = [line for line in text.split("\n") if line.strip()]
    for number, line in enumerate(pasted, start=1):
        await signals.run(shell, shell.run(line))
        left = len(pasted) - number
        if shell.is_over:
            return
        if shell.exit_code and left:
            shell.note(f"{left} more pasted {'line was' if left == 1 else 'lines were'} not run")
            return


def _prompt(shell: Shell) -> StyleAndTextTuples:
    colour = _COLOURS.get(shell.state, "ansired")
    return [
        ("", f"[zk: {shell.hosts}("),
        (colour, PROMPT_STATES[shell.state]),
        ("", f") {len(shell.history)}] "),
    ]


class DiscreetHistory(FileHistory):
    """Lines of earlier shells, without those that hold credentials."""

    def store_string(self, string: str) -> None:
        if "addauth" not in string:
            super().store_string(string)


def history_path() -> Path:
    """Where lines are kept: below XDG_STATE_HOME, or ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "kraal" / "shell-history"


def open_history() -> History:
    """The lines of earlier shells, or none where they cannot be kept."""
    path = history_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        if not os.access(path, os.R_OK | os.W_OK):
            return InMemoryHistory()
    except OSError:
        return InMemoryHistory()
    return DiscreetHistory(str(path))
