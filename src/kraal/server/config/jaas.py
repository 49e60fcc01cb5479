"""The file that tells a JVM who logs in how, as the original has it: sections of login modules.

A section is `Name { module flag key="value" ...; };`. The syntax is that of Java's
`javax.security.auth.login.Configuration`: comments `//` and `/* */`, values in double quotes
unless they are a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kraal.errors import ConfigError

_TOKEN = re.compile(
    r"""(?P<space>[\x00-\x20]+|//[^\n]*|/\*.*?\*/)"""
    r"""|"(?P<text>(?:[^"\\\r\n]|\\.)*)\""""
    r"""|(?P<word>[A-Za-z$_*\u00a0-\U0010ffff-][\w.$*\u00a0-\U0010ffff-]*)"""
    r"""|(?P<sign>[{}=;])""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([0-3][0-7]{0,2}|[4-7][0-7]?)|(.))", re.DOTALL)
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_FLAGS = frozenset({"required", "requisite", "sufficient", "optional"})


@dataclass(frozen=True, slots=True)
class LoginModule:
    """One way to log in; what it does is the class's matter."""

    class_name: str
    options: Mapping[str, str] = field(repr=False)
    """May hold passwords."""
    repeated: tuple[str, ...] = ()
    """Options that are there more than once; the last counts, as in Java."""

    @property
    def name(self) -> str:
        """The class without its package."""
        return self.class_name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    is_sign: bool
    line: int


def parse(text: str) -> Mapping[str, tuple[LoginModule, ...]]:
    """The sections by name. Raises ConfigError with the line, and never with a password."""
    tokens = _Tokens(text)
    sections: dict[str, tuple[LoginModule, ...]] = {}
    while (name := tokens.take()) is not None:
        if name.is_sign:
            raise tokens.expected("the name of a section", name)
        if name.value in sections:
            raise ConfigError(f"line {name.line}: section {name.value} is there twice")
        tokens.sign("{")
        modules: list[LoginModule] = []
        while not tokens.skip("}"):
            modules.append(_module(tokens))
        tokens.sign(";")
        sections[name.value] = tuple(modules)
    return sections


def _module(tokens: _Tokens) -> LoginModule:
    class_name = tokens.word("the class of a login module").value
    flag = tokens.word("a flag")
    if flag.value.lower() not in _FLAGS:
        raise ConfigError(f"line {flag.line}: the flag must be one of {', '.join(sorted(_FLAGS))}")
    options: dict[str, str] = {}
    repeated: dict[str, None] = {}
    while not tokens.skip(";"):
        key = tokens.word("an option or ;")
        tokens.sign("=")
        value = tokens.word(f"the value of {key.value}")
        if "${" in value.value:
            raise ConfigError(f"line {value.line}: {key.value} has ${{...}}, which is of the JVM")
        if key.value in options:
            repeated[key.value] = None
        options[key.value] = value.value
    return LoginModule(class_name, options, tuple(repeated))


class _Tokens:
    """The tokens in their order."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next: _Token | None = next(self._tokens, None)
        self._line = 1

    def take(self) -> _Token | None:
        """The next one; None at the end."""
        token = self._next
        if token is not None:
            self._line = token.line
            self._next = next(self._tokens, None)
        return token

    def skip(self, sign: str) -> bool:
        """Whether this sign is the next, which is then taken."""
        token = self._next
        if token is None or not token.is_sign or token.value != sign:
            return False
        self.take()
        return True

    def sign(self, sign: str) -> None:
        if not self.skip(sign):
            raise self.expected(sign, self._next)

    def word(self, what: str) -> _Token:
        token = self.take()
        if token is None or token.is_sign:
            raise self.expected(what, token)
        return token

    def expected(self, what: str, found: _Token | None) -> ConfigError:
        """What is found instead is shown if it is a sign alone: it may be a password."""
        if found is None:
            return ConfigError(f"line {self._line}: {what} is missing at the end")
        shown = f", not {found.value}" if found.is_sign else ""
        return ConfigError(f"line {found.line}: {what} is expected{shown}")


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ConfigError(
                f"line {line}: neither a word, a text in double quotes nor one of {{}}=;"
            )
        if match["space"] is None:
            quoted = match["text"]
            value = match["word"] or match["sign"] or ""
            yield _Token(
                value if quoted is None else _ESCAPE.sub(_escaped, quoted),
                match["sign"] is not None,
                line,
            )
        line += text.count("\n", at, match.end())
        at = match.end()


def _escaped(match: re.Match[str]) -> str:
    octal, letter = match.groups()
    return chr(int(octal, 8)) if octal is not None else _CONTROLS.get(letter, letter)
