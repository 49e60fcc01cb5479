"""The Chinese README says what the English one says: the same sections, code, links and tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ("README.md", "README.zh-CN.md")


def code(name: str) -> list[str]:
    """The lines of all blocks of code, without their comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", (ROOT / name).read_text(), re.M | re.S)
    lines = "".join(blocks).splitlines()
    return [re.sub(r" +#[^!].*", "", line) for line in lines]


def links(name: str) -> list[str]:
    """Where links lead, but those from one README to the other."""
    found = re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text())
    return sorted(link for link in found if link not in (ENGLISH, CHINESE))


def shape(name: str) -> list[str]:
    """Levels of headings, with how many rows of tables and items of lists are below each."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.M | re.S)
    sections = re.split(r"^(#+) .*$", text, flags=re.M)[1:]
    return [
        f"{level} {len(re.findall('^[|]', body, re.M))} {len(re.findall('^- ', body, re.M))}"
        for level, body in zip(sections[::2], sections[1::2], strict=True)
    ]


@pytest.mark.parametrize("part", [code, links, shape])
def test_nothing_is_missing(part: Callable[[str], list[str]]) -> None:
    assert part(CHINESE) == part(ENGLISH)
