"""Where a client belongs: to the process and to the event loop that it was started in.

Futures, connections and sessions cannot be shared with others.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import Protocol

from kraal.client.errors import ForeignLoopError


class Resident(Protocol):
    """What belongs to one process."""

    def disown(self) -> None:
        """This process is a child of the one that it belongs to."""


_residents: weakref.WeakSet[Resident] = weakref.WeakSet()


def settle(resident: Resident) -> None:
    """Have it disowned in processes that are forked from this one."""
    _residents.add(resident)


def _disown_all() -> None:
    for resident in list(_residents):
        resident.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


def check_loop(home: asyncio.AbstractEventLoop) -> None:
    """Raises ForeignLoopError on any loop but this one.

    Where no loop runs, `home` must not be at work in another thread, nor be closed.
    """
    try:
        is_foreign = asyncio.get_running_loop() is not home
    except RuntimeError:
        is_foreign = home.is_running() or home.is_closed()
    if is_foreign:
        raise ForeignLoopError()
