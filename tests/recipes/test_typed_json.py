"""Dataclasses as JSON and back, with their types checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pytest

from kraal.recipes._typed_json import Json, from_json, to_json


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    number: int
    text: str | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: list[Inner] = field(default_factory=list)
    pair: tuple[int, str] = (0, "")
    open_end: tuple[float, ...] = ()
    by_name: dict[str, bool] = field(default_factory=dict)
    colour: Colour = Colour.RED
    choice: Literal[1, "one"] = 1
    either: int | list[str] = 0
    anything: Any = None


WHOLE = Outer(
    inner=Inner(1, "x"),
    many=[Inner(2)],
    pair=(3, "y"),
    open_end=(1.5, 2.0),
    by_name={"a": True},
    choice="one",
    either=["z"],
    anything={"k": [1]},
)


def test_there_and_back() -> None:
    assert from_json(Outer, to_json(WHOLE)) == WHOLE
    assert from_json(Outer, {"inner": {"number": 1}, "unknown": 1}) == Outer(Inner(1))
    assert from_json(float, 1) == 1.0


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        (Outer, {}, r"value\.inner is missing"),
        (Outer, {"inner": []}, r"value\.inner must be Inner"),
        (Outer, {"inner": {"number": "1"}}, r"value\.inner\.number must be int, not '1'"),
        (Outer, {"inner": {"number": True}}, r"number must be int"),
        (Outer, {"inner": {"number": 1}, "many": [{}]}, r"many\[0\]\.number is missing"),
        (Outer, {"inner": {"number": 1}, "pair": [1]}, "pair must be"),
        (Outer, {"inner": {"number": 1}, "by_name": {"a": 1}}, r"by_name\.a must be bool"),
        (Outer, {"inner": {"number": 1}, "colour": "blue"}, "colour must be Colour"),
        (Outer, {"inner": {"number": 1}, "choice": 2}, "choice must be"),
        (Outer, {"inner": {"number": 1}, "either": "x"}, "either must be"),
        (list[int], "x", "value must be"),
        (float, True, "value must be float"),
    ],
)
def test_what_does_not_fit_is_said(kind: type[object], value: Json, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        from_json(kind, value)


def test_what_has_no_form_in_json() -> None:
    with pytest.raises(TypeError, match="cannot be written"):
        to_json(object())
    with pytest.raises(TypeError, match="keys of text"):
        to_json({1: 2})
    with pytest.raises(TypeError, match="no form"):
        from_json(set[int], [])
    for number in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="no form in JSON"):
            to_json([number])
    for text in ("\ud800", {"\udfff": 1}):
        with pytest.raises(ValueError, match="UTF-8"):
            to_json(text)
