"""What kinds of znodes there are, for the shell: from the admin command `children`."""

from __future__ import annotations

import os

from kraal.cli.options import ADMIN_AUTH_DEFAULT, ADMIN_AUTH_VARIABLE
from kraal.cli.tools.admin_client import Access, is_server
from kraal.cli.tools.children import GoneError, Pages
from kraal.cli.tools.terminal import FailedError
from kraal.shell.errors import CommandError
from kraal.shell.kinds import Lifetime
from kraal.shell.znodes import NodeKind

LIMIT = 10_000
_KINDS = {kind.value: kind for kind in (NodeKind.CONTAINER, NodeKind.TTL)}


class AdminKinds:
    """Implements `KindSource`. Raises CommandError for what names no server."""

    def __init__(self, target: str) -> None:
        if not is_server(target):
            raise CommandError(f"{target} is no admin port: write HOST:PORT, or its URL")
        self._target = target
        self._access = Access(os.environ.get(ADMIN_AUTH_VARIABLE) or ADMIN_AUTH_DEFAULT)

    def among(self, path: str, prefix: str = "") -> dict[str, Lifetime] | None:
        """By name, the containers and znodes with a TTL among the children; None without one."""
        found: dict[str, Lifetime] = {}
        try:
            pages = Pages(self._target, self._access, path, prefix=prefix, limit=LIMIT)
            for child in pages.all():
                kind, ttl = _KINDS.get(str(child.fields.get("kind"))), child.fields.get("ttl_ms")
                if kind is not None:
                    found[child.name] = Lifetime(kind, ttl if isinstance(ttl, int) else None)
        except GoneError:
            return None
        except FailedError as error:
            raise CommandError(error.message) from error
        return found
