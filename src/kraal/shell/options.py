"""What a command takes, declared; and the parser, which follows zkCli's (commons-cli).

Options may stand anywhere and in one word (`-sw`, `-v3`, `-v=3`); `--` ends them; a negative
number is no option where a value is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from kraal.shell.errors import CommandError


class Kind(Enum):
    """What is written in an argument's place; completion asks."""

    PATH = "path"
    """A path of a znode."""
    FILE = "file"
    COMMAND = "command"
    CHOICE = "choice"
    TEXT = "text"


@dataclass(frozen=True)
class Argument:
    """What stands at one place of the line."""

    name: str
    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    is_optional: bool = False
    is_checked: bool = True
    """Whether a path is refused before the command sees it."""
    repeats: bool = False
    """Whether it may be given many times; for the last one."""


@dataclass(frozen=True)
class Option:
    """An option: alone, or with the value that follows it."""

    name: str
    """One letter, or a word that is written with one dash, as zkCli's `-members`."""
    meaning: str
    long: str = ""
    """What is written with two dashes, for commands that zkCli does not have."""
    value: Argument | None = None
    group: str = ""
    """At most one option of a group may be given."""

    @property
    def key(self) -> str:
        """How a command asks for it."""
        return self.long or self.name


PATH = Argument("path", Kind.PATH)
FILE = Argument("file", Kind.FILE)


def text(name: str) -> Argument:
    """Any text, such as data."""
    return Argument(name)


def choice(name: str, *choices: str) -> Argument:
    """One of some words; others are the command's own to refuse."""
    return Argument(name, Kind.CHOICE, choices)


def optional(argument: Argument) -> Argument:
    """An argument that may be missing, as all behind it."""
    return replace(argument, is_optional=True)


def many(argument: Argument) -> Argument:
    """The last argument, given any number of times."""
    return replace(argument, repeats=True)


def flag(name: str, meaning: str, *, long: str = "", group: str = "") -> Option:
    """An option without a value."""
    return Option(name, meaning, long, None, group)


def value(
    name: str, meaning: str, *, long: str = "", group: str = "", of: Argument | None = None
) -> Option:
    """An option with a value; `of` says what kind."""
    return Option(name, meaning, long, of or Argument(long or name), group)


@dataclass(frozen=True)
class Given:
    """What was written behind a command's name."""

    arguments: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]

    def __getitem__(self, at: int) -> str:
        return self.arguments[at]

    def __len__(self) -> int:
        return len(self.arguments)

    def get(self, at: int) -> str | None:
        """An argument that may be missing."""
        return self.arguments[at] if at < len(self.arguments) else None

    def has(self, option: str) -> bool:
        return option in self.options

    def value(self, option: str) -> str | None:
        """The value of an option, the first if it was given several times."""
        values = self.options.get(option)
        return values[0] if values else None

    def values(self, option: str) -> tuple[str, ...]:
        """All values of an option."""
        return self.options.get(option, ())

    def integer(self, option: str, default: int, *, bits: int = 32) -> int:
        """The value of an option as a signed number of so many bits. Raises CommandError."""
        given = self.value(option)
        if given is None:
            return default
        number = to_integer(given, bits)
        if number is None:
            kind = "an int" if bits == 32 else "a long"
            raise CommandError(f"-{option} argument must be {kind} value")
        return number


_INTEGER = re.compile(r"[+-]?[0-9]+")


def to_integer(text: str, bits: int) -> int | None:
    """The number that Java's parser finds in it, or None."""
    if not text.isascii() or not _INTEGER.fullmatch(text):
        return None
    number = int(text) if len(text) < 40 else 1 << 64
    return number if -(1 << (bits - 1)) <= number < 1 << (bits - 1) else None


_NUMBER = re.compile(r"-[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?")


def parse(options: Sequence[Option], tokens: Sequence[str]) -> Given:
    """Tell options and arguments apart. Raises CommandError."""
    return _Parser(options).parse(tokens)


class _Parser:
    def __init__(self, options: Sequence[Option]) -> None:
        self._short = {option.name: option for option in options if option.name}
        self._long = {option.long: option for option in options if option.long}
        self._arguments: list[str] = []
        self._options: dict[str, list[str]] = {}
        self._chosen: dict[str, Option] = {}
        self._open: Option | None = None
        """The option whose value comes next."""

    def parse(self, tokens: Sequence[str]) -> Given:
        are_options_over = False
        for token in tokens:
            if are_options_over:
                self._arguments.append(token)
            elif token == "--":
                are_options_over = True
            elif self._open is not None and not self._is_option(token):
                self._close(token)
            elif token.startswith("--"):
                self._take_long(token)
            elif token.startswith("-") and token != "-":
                self._take_short(token)
            else:
                self._arguments.append(token)
        self._require_value()
        options = {name: tuple(values) for name, values in self._options.items()}
        return Given(tuple(self._arguments), options)

    def _is_option(self, token: str) -> bool:
        """Whether a token is an option where a value is asked for."""
        if not token.startswith("-") or token == "-" or _NUMBER.fullmatch(token):
            return False
        if token.startswith("--"):
            return token[2:].partition("=")[0] in self._long
        name = token[1:].partition("=")[0]
        return name in self._short or name[:1] in self._short

    def _take_long(self, token: str) -> None:
        name, has_value, given = token[2:].partition("=")
        option = self._long.get(name)
        if option is None or (has_value and option.value is None):
            raise _unrecognized(token)
        self._begin(option)
        if has_value:
            self._close(given)

    def _take_short(self, token: str) -> None:
        name, has_value, given = token[1:].partition("=")
        option = self._short.get(name)
        if option is not None and (not has_value or option.value is not None):
            self._begin(option)
            if has_value:
                self._close(given)
            return
        if has_value and option is not None:
            raise _unrecognized(token)
        self._take_joined(token)

    def _take_joined(self, token: str) -> None:
        """Several letters in one word; the first that has a value takes the rest."""
        for at, letter in enumerate(token[1:], 1):
            option = self._short.get(letter)
            if option is None:
                raise _unrecognized(token)
            self._begin(option)
            if self._open is not None and at + 1 < len(token):
                self._close(token[at + 1 :])
                return

    def _begin(self, option: Option) -> None:
        self._require_value()
        if option.group:
            chosen = self._chosen.setdefault(option.group, option)
            if chosen is not option:
                raise CommandError(
                    f"The option '{option.name}' was specified but an option from this group has"
                    f" already been selected: '{chosen.name}'"
                )
        self._options.setdefault(option.key, [])
        self._open = option if option.value is not None else None

    def _close(self, given: str) -> None:
        assert self._open is not None
        self._options[self._open.key].append(given)
        self._open = None

    def _require_value(self) -> None:
        if self._open is not None:
            raise CommandError(f"Missing argument for option: {self._open.name or self._open.long}")


def _unrecognized(token: str) -> CommandError:
    return CommandError(f"Unrecognized option: {token}")
