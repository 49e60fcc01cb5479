"""Packets of SASL between servers, by what Apache ZooKeeper 3.9.5 sends."""

from __future__ import annotations

import pytest

from kraal.errors import DecodeError
from kraal.wire.records.quorum_auth import AuthPacket, AuthStatus, decode, may_begin

FIRST = bytes.fromhex("5f2435013501edcc0000000000000000")
SUCCESS = bytes.fromhex("5f2435013501edcc0000000100000028") + b"rspauth=" + b"0" * 32


def test_packets_of_the_reference() -> None:
    assert AuthPacket(AuthStatus.IN_PROGRESS, b"").encode() == FIRST
    assert AuthPacket(AuthStatus.SUCCESS, b"rspauth=" + b"0" * 32).encode() == SUCCESS
    assert decode(SUCCESS + b"more") == (
        AuthPacket(AuthStatus.SUCCESS, b"rspauth=" + b"0" * 32), len(SUCCESS),
    )  # fmt: skip


@pytest.mark.parametrize("size", range(len(SUCCESS)))
def test_a_part_of_one(size: int) -> None:
    assert decode(SUCCESS[:size]) is None
    assert may_begin(SUCCESS[:size])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00", "no packet of SASL"),
        (FIRST[:7] + b"\x00", "no packet of SASL"),
        (FIRST[:8] + bytes.fromhex("0000000200000000"), "status 2"),
        (FIRST[:8] + bytes.fromhex("00000000fffffffe"), "a token of -2 bytes"),
        (FIRST[:8] + bytes.fromhex("0000000000010001"), "a token of 65537 bytes"),
    ],
)
def test_what_is_none(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(data)


def test_a_token_that_is_null() -> None:
    assert decode(FIRST[:12] + b"\xff\xff\xff\xff") == (AuthPacket(AuthStatus.IN_PROGRESS, b""), 16)
