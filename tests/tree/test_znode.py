"""The count of created children and the wire's cversion, which is derived from it."""

from __future__ import annotations

import pytest

from kraal.tree.znode import created_children, wire_cversion


@pytest.mark.parametrize(
    ("created", "children", "shown"),
    [
        (0, 0, 0),
        (0, 2, -2),
        (1, 1, 1),
        (0x4000_0000, 0, -0x8000_0000),
        (0x7FFF_FFFF, 1, -3),
        (-1_627_389_952, 0, 1_040_187_392),
    ],
)
def test_the_wire_wraps_as_an_int_of_32_bits(created: int, children: int, shown: int) -> None:
    assert wire_cversion(created, children) == shown
    if created >= 0:
        assert created_children(shown, children) == created
