"""Completion at the prompt: commands, their options and arguments, and paths that exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from kraal.client import ZooKeeperError
from kraal.shell import lines
from kraal.shell.command import Command
from kraal.shell.errors import CommandError
from kraal.shell.options import Argument, Kind, Option
from kraal.shell.paths import child
from kraal.shell.shell import Shell

WAIT = 1.0
"""Seconds that the names of children are waited for."""


class ShellCompleter(Completer):
    """Completes the word before the cursor by what may stand there."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        raise NotImplementedError("znodes are looked up asynchronously")

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        words, begun = words_before(document.text_before_cursor)
        if not words:
            for name in sorted(self._shell.commands, key=str.lower):
                if name.lower().startswith(begun.lower()):
                    meta = self._shell.commands[name].summary
                    yield Completion(f"{name} ", -len(begun), display=name, display_meta=meta)
            return
        command = self._shell.commands.get(words[0])
        if command is None:
            return
        if begun.startswith("-"):
            for option in _options(command, begun):
                yield option
            return
        argument = expected(command, words[1:])
        if argument is None:
            return
        if argument.kind is Kind.FILE:
            for each in self._files.get_completions(Document(begun), complete_event):
                yield each
            return
        for candidate in await self._candidates(argument, begun):
            yield Completion(lines.quoted(candidate), -len(begun), display=candidate)

    async def _candidates(self, argument: Argument, begun: str) -> list[str]:
        if argument.kind is Kind.PATH:
            return await self._paths(begun)
        if argument.kind is Kind.COMMAND:
            return [name for name in sorted(self._shell.commands) if name.startswith(begun)]
        return [each for each in argument.choices if each.startswith(begun)]

    async def _paths(self, begun: str) -> list[str]:
        """The znodes whose path begins so; none where nobody answers in time."""
        parent, slash, beginning = begun.lstrip("\"'").rpartition("/")
        if not slash:
            return ["/"] if not begun else []
        parent = parent or "/"
        try:
            async with asyncio.timeout(WAIT):
                names = await self._shell.zk.get_children(parent)
        except (ZooKeeperError, CommandError, TimeoutError):
            return []
        return [child(parent, name) for name in sorted(names) if name.startswith(beginning)]


def words_before(text: str) -> tuple[list[str], str]:
    """The whole words before the cursor, and the one that is being written."""
    found = lines.found(text)
    if found and found[-1].end() == len(text):
        last = found.pop()
        begun = text[last.start() :]
        if found and found[-1].end() == last.start() and text[last.start() - 1 : last.start()]:
            begun = text[last.start() :]
    elif text.rstrip() and text.count('"') % 2:
        begun = text[text.rindex('"') :]
        found = lines.found(text[: text.rindex('"')])
    else:
        begun = ""
    return [next(part for part in each.groups() if part is not None) for each in found], begun


def expected(command: Command, words: list[str]) -> Argument | None:
    """What is to be written behind these words of a command; None: nothing is known."""
    values: dict[str, Option] = {}
    for option in command.options:
        if option.value is not None:
            values |= {f"-{option.name}": option} if option.name else {}
            values |= {f"--{option.long}": option} if option.long else {}
    at, open_option = 0, None
    for word in words:
        if open_option is not None:
            open_option = None
        elif word.startswith("-") and word != "-":
            open_option = values.get(word)
        else:
            at += 1
    if open_option is not None:
        return open_option.value
    return command.place(at)


def _options(command: Command, begun: str) -> Iterator[Completion]:
    for option in command.options:
        written = [f"-{option.name}"] if option.name else []
        written += [f"--{option.long}"] if option.long else []
        for each in written:
            if each.startswith(begun):
                yield Completion(f"{each} ", -len(begun), display=each, display_meta=option.meaning)
