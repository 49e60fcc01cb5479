"""Commands about quotas: `setquota`, `listquota`, `delquota`.

A quota is two znodes below /zookeeper/quota that the servers read and keep up to date
(reference/client-protocol.md section 6.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass

from kraal.client import NULL, Client, NodeExistsError, NoNodeError
from kraal.shell import paths
from kraal.shell.command import command
from kraal.shell.context import Context
from kraal.shell.errors import CommandError
from kraal.shell.options import PATH, Given, flag, optional, to_integer, value
from kraal.shell.results import Done, JsonObject, Lines, Result, Results
from kraal.shell.walk import walk
from kraal.tree import quota

GROUP = "Quotas"
ROOT = "/zookeeper/quota"
LIMITS, USAGE = "zookeeper_limits", "zookeeper_stats"
_KEYS = {"n": "count", "b": "bytes", "N": "countHardLimit", "B": "byteHardLimit"}
_NONE = dict.fromkeys(_KEYS.values(), -1)


def _znodes(shell: Context, path: str) -> tuple[str, str, str]:
    """The znode of a quota, and those of its limits and of what is used."""
    if "/" in shell.hosts:
        raise CommandError("quotas belong to the whole tree: connect without a chroot")
    return f"{ROOT}{path}", f"{ROOT}{path}/{LIMITS}", f"{ROOT}{path}/{USAGE}"


def _read(data: bytes) -> dict[str, int]:
    try:
        return quota.parse(data)
    except ValueError as error:
        raise CommandError(f"the quota cannot be read: {error}") from None


def _limits(given: Given) -> dict[str, int]:
    """The limits that were asked for. Raises CommandError."""
    found: dict[str, int] = {}
    for name, key in _KEYS.items():
        written = given.value(name)
        if written is None:
            continue
        counts = name in "nN"
        number = to_integer(written, 32 if counts else 64)
        if number is None:
            raise CommandError("NumberFormatException happens when parsing the option value")
        if counts and number <= 0:
            raise CommandError("the num quota must be greater than zero")
        if number < 0:
            raise CommandError("the bytes quota must be greater than or equal to zero")
        found[key] = number
    if not found:
        listed = ", ".join(f"-{option.name} {option.meaning}" for option in setquota.options)
        raise CommandError(f"Missing required option: [{listed}]")
    return found


@command(
    "setquota", "-n|-b|-N|-B val path",
    optional(PATH),
    value("n", "num soft quota", group="kind"), value("b", "bytes soft quota", group="kind"),
    value("N", "num hard quota", group="kind"), value("B", "bytes hard quota", group="kind"),
    group=GROUP,
)  # fmt: skip
async def setquota(shell: Context, given: Given) -> Results:
    """Limit the znodes (-n, -N) or the bytes (-b, -B) at a path and below it.

    Soft limits (-n, -b) only make the servers log; hard ones are enforced where the servers have
    `enforceQuota=true`. A path above or below that has a quota cannot have another.
    """
    limits = _limits(given)
    path = given.get(0)
    if path is None:
        raise CommandError(setquota.usage())
    if path.startswith(ROOT):
        raise CommandError(f"cannot set a quota under the path: {ROOT}")
    zk = shell.zk
    place, limits_path, usage_path = _znodes(shell, path)
    if await zk.exists(path) is None:
        raise CommandError(f"{path} does not exist.")
    await _refuse_others(zk, path)
    await _ensure(zk, place)
    if await zk.exists(limits_path) is None:
        await zk.create(limits_path, quota.show({**_NONE, **limits}))
        await zk.create(usage_path, quota.show({"count": 0, "bytes": 0}))
        new = _read((await zk.get(limits_path)).data)
        used = _read((await zk.get(usage_path)).data)
    else:
        new = {**_read((await zk.get(limits_path)).data), **limits}
        used = _read((await zk.get(usage_path)).data)
        await zk.set(limits_path, quota.show(new))
    yield Lines([*_warnings(new, used)], {"path": path, "quota": new, "used": used})


async def _refuse_others(zk: Client, path: str) -> None:
    """Raise CommandError if there is a quota below or above a path."""
    place = f"{ROOT}{path}"
    paths.check(place)
    async with aclosing(walk(zk, place)) as visits:
        async for visit in visits:
            if visit.path != place and LIMITS in visit.names:
                below = visit.path.removeprefix(ROOT)
                raise CommandError(f"{path} has a child {below} which has a quota")
    above = ROOT
    for name in path.split("/")[1:-1]:
        above = f"{above}/{name}"
        try:
            names = await zk.get_children(above)
        except NoNodeError:
            return
        if LIMITS in names:
            raise CommandError(f"{path} has a parent {above.removeprefix(ROOT)} which has a quota")


async def _ensure(zk: Client, place: str) -> None:
    """Create the znodes down to that of a quota, without data, as the original does."""
    made = ""
    for name in place.split("/")[1:]:
        made = f"{made}/{name}"
        if await zk.exists(made) is None:
            with suppress(NodeExistsError):
                await zk.create(made, NULL)


def _warnings(limits: Mapping[str, int], used: Mapping[str, int]) -> Iterator[str]:
    for kind, soft, hard in (
        ("count", "count", "countHardLimit"),
        ("bytes", "bytes", "byteHardLimit"),
    ):
        now = used.get(kind, -1)
        if any(-1 < limits.get(key, -1) < now for key in (soft, hard)):
            yield (f"[Warning]: the {kind} quota you create is less than the existing {kind}:{now}")


@dataclass(frozen=True)
class Quota(Result):
    """Limits and what is used of them; nothing where there is no quota."""

    path: str
    limits: Mapping[str, int] | None
    used: Mapping[str, int] | None

    def notes(self) -> Iterator[str]:
        if self.used is None:
            yield f"quota for {self.path} does not exist."

    def text(self) -> Iterator[str]:
        if self.limits is not None:
            yield f"Output quota for {self.path} {quota.show(dict(self.limits)).decode()}"
        if self.used is not None:
            yield f"Output stat for {self.path} {quota.show(dict(self.used)).decode()}"

    def json(self) -> JsonObject:
        return {"path": self.path, "quota": self.limits, "used": self.used}


@command("listquota", "path", PATH, group=GROUP)
async def listquota(shell: Context, given: Given) -> Results:
    """The limits of a path and what is used of them; -1 is no limit."""
    path = given[0]
    _, limits_path, usage_path = _znodes(shell, path)
    shell.note(f"absolute path is {limits_path}")
    paths.check(limits_path)
    try:
        limits = _read((await shell.zk.get(limits_path)).data)
        used = _read((await shell.zk.get(usage_path)).data)
    except NoNodeError:
        yield Quota(path, None, None)
        return
    yield Quota(path, limits, used)


@command(
    "delquota", "[-n|-b|-N|-B] path",
    PATH,
    flag("n", "num soft quota", group="kind"), flag("b", "bytes soft quota", group="kind"),
    flag("N", "num hard quota", group="kind"), flag("B", "bytes hard quota", group="kind"),
    group=GROUP,
)  # fmt: skip
async def delquota(shell: Context, given: Given) -> Results:
    """Delete the quota of a path, or one limit of it."""
    path, zk = given[0], shell.zk
    place, limits_path, _ = _znodes(shell, path)
    paths.check(limits_path)
    if await zk.exists(limits_path) is None:
        yield Lines([f"Quota does not exist for {path}"], {"path": path, "quota": None})
        return
    lifted = {key: -1 for name, key in _KEYS.items() if given.has(name)}
    if lifted:
        left = {**_read((await zk.get(limits_path)).data), **lifted}
        await zk.set(limits_path, quota.show(left))
        yield Done(path=path, quota=left)
        return
    for name in await zk.get_children(place):
        await zk.delete(paths.child(place, name))
    while place != ROOT and not await zk.get_children(place):
        await zk.delete(place)
        place = place.rpartition("/")[0]
    yield Done(path=path, quota=None)
