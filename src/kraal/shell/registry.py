"""All commands by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kraal.shell.command import Command
from kraal.shell.commands import (
    acls,
    comparing,
    copies,
    following,
    membership,
    quotas,
    reading,
    session,
    trees,
    watching,
    writing,
)

MODULES = (
    reading, writing, acls, quotas, watching, membership, trees, copies, comparing, following,
    session,
)  # fmt: skip
"""Where commands are defined; a new module is added here."""

COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        each.name: each
        for module in MODULES
        for each in vars(module).values()
        if isinstance(each, Command)
    }
)
