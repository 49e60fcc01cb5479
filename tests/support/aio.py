"""Coroutine functions as tests, each on a loop of its own, which nothing may be left behind in."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import cast

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function; a conftest that imports this name has it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    factory = cast(LoopFactory | None, arguments.get("loop_factory"))
    complaints: list[str] = []

    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(str(context)))
        await pyfuncitem.obj(**arguments)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks were left behind: {left}"

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(body())
    assert not complaints, complaints
    return True
