"""Znodes as they are told apart, and as export files have them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from kraal.client import NULL, Acl, Stat
from kraal.errors import KraalError
from kraal.model.limits import MAX_TTL_MS
from kraal.shell import acl_text, paths
from kraal.shell.errors import CommandError
from kraal.shell.results import JsonValue, data_json


class NodeKind(Enum):
    """What decides how long a znode lives (reference/client-protocol.md section 6)."""

    PERSISTENT = "persistent"
    EPHEMERAL = "ephemeral"
    CONTAINER = "container"
    TTL = "ttl"


def kind_of(stat: Stat) -> NodeKind:
    """Ephemeral or not: servers tell no more (reference/client-protocol.md section 4.4)."""
    return NodeKind.EPHEMERAL if stat.ephemeral_owner else NodeKind.PERSISTENT


class EntryError(KraalError):
    """An entry of an export file cannot be what it says."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A znode of an export file; its path is seen from the root of the export."""

    path: str
    data: bytes = NULL
    kind: NodeKind = NodeKind.PERSISTENT
    ttl_ms: int | None = None
    acl: tuple[Acl, ...] | None = None
    """None: the file does not say."""
    is_implied: bool = False
    """Whether it is not in the file, and only there for those below it."""


def entry_json(entry: Entry) -> dict[str, JsonValue]:
    """An entry as files have it: what is usual is left out."""
    fields: dict[str, JsonValue] = {"path": entry.path, **data_json(entry.data)}
    if fields.get("encoding") == "utf-8":
        del fields["encoding"]
    if entry.kind is not NodeKind.PERSISTENT:
        fields["kind"] = entry.kind.value
    if entry.ttl_ms is not None:
        fields["ttl"] = entry.ttl_ms
    if entry.acl is not None:
        fields["acl"] = [acl_text.entry_text(each) for each in entry.acl]
    return fields


_FIELDS = frozenset(("path", "data", "encoding", "kind", "ttl", "acl"))


def entry_of(value: JsonValue) -> Entry:
    """The entry that a file has. Raises EntryError."""
    if not isinstance(value, Mapping):
        raise EntryError(f"a znode must be a mapping with a path, not {_shown(value)}")
    for key in value:
        if key not in _FIELDS:
            known = ", ".join(sorted(_FIELDS))
            raise EntryError(f"{_shown(key)} is no field of a znode; there are {known}")
    path = value.get("path")
    if not isinstance(path, str):
        raise EntryError(f"path must be text, not {_shown(path)}" if path else "it has no path")
    try:
        paths.check(path)
    except CommandError as error:
        raise EntryError(str(error)) from None
    try:
        kind = _kind(value.get("kind", NodeKind.PERSISTENT.value))
        ttl = _ttl(value.get("ttl"), kind)
        data = _data(value.get("data"), value.get("encoding"))
        return Entry(path, data, kind, ttl, _acl(value.get("acl")))
    except EntryError as error:
        raise EntryError(f"znode {path}: {error}") from None


def _kind(value: JsonValue) -> NodeKind:
    for each in NodeKind:
        if each.value == value:
            return each
    known = ", ".join(each.value for each in NodeKind)
    raise EntryError(f"kind {_shown(value)} is none of {known}")


def _ttl(value: JsonValue, kind: NodeKind) -> int | None:
    if value is None and kind is not NodeKind.TTL:
        return None
    if kind is not NodeKind.TTL:
        raise EntryError(f"only kind ttl has a ttl, not {kind.value}")
    if type(value) is not int or not 0 < value <= MAX_TTL_MS:
        raise EntryError(f"ttl must be a number of milliseconds from 1 to {MAX_TTL_MS}")
    return value


def _data(value: JsonValue, encoding: JsonValue) -> bytes:
    if encoding not in (None, "utf-8", "base64"):
        raise EntryError(f"encoding {_shown(encoding)} is neither utf-8 nor base64")
    if value is None:
        return NULL
    if not isinstance(value, str):
        raise EntryError(f"data must be text in quotes or null, not {_shown(value)}")
    if encoding == "base64":
        try:
            return base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise EntryError(f"data is not in base64: {error}") from None
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise EntryError("data has what is no UTF-8; base64 can hold it") from None


def _acl(value: JsonValue) -> tuple[Acl, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable) or not value:
        raise EntryError("acl must be a list of scheme:id:perms")
    return tuple(_acl_entry(each) for each in value)


def _acl_entry(value: JsonValue) -> Acl:
    if isinstance(value, str):
        try:
            return acl_text.entry_of(value)
        except ValueError as error:
            raise EntryError(f"acl: {error}") from None
    raise EntryError(f"acl: {_shown(value)} is not scheme:id:perms")


def _shown(value: object) -> str:
    """A value of a file, for a message about it."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
