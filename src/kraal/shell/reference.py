"""The reference of the shell's commands, docs/reference/shell.md, written from the commands.

`python -m kraal.shell.reference > docs/reference/shell.md` writes it anew; a test says when it is
out of date. A command that is in the registry is in it without further ado.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from kraal.shell.command import Command
from kraal.shell.registry import COMMANDS

_HEAD = """\
# The commands of the shell

Written by `python -m kraal.shell.reference > docs/reference/shell.md`; do not edit it by hand.
`help COMMAND` in the shell says the same; [docs/shell.md](../shell.md) is about the shell itself.
"""


def text() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_groups()]).rstrip() + "\n"


def _groups() -> Iterator[str]:
    for group in dict.fromkeys(each.group for each in COMMANDS.values()):
        yield f"## {group}\n"
        for each in sorted(COMMANDS.values(), key=lambda each: each.name.lower()):
            if each.group == group:
                yield from _of(each)


def _of(command: Command) -> Iterator[str]:
    yield f"### `{command.name}`\n"
    yield f"```text\n{command.name} {command.synopsis}".rstrip() + "\n```\n"
    yield f"{command.help}\n"
    if command.own:
        yield "zkCli does not have it.\n"
    if command.options:
        yield "| option | meaning |\n|---|---|"
        for option in command.options:
            names = [f"-{option.name}"] if option.name else []
            names += [f"--{option.long}"] if option.long else []
            shown = ", ".join(names)
            if option.value is not None:
                shown += f" {option.value.name}"
            yield f"| `{_cell(shown)}` | {_cell(option.meaning)} |"
        yield ""


def _cell(shown: str) -> str:
    return " ".join(shown.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(text())
