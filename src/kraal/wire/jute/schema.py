"""One declaration per record compiles its reader and its writer.

A record is a class whose annotations are jute types::

    @record
    class SetDataRequest(Record):
        path: UString
        data: Buffer
        version: Int

`decode(buf, at)` returns the record and the offset behind it, or raises DecodeError, and
`encode()` returns its bytes. Where no object is wanted, `unpack(buf, at)` returns the values as a
tuple with the offset, and `pack(*values)` returns the bytes. Runs of fixed-size fields share one
precompiled struct; the functions are generated once, when the module is imported.

Strings stay the UTF-8 bytes of the wire (`UString`), because paths are looked up as bytes;
`Text` decodes them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Annotated, Any, Self, TypeVar, dataclass_transform, get_type_hints

from kraal.errors import DecodeError
from kraal.wire.jute import primitives


@dataclass(frozen=True, slots=True)
class Fixed:
    """A field of fixed size, by its `struct` code."""

    code: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A field with a length of its own."""

    read: Callable[[bytes, int], tuple[Any, int]]
    write: Callable[[Any], bytes]
    frequent: bytes | None = None
    """A value, and its encoding as well, that is looked for before it is read."""


def vector(element: Variable) -> Variable:
    """A vector whose elements are of the given kind; None is the null vector."""
    return Variable(
        lambda buf, at: primitives.read_vector(element.read, buf, at),
        lambda items: primitives.write_vector(element.write, items),
    )


_USTRING = Variable(primitives.read_buffer, primitives.write_buffer)

Bool = Annotated[bool, Fixed("?")]
Int = Annotated[int, Fixed("i")]
Long = Annotated[int, Fixed("q")]
Buffer = Annotated[bytes | None, _USTRING]
UString = Annotated[bytes | None, _USTRING]
Text = Annotated[str | None, Variable(primitives.read_text, primitives.write_text)]
UStrings = Annotated[list[bytes | None] | None, vector(_USTRING)]
AclVector = Annotated[
    bytes | None,
    Variable(primitives.skip_acl_vector, primitives.write_raw, primitives.OPEN_ACL_VECTOR),
]
"""A vector of ACL entries as its own bytes."""
StatBytes = Annotated[bytes, Fixed("68s")]
"""A Stat as its 68 bytes: `kraal.wire.records.data` names the fields."""


class Record:
    """Base of all records; `record` compiles the two methods."""

    __slots__ = ()

    @classmethod
    def decode(cls, buf: bytes, at: int = 0) -> tuple[Self, int]:
        """Read one record at an offset. Raises DecodeError."""
        raise NotImplementedError

    @staticmethod
    def unpack(buf: bytes, at: int = 0) -> tuple[tuple[Any, ...], int]:
        """The values alone, in the order of the fields, and the offset behind them."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """The record's bytes."""
        raise NotImplementedError

    @staticmethod
    def pack(*values: Any) -> bytes:
        """The bytes of a record with these values."""
        raise NotImplementedError


def _inline_reader(name: str) -> list[str]:
    """`read_buffer` in place for the common case; what is odd goes to the function itself."""
    return [
        "size, = unpack_int(buf, at)",
        "end = at + 4 + size",
        "if size < 0 or end > len(buf):",
        f"    {name}, at = read_{name}(buf, at)",
        "else:",
        f"    {name} = buf[at + 4 : end]; at = end",
    ]


def _frequent_reader(name: str, size: int) -> list[str]:
    return [
        f"if buf.startswith(frequent_{name}, at):",
        f"    {name} = frequent_{name}; at += {size}",
        "else:",
        f"    {name}, at = read_{name}(buf, at)",
    ]


def _inline_writer(name: str) -> list[str]:
    """The two pieces of `write_buffer`."""
    return [f"NULL if {name} is None else pack_int(len({name}))", f"{name} or b''"]


_R = TypeVar("_R", bound=Record)


@dataclass_transform()
def record(declared: type[_R]) -> type[_R]:
    """Make a slotted dataclass with compiled codecs of a class of annotations."""
    made: Any = dataclass(slots=True)(declared)
    hints = get_type_hints(made, include_extras=True)
    kinds = [(f.name, hints[f.name].__metadata__[0]) for f in fields(made)]
    names: dict[str, Any] = {
        "Made": made,
        "DecodeError": DecodeError,
        "StructError": struct.error,
        "unpack_int": primitives.unpack_int,
        "pack_int": primitives.pack_int,
        "NULL": primitives.NULL,
        "join": b"".join,
    }
    reader, values, writer = [], [], []
    for fixed, run in groupby(kinds, key=lambda kind: isinstance(kind[1], Fixed)):
        group = list(run)
        if fixed:
            layout = struct.Struct(">" + "".join(kind.code for _, kind in group))
            tag = group[0][0]
            names[f"unpack_{tag}"], names[f"pack_{tag}"] = layout.unpack_from, layout.pack
            targets = ", ".join(name for name, _ in group)
            reader.append(f"{targets}, = unpack_{tag}(buf, at); at += {layout.size}")
            writer.append(f"pack_{tag}({targets})")
        else:
            for name, kind in group:
                names[f"read_{name}"], names[f"write_{name}"] = kind.read, kind.write
                if kind is _USTRING:
                    reader += _inline_reader(name)
                    writer += _inline_writer(name)
                elif kind.frequent is not None:
                    names[f"frequent_{name}"] = kind.frequent
                    reader += _frequent_reader(name, len(kind.frequent))
                    writer.append(f"write_{name}({name})")
                else:
                    reader.append(f"{name}, at = read_{name}(buf, at)")
                    writer.append(f"write_{name}({name})")
        values += [name for name, _ in group]
    arguments = ", ".join(values)
    read = [
        "    try:",
        *(f"        {line}" for line in reader),
        "    except StructError:",
        "        raise DecodeError('a record is cut off') from None",
    ]
    lines = [
        "def unpack(buf, at=0):",
        *read,
        f"    return ({arguments},), at",
        "def decode(buf, at=0):",
        *read,
        f"    return Made({arguments}), at",
        f"def pack({arguments}):",
        f"    return join(({', '.join(writer)},))",
        "def encode(self):",
        f"    return pack({', '.join('self.' + name for name in values)})",
    ]
    exec("\n".join(lines), names)
    made.unpack, made.decode = staticmethod(names["unpack"]), staticmethod(names["decode"])
    made.pack, made.encode = staticmethod(names["pack"]), names["encode"]
    result: type[_R] = made
    return result
