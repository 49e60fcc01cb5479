"""How contenders of three programs are read, ordered and written."""

from __future__ import annotations

import re

import pytest

from kraal.recipes._names import (
    LATCH_MARKS,
    LOCK_MARKS,
    READ_MARKS,
    WRITE_MARKS,
    Layout,
    Marks,
    Role,
    ahead,
    in_order,
    read_name,
)

GUID = "53345f98-9423-4e0c-a7b5-9f819e3ec2e1"
HEX = GUID.replace("-", "")


@pytest.mark.parametrize(
    ("name", "number", "role"),
    [
        (f"_c_{GUID}-lock-0000000012", 12, Role.EXCLUSIVE),
        (f"_c_{GUID}-__WRIT__0000000012", 12, Role.EXCLUSIVE),
        (f"_c_{GUID}-latch-0000000012", 12, Role.EXCLUSIVE),
        (f"_c_{GUID}-__READ__0000000012", 12, Role.SHARED),
        (f"{HEX}__lock__0000000012", 12, Role.EXCLUSIVE),
        (f"{HEX}__rlock__2147483647", 2147483647, Role.SHARED),
        ("lock-0000000003", 3, Role.EXCLUSIVE),
        ("lock-lock-0000000003", 3, Role.EXCLUSIVE),
    ],
)
def test_names_of_three_programs_are_read(name: str, number: int, role: Role) -> None:
    entry = read_name(name)
    assert entry is not None
    assert (entry.number, entry.role) == (number, role)


@pytest.mark.parametrize(
    "name", ["lease_holder", "lock-", "lock-12", "0000000012", f"{HEX}__lock__0000000012x", ""]
)
def test_other_children_are_nobody(name: str) -> None:
    assert read_name(name) is None


def test_a_reader_waits_for_the_last_writer_before_it_and_for_nobody_behind() -> None:
    children = [
        "a-__WRIT__0000000001", "b__lock__0000000004", "c__rlock__0000000006",
        "d-__READ__0000000007", "e-__WRIT__0000000008",
    ]  # fmt: skip
    assert ahead(children, 7, Role.SHARED) == ("b__lock__0000000004", False)
    assert ahead(children, 8, Role.EXCLUSIVE) == ("d-__READ__0000000007", False)
    assert ahead(children, 1, Role.EXCLUSIVE) is None
    assert ahead([], 1, Role.SHARED) is None


@pytest.mark.parametrize(
    ("children", "is_last"),
    [
        (["a-lock-0000000001"], True),
        (["a-lock-0000000001", "a-__lock__0000000002"], True),
        (["a-lock-0000000001", "b-lock-0000000002"], False),
        (["a-latch-0000000001", "b-lock-0000000006"], True),
        # A writer may become a reader with the same number.
        (["a-__WRIT__0000000001"], False),
        (["a-__WRIT__0000000001", "a-__lock__0000000002"], False),
        (["a__lock__0000000001"], False),
    ],
)
def test_after_the_only_lock_ahead_comes_nobody(children: list[str], is_last: bool) -> None:
    other = ahead(children, 5, Role.EXCLUSIVE)
    assert other is not None
    assert other.is_last is is_last


def test_a_pair_is_one_contender() -> None:
    children = [
        "_c_b-__lock__0000000009", "_c_b-lock-0000000008", "lock-0000000001", "lock-0000000002",
    ]  # fmt: skip
    assert [entry.name for entry in in_order(children)] == [
        "lock-0000000001", "lock-0000000002", "_c_b-lock-0000000008",
    ]  # fmt: skip


def curator_key(name: str, *marks: str) -> str:
    """What Curator 5.9 sorts a child by: the text behind its mark, or all of it."""
    for mark in marks:
        at = name.rfind(mark)
        if at >= 0:
            name = name[at + len(mark) :]
    return name


def kazoo_number(name: str, *marks: str) -> str | None:
    """What kazoo 2.11 sorts a child by; None: it does not see it."""
    match = re.search(rf"(?:{'|'.join(marks)})(-?\d{{10}})$", name)
    return match and match[1]


@pytest.mark.parametrize(
    ("marks", "curator", "kazoo"),
    [
        (LOCK_MARKS, ["lock-"], ["__lock__"]),
        (WRITE_MARKS, ["__READ__", "__WRIT__"], ["__lock__", "__rlock__"]),
        (READ_MARKS, ["__READ__", "__WRIT__"], ["__lock__", "__rlock__"]),
        (LATCH_MARKS, ["latch-"], ["__lock__"]),
    ],
)
def test_both_programs_see_a_pair_at_its_place(
    marks: Marks, curator: list[str], kazoo: list[str]
) -> None:
    first, second = (f"_c_{GUID}-{mark}" for mark in marks.written("kraal"))
    pair = [f"{first}0000000006", f"{second}0000000007"]
    foreign = [f"_c_{GUID}-{curator[0]}{number:010}" for number in (5, 8)]
    in_curators_eyes = sorted([*foreign, *pair], key=lambda name: curator_key(name, *curator))
    assert in_curators_eyes == [foreign[0], pair[0], foreign[1], pair[1]]
    in_kazoos_eyes = {name: kazoo_number(name, *kazoo) for name in (*foreign, *pair)}
    assert in_kazoos_eyes == {foreign[0]: None, foreign[1]: None, pair[0]: None,
                              pair[1]: "0000000007"}  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "written"),
    [("kraal", ("lock-", "__lock__")), ("curator", ("lock-",)), ("kazoo", ("__lock__",))],
)
def test_a_layout_says_who_is_to_see_a_contender(layout: Layout, written: tuple[str, ...]) -> None:
    assert LOCK_MARKS.written(layout) == written


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="etcd"):
        LOCK_MARKS.written("etcd")  # type: ignore[arg-type]
