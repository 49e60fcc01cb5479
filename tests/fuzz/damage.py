"""Damaged input: sound bytes with some of them cut, changed, repeated or replaced."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.support.raw_client import i32

_LENGTHS = (-1, 0, 1, -2, 2, 4, 127, 4096, 2**31 - 1, -(2**31), 0x7FFFFFF0)
_MAX_BYTES = 300


def damaged(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Random bytes, or a seed after a few changes."""
    changed = st.builds(_apply, st.sampled_from(list(seeds)), st.lists(_change(), max_size=4))
    return st.one_of(st.binary(max_size=_MAX_BYTES), changed, changed, changed)


Change = tuple[str, float, bytes]


def _change() -> st.SearchStrategy[Change]:
    """What to do, where (as a part of the length), and with which bytes."""
    where = st.floats(0, 1)
    return st.one_of(
        st.tuples(st.just("cut"), where, st.just(b"")),
        st.tuples(st.just("put"), where, st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("put"), where, st.sampled_from([i32(n) for n in _LENGTHS])),
        st.tuples(st.just("insert"), where, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("remove"), where, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("repeat"), where, st.just(b"")),
    )


def _apply(seed: bytes, changes: list[Change]) -> bytes:
    data = seed
    for kind, where, chunk in changes:
        at = int(where * len(data))
        match kind:
            case "cut":
                data = data[:at]
            case "put":
                data = data[:at] + chunk + data[at + len(chunk) :]
            case "insert":
                data = data[:at] + chunk + data[at:]
            case "remove":
                data = data[:at] + data[at + len(chunk) :]
            case _:
                data += data[at : at + _MAX_BYTES]
    return data
