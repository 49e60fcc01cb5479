"""Commands about watches: `addWatch`, `removewatches`."""

from __future__ import annotations

from kraal.client import WatcherKind
from kraal.shell.command import command
from kraal.shell.context import Context
from kraal.shell.errors import CommandError
from kraal.shell.options import PATH, Given, choice, flag, optional, text, value
from kraal.shell.results import Done, Results

GROUP = "Watches"
_PERSISTENT, _RECURSIVE = "PERSISTENT", "PERSISTENT_RECURSIVE"
_KINDS = {
    "c": WatcherKind.CHILDREN,
    "d": WatcherKind.DATA,
    "p": WatcherKind.PERSISTENT,
    "r": WatcherKind.PERSISTENT_RECURSIVE,
    "a": WatcherKind.ANY,
}


@command(
    "addWatch",
    f"[-m mode] path # optional mode is one of [{_PERSISTENT}, {_RECURSIVE}] - default is"
    f" {_RECURSIVE}",
    PATH, optional(text("nothing")),
    value("m", "mode", of=choice("mode", _PERSISTENT, _RECURSIVE)),
    group=GROUP,
)  # fmt: skip
async def add_watch(shell: Context, given: Given) -> Results:
    """Print every event of a znode, and of all below it unless the mode is PERSISTENT.

    The watch stays until `removewatches`. The znode need not exist.
    """
    mode = (given.value("m") or _RECURSIVE).upper()
    if len(given) != 1 or mode not in (_PERSISTENT, _RECURSIVE):
        raise CommandError(add_watch.usage())
    await shell.zk.add_watch(given[0], shell.watch, recursive=mode == _RECURSIVE)
    yield Done(watched=given[0], mode=mode)


@command(
    "removewatches", "path [-c|-d|-a] [-l]",
    PATH,
    flag("c", "child watcher type"), flag("d", "data watcher type"),
    flag("p", "persistent watcher type"), flag("r", "persistent recursive watcher type"),
    flag("a", "any watcher type"), flag("l", "remove locally when there is no server connection"),
    group=GROUP,
)  # fmt: skip
async def removewatches(shell: Context, given: Given) -> Results:
    """Remove the watches of a znode: all, or -c those on children, -d on data, -p or -r.

    -l removes them here even if no server can be asked.
    """
    kind = next((kind for name, kind in _KINDS.items() if given.has(name)), WatcherKind.ANY)
    await shell.zk.remove_watches(given[0], kind, local=given.has("l"))
    yield Done(unwatched=given[0], kind=kind.name)
