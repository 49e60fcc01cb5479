"""Jute: each type's bytes, the rules of decoding, and records compiled from declarations.

The cases are those of client-protocol.md section 1.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraal.errors import DecodeError
from kraal.model.acl import OPEN_UNSAFE, Acl
from kraal.wire.jute import primitives
from kraal.wire.jute.schema import (
    AclVector,
    Bool,
    Buffer,
    Int,
    Long,
    Record,
    Text,
    UString,
    UStrings,
    record,
)
from kraal.wire.records import proto
from kraal.wire.records.data import STAT, Stat, decode_acls, encode_acls
from kraal.wire.records.txn import (
    CloseSessionTxn,
    CreateTxn,
    CreateTxnV0,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    Txn,
    created_session_timeout,
)


@record
class Everything(Record):
    """One field of each kind, fixed ones next to each other and apart."""

    flag: Bool
    number: Int
    path: UString
    large: Long
    data: Buffer
    text: Text
    paths: UStrings
    acl: AclVector
    last: Int


ENTRIES = encode_acls([*OPEN_UNSAFE, Acl(-1, None, None), Acl(0, "", "\u00e9")])
FULL = Everything(True, -2, b"/a", -(2**63), b"", "t", [b"x", None, b""], ENTRIES, 2**31 - 1)
EMPTY = Everything(False, 0, None, 0, None, None, None, None, 0)


class TestPrimitives:
    @pytest.mark.parametrize(
        ("data", "value", "end"),
        [
            ("ffffffff", None, 4),
            ("00000000", b"", 4),
            ("00000002 6869 21", b"hi", 6),
            ("00000002 ffc0", b"\xff\xc0", 6),
        ],
    )
    def test_buffers(self, data: str, value: bytes | None, end: int) -> None:
        assert primitives.read_buffer(bytes.fromhex(data), 0) == (value, end)
        assert primitives.write_buffer(value) == bytes.fromhex(data)[:end]

    @pytest.mark.parametrize(
        "data", ["", "000000", "00000001", "00000005 61626364", "fffffffe", "80000000", "7fffffff"]
    )
    def test_impossible_buffers(self, data: str) -> None:
        with pytest.raises(DecodeError):
            primitives.read_buffer(bytes.fromhex(data), 0)

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"", ""),
            ("\u65e5".encode(), "\u65e5"),
            (b"\xff\xc0\x80", "\ufffd\ufffd\ufffd"),
            (b"\xed\xa0\x80", "\ufffd"),
            (b"\xed\xa0\xbd\xed\xb8\x80", "\ufffd\ufffd"),
            (b"\xe2\x82", "\ufffd"),
            (b"a\x80b", "a\ufffdb"),
            (b"\xf0\x9f\x98\x80", "\U0001f600"),
        ],
    )
    def test_malformed_text_is_replaced(self, data: bytes, text: str) -> None:
        assert primitives.read_text(primitives.write_buffer(data), 0)[0] == text

    @pytest.mark.parametrize(
        ("text", "data"),
        [
            ("a", "61"), ("\u00e9", "c3a9"), ("\u65e5", "e697a5"), ("\ufffd", "efbfbd"),
            ("/\U0001f600", "2f eda0bd edb880"), ("\U0010ffff", "edafbf edbfbf"),
        ],
    )  # fmt: skip
    def test_text_leaves_as_java_writes_it(self, text: str, data: str) -> None:
        assert primitives.encode_text(text) == bytes.fromhex(data)

    def test_null_and_empty_stay_distinct(self) -> None:
        assert primitives.write_text(None) != primitives.write_text("")
        assert primitives.write_vector(primitives.write_buffer, None) == bytes.fromhex("ffffffff")
        assert primitives.write_vector(primitives.write_buffer, []) == bytes.fromhex("00000000")

    @pytest.mark.parametrize(
        ("count", "items"),
        [("ffffffff", None), ("fffffffe", []), ("80000000", []), ("00000000", [])],
    )
    def test_negative_counts(self, count: str, items: list[bytes] | None) -> None:
        """-1 is null; every other negative count is an empty vector."""
        assert primitives.read_vector(primitives.read_buffer, bytes.fromhex(count), 0) == (items, 4)

    def test_a_false_count_ends_at_the_last_byte(self) -> None:
        data = bytes.fromhex("7fffffff 00000001 61 00000001 62")
        with pytest.raises(DecodeError):
            primitives.read_vector(primitives.read_buffer, data, 0)


class TestAclVectors:
    def test_the_open_one_is_recognised_anywhere(self) -> None:
        opened = encode_acls(OPEN_UNSAFE)
        assert primitives.skip_acl_vector(b"123" + opened + b"4", 3) == (opened, 3 + len(opened))

    def test_any_other_is_checked_and_kept_as_bytes(self) -> None:
        assert primitives.skip_acl_vector(ENTRIES + b"more", 0) == (ENTRIES, len(ENTRIES))

    @pytest.mark.parametrize("end", range(len(ENTRIES)))
    def test_cut_anywhere(self, end: int) -> None:
        with pytest.raises(DecodeError):
            primitives.skip_acl_vector(ENTRIES[:end], 0)

    def test_entries_come_back(self) -> None:
        acls = [Acl(31, "world", "anyone"), Acl(-1, None, None), Acl(0, "", "\u00e9")]
        assert decode_acls(encode_acls(acls)) == acls

    @pytest.mark.parametrize("length", [-2, -(2**31), 2**31 - 1, 100])
    def test_impossible_lengths(self, length: int) -> None:
        data = bytes.fromhex("00000001 0000001f") + length.to_bytes(4, "big", signed=True)
        with pytest.raises(DecodeError):
            primitives.skip_acl_vector(data + b"world", 0)


class TestRecords:
    @pytest.mark.parametrize("made", [FULL, EMPTY])
    def test_what_is_encoded_comes_back(self, made: Everything) -> None:
        data = made.encode()
        assert Everything.decode(data + b"ignored") == (made, len(data))
        assert Everything.decode(b"before" + data, 6) == (made, 6 + len(data))
        values, end = Everything.unpack(data)
        assert Everything.pack(*values) == data
        assert end == len(data)

    @pytest.mark.parametrize("end", range(len(FULL.encode())))
    def test_cut_anywhere(self, end: int) -> None:
        with pytest.raises(DecodeError):
            Everything.decode(FULL.encode()[:end])

    @pytest.mark.parametrize("byte", [1, 2, 0x80, 0xFF])
    def test_any_byte_but_zero_is_true(self, byte: int) -> None:
        data = bytes([byte]) + FULL.encode()[1:]
        assert Everything.decode(data)[0] == FULL

    def test_the_layout_of_a_request(self) -> None:
        made = proto.CreateRequest(b"/a", b"hello", encode_acls(OPEN_UNSAFE), 3)
        assert made.encode().hex() == (
            "000000022f610000000568656c6c6f"
            "000000010000001f00000005776f726c6400000006616e796f6e65" + "00000003"
        )

    def test_the_layout_of_a_stat(self) -> None:
        values = (1, 2, 3, 4, 5, -6, 7, 8, 9, 10, 11)
        data = STAT.pack(*values)
        assert len(data) == 68
        assert data[32:36] == b"\0\0\0\5"
        assert data[60:] == (11).to_bytes(8, "big")
        assert Stat.unpack(data) == Stat(*values)

    @given(
        st.builds(
            proto.SetWatches2,
            st.integers(-(2**63), 2**63 - 1),
            *[st.none() | st.lists(st.none() | st.binary(max_size=9), max_size=4)] * 5,
        )
    )
    @settings(derandomize=True, database=None)
    def test_any_record_comes_back(self, made: proto.SetWatches2) -> None:
        assert proto.SetWatches2.decode(made.encode()) == (made, len(made.encode()))


class TestTransactions:
    def test_one_with_a_digest(self) -> None:
        made = Txn(1, 2, 3, 4, 2, DeleteTxn(b"/a"), -5)
        again = Txn.decode(made.encode())
        assert (again.client_id, again.cxid, again.zxid, again.time_ms) == (1, 2, 3, 4)
        assert (again.kind, again.body, again.digest) == (2, DeleteTxn(b"/a"), -5)

    def test_a_digest_of_another_version_counts_as_none(self) -> None:
        payload = Txn(1, 2, 3, 4, 2, DeleteTxn(b"/a"), 5).encode()
        other = payload[:-12] + b"\0\0\0\1" + payload[-8:]
        assert Txn.decode(other).digest is None

    def test_an_error_never_has_one(self) -> None:
        payload = Txn(1, 2, 3, 4, -1, ErrorTxn(-101), None).encode()
        assert Txn.decode(payload + bytes(12)).digest is None

    def test_the_old_create_without_the_parents_counter(self) -> None:
        body = CreateTxnV0(b"/a", None, None, True)
        payload = Txn(1, 2, 3, 4, 1, body, None).encode()
        assert Txn.decode(payload).body == CreateTxn(b"/a", None, None, True, -1)

    def test_a_close_without_paths(self) -> None:
        payload = Txn(1, 2, 3, 4, -11, CloseSessionTxn([]), None).encode()[:-4]
        assert Txn.decode(payload).body == CloseSessionTxn([])

    def test_a_multi_stops_at_an_unknown_part(self) -> None:
        """As the reference does: what follows it has no effect."""
        good = MultiTxn([(2, DeleteTxn(b"/a"))]).encode()[4:]
        data = (3).to_bytes(4, "big") + good + bytes.fromhex("000003e7 00000000") + good
        made, _ = MultiTxn.decode(data)
        assert made.ops == [(2, DeleteTxn(b"/a"))]
        assert not made.failed

    @pytest.mark.parametrize("kind", [0, 3, 13 + 100, -2, 2**31 - 1])
    def test_unknown_kinds(self, kind: int) -> None:
        payload = Txn(1, 2, 3, 4, 2, DeleteTxn(b"/a"), None).encode()
        other = payload[:28] + kind.to_bytes(4, "big", signed=True) + payload[32:]
        with pytest.raises(DecodeError):
            Txn.decode(other)

    def test_the_timeout_of_a_new_session(self) -> None:
        payload = Txn(1, 0, 3, 4, -10, proto.CreateSessionRequest(30_000), None).encode()
        assert created_session_timeout(payload) == 30_000
