"""Session ids and passwords: the vectors of client-protocol.md sections 2.6, 2.7 and 14."""

from __future__ import annotations

import pytest

from kraal.model.session_id import first_session_id, password, show

CONTAINER_OWNER = -(2**63)


@pytest.mark.parametrize(
    ("session_id", "secret"),
    [
        (0x0100002A76EE0000, "d0d7c8e81df5bdaf2e37d6422e1bd342"),
        (0x0100002A76EE0001, "e3f8c2e8bd409df4237a3d6e02a4e70f"),
        (0x010000189E2A000F, "967037cee1903fdccc0f6198ca94827b"),
    ],
)
def test_passwords(session_id: int, secret: str) -> None:
    assert password(session_id).hex() == secret


def test_only_the_low_48_bits_of_an_id_count() -> None:
    """So servers 1 and 2 derive equal passwords for ids that differ in the server alone."""
    assert password(-1) == password(2**48 - 1) == password(2**63 - 1)
    assert password(5) == password(5 + (2 << 56)) != password(6)
    assert all(len(password(number)) == 16 for number in (-(2**63), -1, 2**63 - 1))


@pytest.mark.parametrize(
    ("server_id", "clock_ms", "first"),
    [
        (1, 0x2A76EE, 0x0100002A76EE0000),
        (1, 0, 0x0100000000000000),
        (127, 0xFF_FFFF_FFFF, 0x7FFFFFFFFFFF0000),
        (1, 0x12_3456_789A_BCDE, 0x0156789ABCDE0000),
        (254, 1, 0xFE00000000010000 - 2**64),
    ],
)
def test_where_a_server_begins_to_count(server_id: int, clock_ms: int, first: int) -> None:
    """Server id, the low 40 bits of the clock, 16 zeros."""
    assert first_session_id(server_id, clock_ms) == first


def test_the_owner_of_containers_is_no_session() -> None:
    assert first_session_id(128, 0) == CONTAINER_OWNER + 1


@pytest.mark.parametrize(
    ("session_id", "shown"),
    [(0x100, "0x100"), (-1, "0xffffffffffffffff"), (0x0100002A76EE0000, "0x100002a76ee0000")],
)
def test_shown_as_the_reference_shows_them(session_id: int, shown: str) -> None:
    assert show(session_id) == shown
