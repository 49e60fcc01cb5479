"""The code blocks of docs/recipes.md run as they stand there, each for itself."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import pytest

import kraal
import kraal.recipes
from kraal.testing import Server

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Payload:
    zone: str


async def is_healthy() -> bool:
    return True


class EnoughError(Exception):
    """Ends a block that would go on for ever."""


def work(calls: int) -> Callable[..., None]:
    """What a block calls as the application's own; enough after so many calls."""
    left = calls

    def step(*_: object, **__: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise EnoughError

    return step


def awaited(step: Callable[..., None]) -> Callable[..., Awaitable[None]]:
    async def call(*args: object, **kwargs: object) -> None:
        await asyncio.sleep(0)
        step(*args, **kwargs)

    return call


@pytest.mark.parametrize("number", range(len(BLOCKS)))
async def test_the_examples_of_the_page_on_recipes(number: int) -> None:
    space: dict[str, object] = {
        name: getattr(kraal.recipes, name) for name in kraal.recipes.__all__
    }
    space |= {"asyncio": asyncio, "kraal": kraal, "start_working_on": work(3)}
    space |= {"dataclass": dataclass, "replace": replace, "Literal": Literal, "Payload": Payload}
    space["is_healthy"] = is_healthy
    space |= {name: work(1) for name in ("apply", "connect_to", "note")}
    for name in ("do_one_thing", "one_step", "stop_working_on", "send", "work_on", "write_report"):
        space[name] = awaited(work(3))
    async with Server() as server, kraal.connect(server.hosts) as zk:
        block = BLOCKS[number].replace("127.0.0.1:2181", server.hosts)
        body = textwrap.indent(block, "    ")
        exec(compile(f"async def run(zk):\n{body}", f"block {number}", "exec"), space)
        await zk.ensure_path("/config/limits")
        run = cast(Callable[[kraal.Client], Awaitable[None]], space["run"])
        with suppress(EnoughError):
            await run(zk)
