"""The reference of all commands, docs/reference/cli.md, written from the commands themselves.

`python -m kraal.cli.reference > docs/reference/cli.md` writes it anew; a test says when it is
out of date. A command that is added to `kraal` is in it without further ado.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from kraal.cli.main import main

_HEAD = """\
# The commands

Written by `python -m kraal.cli.reference > docs/reference/cli.md`; do not edit it by hand.
`kraal COMMAND --help` says the same.

Ctrl-C is how servers and watchers end that run until then (`kraal serve`, `kraal ensemble`, `watch`
without `-c` and `-t`): exit code 0. Any other command that it interrupts says `Interrupted` and
ends with 130.
"""


def text() -> str:
    """The whole page."""
    root = click.Context(main, info_name="kraal")
    return "\n".join([_HEAD, *_of(main, root, level=2)]).rstrip() + "\n"


def _of(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    """A command and those below it, in the order of their names."""
    yield f"{'#' * level} `{context.command_path}`\n"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```\n"
    yield from _help(command)
    if rows := list(_options(command, context)):
        yield "\n".join(["| option | meaning |", "|---|---|", *rows]) + "\n"
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            below = command.commands[name]
            if not below.hidden:
                inner = click.Context(below, info_name=name, parent=context)
                yield from _of(below, inner, level + 1)


def _help(command: click.Command) -> Iterator[str]:
    """The help text; what click leaves as it is (behind a backspace) becomes a block."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield f"```text\n{paragraph[2:]}\n```\n"
        elif paragraph:
            yield paragraph + "\n"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in parameter.opts:
            name, meaning = record
            if not meaning:  # an argument that the text explains
                continue
            yield f"| `{_cell(name)}` | {_cell(meaning)} |"


def _cell(shown: str) -> str:
    return " ".join(shown.split()).replace("|", "\\|")


if __name__ == "__main__":
    click.echo(text(), nl=False)
