"""Dataclasses as JSON, with their types checked on the way in."""

from __future__ import annotations

import dataclasses
import math
import types
from enum import Enum
from typing import (
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
T = TypeVar("T")


def to_json(value: object) -> Json:
    """A value of dataclasses, enums, lists, tuples, sets and dicts as JSON.

    Raises TypeError for anything else, ValueError for what JSON cannot hold: infinite numbers and
    NaN, and text without a UTF-8 form.
    """
    if isinstance(value, Enum):
        return to_json(value.value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no form in JSON")
    if value is None or isinstance(value, bool | int | float):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: to_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("JSON has keys of text only")
        return {_text(key): to_json(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"text without a UTF-8 form: {value!a:.100}") from None
    return value


def from_json(kind: type[T], value: Json, where: str = "value") -> T:
    """The value of a type that JSON stands for.

    Types: None, bool, int, float, str, enums, Literal, lists, tuples, dicts, unions and
    dataclasses of them. A field of a dataclass that is missing has its default, and one that the
    dataclass does not know is left out. Raises ValueError, which says where.
    """
    return cast(T, _read(kind, value, where))


def _read(kind: Any, value: Json, where: str) -> object:
    origin = get_origin(kind)
    if kind is Any or kind is object:
        return value
    if origin in (Union, types.UnionType):
        return _read_union(kind, value, where)
    if origin is Literal:
        if value not in get_args(kind):
            raise _wrong(kind, value, where)
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise _wrong(kind, value, where) from None
    if kind is None or kind is type(None):
        matches = value is None
    elif kind is float:
        matches = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if matches else value  # type: ignore[arg-type]
    elif kind is int:
        matches = isinstance(value, int) and not isinstance(value, bool)
    elif kind in (bool, str):
        matches = isinstance(value, kind)
    else:
        return _read_collection(kind, origin or kind, value, where)
    if not matches:
        raise _wrong(kind, value, where)
    return value


def _read_union(kind: Any, value: Json, where: str) -> object:
    for choice in get_args(kind):
        try:
            return _read(choice, value, where)
        except ValueError:
            continue
    raise _wrong(kind, value, where)


def _read_collection(kind: Any, origin: Any, value: Json, where: str) -> object:
    arguments = get_args(kind) or (Any, Any)
    if origin in (list, tuple) and isinstance(value, list):
        if origin is list or arguments[-1] is ...:
            items = [_read(arguments[0], each, f"{where}[{n}]") for n, each in enumerate(value)]
            return items if origin is list else tuple(items)
        if len(arguments) != len(value):
            raise _wrong(kind, value, where)
        pairs = zip(arguments, value, strict=True)
        return tuple(_read(each, item, where) for each, item in pairs)
    if origin is dict and isinstance(value, dict):
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin not in (list, tuple, dict):
        raise TypeError(f"{where}: {kind} has no form in JSON")
    raise _wrong(kind, value, where)


def _read_dataclass(kind: Any, value: Json, where: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(kind, value, where)
    hints = get_type_hints(kind)
    arguments: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            there = f"{where}.{field.name}"
            arguments[field.name] = _read(hints[field.name], value[field.name], there)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}.{field.name} is missing")
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _wrong(kind: Any, value: Json, where: str) -> ValueError:
    return ValueError(f"{where} must be {getattr(kind, '__name__', kind)}, not {value!r}")
