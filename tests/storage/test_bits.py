"""A flipped bit is found from the checksum, wherever it is."""

from __future__ import annotations

from random import Random
from zlib import adler32

from kraal.storage.bits import is_one_bit_off, mended_length, mended_payload
from kraal.storage.log_format import FRAME, frame

LIMIT = 1 << 21


def test_every_bit_of_a_record_is_put_back() -> None:
    payload = Random(1).randbytes(150)
    checksum = adler32(payload)
    for at in range(len(payload)):
        for bit in range(8):
            damaged = bytearray(payload)
            damaged[at] ^= 1 << bit
            assert mended_payload(bytes(damaged), checksum) == payload


def test_large_records_too_unless_two_places_explain_it() -> None:
    rng = Random(2)
    payload = rng.randbytes(200_000)
    checksum = adler32(payload)
    for _ in range(50):
        at, bit = rng.randrange(len(payload)), rng.randrange(8)
        damaged = bytearray(payload)
        damaged[at] ^= 1 << bit
        assert mended_payload(bytes(damaged), checksum) in (payload, None)


def test_more_than_a_bit_is_not_explained() -> None:
    rng = Random(3)
    payload = rng.randbytes(300)
    found = 0
    for _ in range(300):
        damaged = bytearray(payload)
        for at in rng.sample(range(len(payload)), 3):
            damaged[at] ^= rng.randrange(1, 256)
        mended = mended_payload(bytes(damaged), adler32(payload))
        assert mended is None or adler32(mended) == adler32(payload)
        found += mended is not None
    assert found < 6


def test_a_bit_of_the_checksum_or_of_the_length() -> None:
    payload = Random(4).randbytes(77)
    checksum = adler32(payload)
    assert all(is_one_bit_off(checksum ^ 1 << bit, checksum) for bit in range(32))
    assert not is_one_bit_off(checksum ^ 5, checksum)
    behind = frame(payload)[FRAME.size :] + frame(b"next" * 20)
    for bit in range(31):
        head = FRAME.pack(checksum, len(payload) ^ 1 << bit)
        assert mended_length(head, behind, LIMIT) == len(payload)
    assert mended_length(FRAME.pack(checksum, len(payload) ^ 6), behind, LIMIT) is None
