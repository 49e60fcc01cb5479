"""Frames: limits to the byte, pieces of any size, and what a byte at a time costs."""

from __future__ import annotations

import pytest

from kraal.model.limits import MAX_BUFFER_BYTES
from kraal.wire.framing import KEPT_BYTES, FrameReader


def framed(*bodies: bytes) -> bytes:
    return b"".join(len(body).to_bytes(4, "big") + body for body in bodies)


BODIES = (b"", b"a", b"four", b"x" * 300, b"", b"end")


def test_frames_in_one_piece() -> None:
    assert FrameReader(1000).feed(framed(*BODIES)) == (list(BODIES), None)


@pytest.mark.parametrize("cut", range(len(framed(*BODIES)) + 1))
def test_split_anywhere(cut: int) -> None:
    data = framed(*BODIES)
    reader = FrameReader(1000)
    first, _ = reader.feed(data[:cut])
    second, error = reader.feed(data[cut:])
    assert (first + second, error) == (list(BODIES), None)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_pieces(size: int) -> None:
    data = framed(*BODIES)
    reader = FrameReader(1000)
    found = [
        frame for at in range(0, len(data), size) for frame in reader.feed(data[at : at + size])[0]
    ]
    assert found == list(BODIES)


@pytest.mark.parametrize("limit", [8, 1000, MAX_BUFFER_BYTES])
def test_the_limit_is_inclusive(limit: int) -> None:
    assert FrameReader(limit).feed(framed(bytes(limit))) == ([bytes(limit)], None)
    frames, error = FrameReader(limit).feed(framed(bytes(limit + 1)))
    assert frames == []
    assert error is not None


def test_the_length_alone_is_enough_to_refuse() -> None:
    """Nobody waits for the bytes of a frame that is too long."""
    for length in (b"\x00\x10\x00\x00", b"\xff\xff\xff\xff", b"\x80\x00\x00\x00", b"\x7f" * 4):
        frames, error = FrameReader(MAX_BUFFER_BYTES).feed(length)
        assert frames == []
        assert error is not None


def test_frames_before_a_bad_length_are_given_out() -> None:
    frames, error = FrameReader(100).feed(framed(b"one", b"two") + b"\xff\xff\xff\xff")
    assert frames == [b"one", b"two"]
    assert error is not None


def test_a_bad_length_that_comes_in_pieces() -> None:
    reader = FrameReader(100)
    assert reader.feed(b"\x7f\xff") == ([], None)
    assert reader.feed(b"\xff\xff")[1] is not None


def test_frames_are_independent_of_the_buffer_they_came_in() -> None:
    reader = FrameReader(100)
    frames, _ = reader.feed(framed(b"kept"))
    reader.feed(framed(b"other"))
    assert frames == [b"kept"]
    assert type(frames[0]) is bytes


@pytest.mark.timeout(20)
def test_a_byte_at_a_time_is_not_quadratic() -> None:
    """A copy of what came so far for each byte would be 5 * 10^11 bytes here."""
    data = framed(b"x" * 1_000_000)
    reader = FrameReader(MAX_BUFFER_BYTES)
    for at in range(len(data) - 1):
        assert reader.feed(data[at : at + 1]) == ([], None)
    assert reader.feed(data[-1:]) == ([b"x" * 1_000_000], None)


@pytest.mark.parametrize("size", [1, 5, 13, 1000])
def test_of_a_frame_that_is_too_long_the_beginning_is_kept(size: int) -> None:
    long = bytes(range(200)) + bytes(801)
    data = framed(b"before", long, b"after", long[:101], b"end")
    reader = FrameReader(100, 1001)
    found: list[bytes] = []
    for at in range(0, len(data), size):
        frames, error = reader.feed(data[at : at + size])
        found += frames
        assert error is None
    assert found == [b"before", long[:KEPT_BYTES], b"after", long[:KEPT_BYTES], b"end"]
    assert reader.too_long == [1001, 101]
    assert reader.feed(framed(bytes(1002)))[1] is not None
