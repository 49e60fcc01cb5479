"""Export files in JSON, which are read value by value and never as a whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO, Final, NoReturn

from kraal.errors import KraalError
from kraal.shell.results import JsonValue

LIST: Final = "\0list"
"""The key of the part that says: here the list of znodes begins."""
ITEM: Final = "\0item"
"""The key of each znode of the list."""
_OPEN_TEXT = "Unterminated string"
CHUNK = 1 << 16
VALUE_MAX = 256 << 20
"""The longest znode, in characters; no server has one that is so long."""


class FormError(KraalError):
    """The file is not in its notation."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class JsonForm:
    """Writes one znode on a line."""

    between = ","

    def beginning(self, header: dict[str, JsonValue]) -> str:
        fields = "".join(f"  {_dumped(key)}: {_dumped(value)},\n" for key, value in header.items())
        return f'{{\n{fields}  "znodes": ['

    def znode(self, fields: dict[str, JsonValue]) -> str:
        return f"\n    {_dumped(fields)}"

    def end(self, count: int) -> str:
        return f'\n  ],\n  "count": {count}\n}}\n'

    def parts(self, stream: IO[bytes]) -> Iterator[tuple[str, JsonValue, int]]:
        return _Scanner(stream).parts()


def _dumped(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)


class _DuplicateError(ValueError):
    pass


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DuplicateError(f"{twice!r} is there twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise _DuplicateError(f"{name} is no JSON")


class _Scanner:
    """Goes through the text with a window that holds one value, or what is left of a chunk."""

    def __init__(self, stream: IO[bytes]) -> None:
        # What is no UTF-8 is found where it stands: it cannot be encoded again.
        self._stream = stream
        self._from_utf8 = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
        self._text = ""
        self._at = 0
        self._line = 1
        self._is_all = False

    def parts(self) -> Iterator[tuple[str, JsonValue, int]]:
        self._expect("{", "without --format yaml an export file begins with {")
        if self._take("}"):
            return
        while True:
            key, _ = self._value()
            if not isinstance(key, str):
                self._fail("a key must be text in quotes")
            self._expect(":", f"a colon must follow {key!r:.40}")
            if key == "znodes" and self._take("["):
                yield LIST, None, self._line_at(self._at)
                yield from self._znodes()
            else:
                value, line = self._value()
                yield key, value, line
            if self._take("}"):
                break
            self._expect(",", "a comma or } must follow")
        if self._peek():
            self._fail("something follows behind the end")

    def _znodes(self) -> Iterator[tuple[str, JsonValue, int]]:
        if self._take("]"):
            return
        while True:
            value, line = self._value()
            yield ITEM, value, line
            if self._take("]"):
                return
            self._expect(",", "a comma or ] must follow the znode")

    # Tokens

    def _peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        return True

    def _expect(self, character: str, message: str) -> None:
        if not self._take(character):
            found = self._peek()
            self._fail(f"{message}, not {found!r}" if found else "the file ends too early")

    def _value(self) -> tuple[JsonValue, int]:
        """A value, and the line where it begins. Raises FormError."""
        if not self._peek():
            self._fail("the file ends too early")
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_real(error) or not self._more():
                    self._at = error.pos
                    if self._is_all and error.pos >= len(self._text):
                        self._fail("the file ends too early")
                    if error.msg.startswith(_OPEN_TEXT):
                        self._fail("a text in quotes has no end")
                    self._fail(error.msg.removesuffix(" at"))
                continue
            except _DuplicateError as error:
                self._fail(str(error))
            except (RecursionError, ValueError):  # too deep; a number of too many digits
                self._fail("no znode looks like this")
            if end == len(self._text) and self._more():
                continue  # a number may go on
            line = self._line_at(self._at)
            self._at = end
            return value, line

    def _is_real(self, error: json.JSONDecodeError) -> bool:
        """Whether more text cannot mend it."""
        if len(self._text) - self._at > VALUE_MAX:
            return True
        if error.msg.startswith(_OPEN_TEXT):
            return False
        return error.pos < len(self._text) - 16

    def _more(self) -> bool:
        """Read on; what has been taken is dropped."""
        if self._is_all:
            return False
        content = self._stream.read(max(CHUNK, len(self._text) - self._at))
        self._is_all = not content
        more = self._from_utf8.decode(content, self._is_all)
        if self._is_all and not more:
            return False
        self._line = self._line_at(self._at)
        self._text = self._text[self._at :] + more
        self._at = 0
        return True

    def _line_at(self, at: int) -> int:
        return self._line + self._text.count("\n", 0, at)

    def _fail(self, message: str) -> NoReturn:
        raise FormError(self._line_at(self._at), message) from None
