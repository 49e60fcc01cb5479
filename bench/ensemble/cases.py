"""What `python -m bench --ensemble` measures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.cases import COLD_START, MEMORY, LoadCase

# Connections, spread evenly over the members, and outstanding requests per connection.
SHAPES = ((48, 1), (9, 100))
# In the order in which they run; creates come last, because they change what is read from.
GROUPS = {"reads": "read", "writes": "write", "creates": "create"}
FAILOVER = "failover"
LAG = "lag"
WHOLE = (COLD_START, MEMORY, FAILOVER, LAG)

LOAD_CASES = tuple(LoadCase(mode, *shape) for mode in GROUPS.values() for shape in SHAPES)


@dataclass(frozen=True)
class Selection:
    """The cases of one run."""

    loads: tuple[LoadCase, ...]
    whole: frozenset[str]

    @property
    def modes(self) -> list[str]:
        """The operations among the loads, in their order."""
        return list(dict.fromkeys(case.mode for case in self.loads))

    @property
    def names(self) -> list[str]:
        return [case.name for case in self.loads] + [name for name in WHOLE if name in self.whole]


def select(only: str = "") -> Selection:
    """The cases that `only` names: groups, or regular expressions found in a case's name.

    Parts are separated by commas. Raises re.error.
    """
    patterns = [f"^{GROUPS[part]}-" if part in GROUPS else part for part in only.split(",")]

    def chosen(name: str) -> bool:
        return any(re.search(pattern, name) for pattern in patterns)

    return Selection(
        tuple(case for case in LOAD_CASES if chosen(case.name)),
        frozenset(name for name in WHOLE if chosen(name)),
    )
