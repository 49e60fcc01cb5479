"""Export files in YAML, which are read event by event and never as a whole.

Needs PyYAML; `kraal.shell.documents` imports this where YAML is asked for.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import IO, Final, NoReturn

import yaml
from yaml.composer import Composer
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import Resolver

from kraal.shell.json_document import ITEM, LIST, FormError
from kraal.shell.results import JsonValue

try:
    from yaml import CSafeDumper as Dumper
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml: the same, slowly
    from yaml import SafeDumper as Dumper  # type: ignore[assignment]
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

DEPTH_MAX: Final = 10
"""How deep values may be nested; three is what there is."""


class YamlForm:
    """Writes a list of mappings, text of several lines as it stands."""

    between = ""

    def beginning(self, header: dict[str, JsonValue]) -> str:
        return f"{_dumped(header)}znodes:\n"

    def znode(self, fields: dict[str, JsonValue]) -> str:
        return _dumped([fields])

    def end(self, count: int) -> str:
        return _dumped({"count": count})

    def parts(self, stream: IO[bytes]) -> Iterator[tuple[str, JsonValue, int]]:
        """See `kraal.shell.documents.Form.parts`."""
        try:
            yield from _parts(yaml.parse(stream, Loader=Loader))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise FormError(mark.line + 1 if mark else 0, error.problem or str(error)) from None
        except (yaml.YAMLError, UnicodeError) as error:
            raise FormError(0, " ".join(str(error).split())) from None


class _Dumper(Dumper):
    """Writes text of several lines in a block."""


_BLOCK = re.compile(r"\S[^\n]*(\n+[^\n]+)*\n?")
"""Text that a block shows without marks of its own; `_dumped` pieces end where it ends."""


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if _BLOCK.fullmatch(text) and "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def _dumped(value: JsonValue) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30)
    return text


def _parts(events: Iterator[yaml.Event]) -> Iterator[tuple[str, JsonValue, int]]:
    for event in events:
        if isinstance(event, yaml.MappingStartEvent):
            break
        if isinstance(event, yaml.StreamEndEvent):
            return
        if not isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            _fail(event, "an export file is a mapping: format, version, root, znodes")
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        key = _value(event, events)
        if not isinstance(key, str):
            _fail(event, "a key must be text")
        following = next(events)
        if key != "znodes" or not isinstance(following, yaml.SequenceStartEvent):
            yield key, _value(following, events), _line(following)
            continue
        yield LIST, None, _line(following)
        for each in events:
            if isinstance(each, yaml.SequenceEndEvent):
                break
            yield ITEM, _value(each, events), _line(each)
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            _fail(event, "a second document follows")


def _value(first: yaml.Event, events: Iterator[yaml.Event]) -> JsonValue:
    """The value that begins with an event. Raises FormError."""
    taken: deque[yaml.Event] = deque()
    event = first
    depth = 0
    while True:
        if isinstance(event, yaml.AliasEvent):
            _fail(event, "aliases are not read")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            _fail(event, "no znode is nested so deeply")
        taken.append(event)
        if depth == 0:
            return _Values(taken).value()
        event = next(events)


def _fail(event: yaml.Event, message: str) -> NoReturn:
    raise FormError(_line(event), message)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


class _Values(Composer, SafeConstructor, Resolver):
    """Makes a value of its events, with the plain types of YAML."""

    def __init__(self, events: deque[yaml.Event]) -> None:
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self._events = events

    def value(self) -> JsonValue:
        node = self.compose_node(None, None)  # type: ignore[arg-type]
        self._refuse_twice(node)
        made: JsonValue = self.construct_document(node)
        return made

    def _refuse_twice(self, node: yaml.Node | None) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                mark = key.start_mark
                raise ConstructorError(None, None, f"{key.value!r:.60} is there twice", mark)
            seen.add(key.value)

    # Where events come from, as a parser would give them

    def check_event(self, *choices: type[yaml.Event]) -> bool:
        return bool(self._events) and (not choices or isinstance(self._events[0], choices))

    def peek_event(self) -> yaml.Event:
        return self._events[0]

    def get_event(self) -> yaml.Event:
        return self._events.popleft()
