"""What `python -m bench` measures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# The operations in the order in which they run: those that change the tree come last, so that
# a server that got more of them done does not read from a larger tree.
OPERATIONS = ("read", "exists", "children", "write", "create")

# Connections and outstanding requests per connection: latency, many clients, pipelined clients.
SHAPES = ((1, 1), (50, 1), (10, 100))

MEMORY = "memory"
RECOVERY = "recovery"
COLD_START = "cold-start"


@dataclass(frozen=True)
class LoadCase:
    """One operation sent in one shape."""

    mode: str
    connections: int
    outstanding: int

    @property
    def name(self) -> str:
        return f"{self.mode}-{self.connections}x{self.outstanding}"


LOAD_CASES = tuple(LoadCase(mode, *shape) for mode in OPERATIONS for shape in SHAPES)


@dataclass(frozen=True)
class Selection:
    """The cases of one run."""

    loads: tuple[LoadCase, ...]
    memory: bool
    recovery: bool
    cold_start: bool

    @property
    def modes(self) -> list[str]:
        """The operations among the loads, in their order."""
        return list(dict.fromkeys(case.mode for case in self.loads))

    @property
    def names(self) -> list[str]:
        whole = [(MEMORY, self.memory), (RECOVERY, self.recovery), (COLD_START, self.cold_start)]
        return [case.name for case in self.loads] + [name for name, chosen in whole if chosen]


def select(pattern: str = "") -> Selection:
    """The cases whose name contains a match of the regular expression `pattern`."""

    def chosen(name: str) -> bool:
        return re.search(pattern, name) is not None

    loads: Iterable[LoadCase] = (case for case in LOAD_CASES if chosen(case.name))
    return Selection(tuple(loads), chosen(MEMORY), chosen(RECOVERY), chosen(COLD_START))
