"""Bodies of requests and replies, between Python values and bytes.

A decoder gets the body of one reply and raises DecodeError or struct.error if it does not follow
the format. Layouts: reference/client-protocol.md sections 3.3, 3.4 and 7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kraal.client.errors import BadArgumentsError, error_for
from kraal.client.values import NULL, AclNode, Children, Created, Node
from kraal.errors import DecodeError, ErrorCode
from kraal.model import path as paths
from kraal.model.acl import Acl, Id
from kraal.wire.jute.primitives import (
    read_text,
    read_vector,
    skip_acl_vector,
    unpack_int,
)
from kraal.wire.records.data import STAT, STAT_BYTES, Stat, decode_acls, encode_acls

T = TypeVar("T")
Decoder = Callable[[bytes], T]

_unpack_stat = STAT.unpack_from
_make_stat = Stat._make
_make_node = Node._make


def encode_path(path: str, *, is_sequential: bool = False) -> bytes:
    """A path as it is sent; a sequential one gets a number at its end.

    Raises BadArgumentsError for what can be no path (reference/client-protocol.md section 5.4).
    """
    wire = encode_prefix(path)
    if not paths.is_valid(wire + b"0" if is_sequential else wire):
        raise error_for(ErrorCode.BAD_ARGUMENTS, path)
    return wire


def encode_prefix(path: str) -> bytes:
    """The beginning of paths. Raises BadArgumentsError unless it begins with a slash."""
    try:
        if path[:1] != "/":
            raise _path_error(path)
        return path.encode()
    except TypeError:
        raise _path_error(path) from None
    except UnicodeEncodeError:
        raise BadArgumentsError("a path has no UTF-8 form", path=ascii(path)) from None


def without_chroot(chroot: bytes, wire_path: bytes) -> str:
    """A path of the server as it is shown to a client that lives below the chroot."""
    if wire_path == chroot and chroot:
        return "/"
    if chroot and wire_path.startswith(chroot + b"/"):
        wire_path = wire_path[len(chroot) :]
    return wire_path.decode("utf-8", "replace")


def _path_error(path: object) -> Exception:
    if isinstance(path, str):
        return BadArgumentsError("a path begins with a slash", path=path)
    return TypeError(f"a path must be a str, not {type(path).__name__}")


def encode_data(data: bytes | bytearray | memoryview) -> bytes | None:
    """Data as it is sent, None for null. Raises TypeError for what is not bytes."""
    if data is NULL:
        return None
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"data must be bytes, not {type(data).__name__}")


def encode_acl(acl: Sequence[Acl]) -> bytes:
    """An ACL as it is sent. Raises TypeError for what is not a list of `Acl`."""
    if isinstance(acl, Iterator):  # it would be another ACL when it is asked for again
        raise TypeError(f"an ACL must be a list of Acl(perms, scheme, id), not {acl!r:.100}")
    try:
        return encode_acls([Acl(perms, scheme, id_) for perms, scheme, id_ in acl])
    except (TypeError, ValueError, AttributeError, struct.error) as error:
        raise TypeError(f"an ACL must be a list of Acl(perms, scheme, id): {error}") from None


def decode_nothing(body: bytes) -> None:
    """A reply that says all in its header."""


def decode_stat(body: bytes) -> Stat:
    return _make_stat(_unpack_stat(body, 0))


def decode_node(body: bytes) -> Node:
    return decode_node_at(body, 0)[0]


def decode_node_at(body: bytes, at: int) -> tuple[Node, int]:
    (length,) = unpack_int(body, at)
    if length < 0:
        if length != -1:
            raise DecodeError(f"impossible length {length}")
        return _make_node((NULL, _make_stat(_unpack_stat(body, at + 4)))), at + 4 + STAT_BYTES
    begin = at + 4
    end = begin + length
    node = _make_node((body[begin:end], _make_stat(_unpack_stat(body, end))))
    return node, end + STAT_BYTES


def _decode_string(body: bytes) -> tuple[str, int]:
    value, at = read_text(body, 0)
    if value is None:
        raise DecodeError("a string is null")
    return value, at


def decode_path(body: bytes) -> str:
    return _decode_string(body)[0]


def decode_created(body: bytes) -> Created:
    path, at = _decode_string(body)
    return Created(path, decode_stat(body[at:]))


def decode_created_path(body: bytes) -> str:
    """The path of a reply that carries a stat as well."""
    return decode_created(body).path


def decode_names_at(body: bytes, at: int) -> tuple[list[str], int]:
    # Inlined: a list of children may have a million entries.
    (count,) = unpack_int(body, at)
    names: list[str] = []
    at, size = at + 4, len(body)
    for _ in range(count):
        (length,) = unpack_int(body, at)
        end = at + 4 + length
        if length < 0 or end > size:
            raise DecodeError(f"impossible length {length} of a name")
        names.append(body[at + 4 : end].decode("utf-8", "replace"))
        at = end
    return names, at


def decode_names(body: bytes) -> list[str]:
    return decode_names_at(body, 0)[0]


def decode_children(body: bytes) -> Children:
    names, at = decode_names_at(body, 0)
    return Children(names, decode_stat(body[at:]))


def decode_acl_node(body: bytes) -> AclNode:
    vector, at = skip_acl_vector(body, 0)
    return AclNode(decode_acls(vector) if vector is not None else [], decode_stat(body[at:]))


def decode_count(body: bytes) -> int:
    (count,) = unpack_int(body, 0)
    return int(count)


def _read_id(body: bytes, at: int) -> tuple[Id, int]:
    scheme, at = read_text(body, at)
    user, at = read_text(body, at)
    return Id(scheme or "", user or ""), at


def decode_ids(body: bytes) -> list[Id]:
    return read_vector(_read_id, body, 0)[0] or []
