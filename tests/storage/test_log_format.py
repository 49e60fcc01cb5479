"""The log's bytes, and where reading one ends (reference/storage-formats.md section 2)."""

from __future__ import annotations

import pytest

from kraal.errors import CorruptError
from kraal.storage.log_format import (
    FILE_HEADER,
    LogScanner,
    Tail,
    frame,
    padded_size,
)
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import ErrorTxn, MultiTxn, Txn
from tests.storage.support import golden

MIB = 1 << 20
MAX_RECORD = 2097150


def scan(content: bytes, limit: int = MAX_RECORD) -> tuple[list[bytes], LogScanner]:
    scanner = LogScanner("log.1", lambda at, size: content[at : at + size], limit)
    return [payload for _, payload in scanner], scanner


def test_the_worked_dump_is_read_and_written_to_the_byte() -> None:
    header, *blocks = golden("storage-log.hex")
    assert header == FILE_HEADER
    payloads, scanner = scan(header + b"".join(blocks))
    assert [frame(payload) for payload in payloads] == blocks
    assert scanner.tail is Tail.EXACT
    assert scanner.end == len(header) + sum(map(len, blocks))

    txns = [Txn.decode(payload) for payload in payloads]
    assert [txn.kind for txn in txns] == [-10, 1, -1, 14, -11]
    assert [txn.zxid for txn in txns] == [1, 2, 4, 0xE, 0x1E]
    assert [txn.digest for txn in txns] == [
        1371985504, 4486507549, None, 9248042969, 19911047519,
    ]  # fmt: skip
    assert isinstance(txns[2].body, ErrorTxn)
    assert isinstance(txns[3].body, MultiTxn)
    assert [kind for kind, _ in txns[3].body.ops] == [1, 1, 5, OpCode.CHECK, 2]
    assert [txn.encode() for txn in txns] == payloads


@pytest.mark.parametrize(
    ("position", "size", "grown"),
    [
        (16, 16, 67108880),
        (67104783, 67108880, 67108880),
        (67104784, 67108880, 134217744),
        (67113880, 67108880, 134217728),
    ],
)
def test_files_grow_as_the_reference_grows_them(position: int, size: int, grown: int) -> None:
    assert padded_size(position, size, 64 * MIB) == grown
    assert padded_size(position, size, 0) == size


PAYLOADS = [bytes([n]) * (40 + n) for n in range(1, 6)]
CONTENT = FILE_HEADER + b"".join(map(frame, PAYLOADS))


@pytest.mark.parametrize("padding", [0, 1, 11, 12, 4096])
def test_padding_ends_a_file(padding: int) -> None:
    payloads, scanner = scan(CONTENT + bytes(padding))
    assert payloads == PAYLOADS
    assert scanner.end == len(CONTENT)
    assert scanner.tail is (Tail.PADDING if padding > 11 else Tail.EXACT)


@pytest.mark.parametrize("padded", [0, 5000])
def test_a_file_cut_anywhere_gives_the_records_before_the_cut(padded: int) -> None:
    ends = [len(FILE_HEADER)]
    for payload in PAYLOADS:
        ends.append(ends[-1] + len(frame(payload)))
    for cut in range(len(FILE_HEADER), len(CONTENT)):
        payloads, scanner = scan(CONTENT[:cut] + bytes(padded))
        whole = sum(end <= cut for end in ends) - 1
        assert payloads == PAYLOADS[:whole], cut
        assert scanner.end == ends[whole]
        if padded:
            assert scanner.tail in (Tail.PADDING, Tail.UNFINISHED, Tail.CUT)


@pytest.mark.parametrize("record", range(len(PAYLOADS)))
def test_a_wrong_checksum_stops_everything(record: int) -> None:
    broken = bytearray(CONTENT)
    offset = len(FILE_HEADER) + sum(len(frame(p)) for p in PAYLOADS[:record])
    broken[offset + 20] ^= 1
    with pytest.raises(CorruptError, match=rf"log\.1 .* offset {offset}: the checksum"):
        scan(bytes(broken))


@pytest.mark.parametrize("length", [-1, -2, MAX_RECORD + 1])
def test_an_impossible_length_stops_everything(length: int) -> None:
    bad = bytes(8) + length.to_bytes(4, "big", signed=True) + b"x" * 40
    with pytest.raises(CorruptError, match=f"{length} is no length"):
        scan(CONTENT + bad)


def test_a_possible_length_past_the_end_is_a_cut() -> None:
    bad = bytes(8) + MAX_RECORD.to_bytes(4, "big") + b"x" * 40
    assert scan(CONTENT + bad)[0] == PAYLOADS


@pytest.mark.parametrize("size", range(16))
def test_a_part_of_a_header_is_damage(size: int) -> None:
    with pytest.raises(CorruptError, match=f"offset 0: {size} bytes"):
        scan(FILE_HEADER[:size])


def test_a_header_alone_is_an_empty_log() -> None:
    assert scan(FILE_HEADER)[0] == []


def test_only_the_magic_of_a_header_is_checked() -> None:
    assert scan(b"ZKLG" + b"\x63" * 12 + CONTENT[16:])[0] == PAYLOADS
    with pytest.raises(CorruptError, match="5a4b534e, which is no log"):
        scan(b"ZKSN" + CONTENT[4:])


def test_records_larger_than_a_window() -> None:
    big = [b"a" * 100, b"b" * (MIB - 60), b"c" * (2 * MIB - 10), b"d"]
    payloads, _ = scan(FILE_HEADER + b"".join(map(frame, big)), 3 * MIB)
    assert payloads == big


def test_an_end_byte_that_is_gone_hides_no_record() -> None:
    """The reference takes the file for ended there, and loses what follows."""
    for number, payload in enumerate(PAYLOADS):
        end = CONTENT.index(frame(payload)) + len(frame(payload)) - 1
        damaged = CONTENT[:end] + b"\0" + CONTENT[end + 1 :] + bytes(5000)
        if payload is PAYLOADS[-1]:
            payloads, scanner = scan(damaged)
            assert payloads == PAYLOADS[:number]
            assert scanner.tail is Tail.UNFINISHED
        else:
            with pytest.raises(CorruptError, match="lost its end byte"):
                scan(damaged)
