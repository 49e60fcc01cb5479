"""The command `children`: a list of children in pages, however long it is.

A client gets all names in one answer, and none can read one that is longer than its
`jute.maxbuffer` (reference/operations.md section 9, complaint 12). The order is that of names, not
of a moment: whatever exists from the first page to the last one is in exactly one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from kraal.admin import java_text
from kraal.admin.http.reply import CommandError, Parameters, Reply
from kraal.admin.json_text import PAUSE, Json, Late, Pause, Rows
from kraal.admin.source import AdminSource
from kraal.model import path as paths
from kraal.replica.status import ChildStatus

LIMIT = 1000
LIMIT_MAX = 10_000
PAGE_BYTES_MAX = 1 << 20
"""Of names in one page, which has at least one."""
SLICE = 2000
"""Names that are looked at before others have a turn."""


def children(source: AdminSource, parameters: Parameters) -> Reply:
    """One page."""
    path = _bytes(parameters, "path")
    if not paths.is_valid(path):
        raise CommandError("path is missing, or no path of a znode")
    found = source.child_paths(path)
    if found is None:
        raise CommandError(f"Node does not exist: {java_text.path(path)}")
    page = _Page(source, path, parameters)
    return {
        "path": java_text.path(path),
        "num_children": len(found),
        "children": Rows(page.rows(found)),
        "next": Late(lambda: page.next),
    }


def _bytes(parameters: Parameters, name: str) -> bytes:
    return (parameters.text(name) or "").encode("utf-8", "replace")


class _Page:
    """The first children behind a name, chosen without sorting all of them."""

    def __init__(self, source: AdminSource, path: bytes, parameters: Parameters) -> None:
        self._source = source
        above = path if path != paths.ROOT else b""
        self._prefix = above + b"/" + _bytes(parameters, "prefix")
        self._after = above + b"/" + _bytes(parameters, "after")
        limit = parameters.number("limit")
        self._limit = LIMIT if limit is None else min(limit, LIMIT_MAX)
        self._name = len(above) + 1
        self.next: str | None = None

    def rows(self, found: Sequence[bytes]) -> Iterator[Json | Pause]:
        """The children; `next` is known behind them."""
        chosen: list[bytes] = []
        for begin in range(0, len(found), SLICE):
            self._choose(chosen, found[begin : begin + SLICE])
            yield PAUSE
        self._cut(chosen)
        for path in chosen:
            child = self._source.child_status(path)
            if child is not None:
                yield {"name": java_text.path(path[self._name :]), **_fields(child)}

    def _choose(self, chosen: list[bytes], some: Sequence[bytes]) -> None:
        """Add those that may be in the page, and one more, which says that another follows."""
        after, prefix = self._after, self._prefix
        if len(chosen) > self._limit:
            last = chosen[-1]
            chosen += [path for path in some if after < path < last and path.startswith(prefix)]
        else:
            chosen += [path for path in some if after < path and path.startswith(prefix)]
        chosen.sort()
        del chosen[self._limit + 1 :]

    def _cut(self, chosen: list[bytes]) -> None:
        sizes = accumulate(len(path) - self._name for path in chosen)
        fitting = sum(size <= PAGE_BYTES_MAX for size in sizes)
        count = min(self._limit, max(1, fitting))
        if len(chosen) > count:
            del chosen[count:]
            last = chosen[-1] if chosen else self._after
            self.next = java_text.path(last[self._name :])


def _fields(child: ChildStatus) -> dict[str, Json]:
    fields: dict[str, Json] = {"kind": str(child.kind)}
    if child.session_id:
        fields["session_id"] = f"0x{child.session_id:x}"
    if child.ttl_ms:
        fields["ttl_ms"] = child.ttl_ms
    return {**fields, "data_bytes": child.data_bytes, "children": child.children}
