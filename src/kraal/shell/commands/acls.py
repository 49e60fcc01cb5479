"""Commands about ACLs: `getAcl`, `setAcl`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from kraal.client import Acl, Stat, ZooKeeperError
from kraal.shell import acl_text
from kraal.shell.command import command
from kraal.shell.commands.writing import Changed
from kraal.shell.context import Context
from kraal.shell.errors import CommandError, message_of
from kraal.shell.options import PATH, Given, flag, text, value
from kraal.shell.results import Done, JsonObject, Result, Results, stat_json, stat_lines
from kraal.shell.walk import walk

GROUP = "ACLs"


@dataclass(frozen=True)
class AclList(Result):
    """The entries of an ACL, each in two lines, which are how the original prints an identity."""

    path: str
    acl: Sequence[Acl]
    stat: Stat | None

    def text(self) -> Iterator[str]:
        for perms, scheme, user in self.acl:
            yield f"{acl_text.csv(scheme)},{acl_text.csv(user)}"
            yield f": {acl_text.perms_text(perms)}"
        if self.stat is not None:
            yield from stat_lines(self.stat)

    def json(self) -> JsonObject:
        stat: JsonObject = {"stat": stat_json(self.stat)} if self.stat is not None else {}
        entries = [
            {"scheme": scheme, "id": user, "perms": acl_text.perms_text(perms)}
            for perms, scheme, user in self.acl
        ]
        return {"path": self.path, "acl": entries, **stat}


@command("getAcl", "[-s] path", PATH, flag("s", "stats"), group=GROUP)
async def get_acl(shell: Context, given: Given) -> Results:
    """The ACL of a znode: for each entry scheme and identity, and what they may.

    c is create, d delete, r read, w write, a admin (change the ACL).
    """
    acl, stat = await shell.zk.get_acl(given[0])
    yield AclList(given[0], acl, stat if given.has("s") else None)


@command(
    "setAcl", "[-s] [-v version] [-R] path acl",
    PATH, text("acl"),
    flag("s", "stats"), value("v", "version"), flag("R", "recursive"),
    group=GROUP,
)  # fmt: skip
async def set_acl(shell: Context, given: Given) -> Results:
    """Replace the ACL of a znode, with -R of all below it, too: `setAcl /a world:anyone:r`.

    An ACL is `scheme:id:perms`, several are separated by commas. -v is the version of the ACL
    that the change is meant for. With -R what is refused is told, and the rest is done.
    """
    path, version = given[0], given.integer("v", -1)
    acl = acl_text.parse(given[1], shell.note)
    if not given.has("R"):
        stat = await shell.zk.set_acl(path, acl, version=version)
        yield Changed(path, stat, given.has("s"), "acl_set")
        return
    await shell.zk.get(path)
    failed = 0
    async with aclosing(walk(shell.zk, path)) as visits:
        async for visit in visits:
            try:
                await shell.zk.set_acl(visit.path, acl, version=version)
            except ZooKeeperError as error:
                failed += 1
                shell.note(message_of(error))
            else:
                yield Done(acl_set=visit.path)
    if failed:
        raise CommandError(f"{failed} ACLs could not be set")
