"""A resource whose users hold something: who may be there at the same time, by their tokens.

A token is the zxid at which the znode of its holder was created. The history knows whether that
znode is still there, so it knows who holds in truth; an application may believe so for a while
longer, and the resource then refuses its token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kraal.model.zxid import show
from kraal.recipes import LostError
from kraal.sim.scheduler import SECOND
from kraal.sim.violation import violated
from kraal.wire.records.data import Stat
from kraal.wire.records.txn import CreateTxn, MultiTxn, Txn

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

EXCLUSION = "holders exclude each other"
NOTICE = "who holds no more learns it"


class Holding(Protocol):
    """What recipes give to holders."""

    @property
    def token(self) -> int: ...
    def check(self) -> None: ...


class Grant:
    """One user of the resource, from its coming to its going."""

    def __init__(self, app: Actor, held: Holding, *, is_shared: bool) -> None:
        self.app = app
        self.held = held
        self.is_shared = is_shared
        self.token = held.token
        self.entered_us = app.now_us
        self.paths: list[bytes] = []
        """The znodes that stand for it."""
        self.gone_us: int | None = None
        """When they were gone."""
        self.was: Grant | None = None

    def __str__(self) -> str:
        return f"{self.app.name} with token {show(self.token)}"


class Guard:
    """Judges who comes. `limit` users may be there at the same time, or any number if shared."""

    def __init__(self, world: Stage, limit: int = 1) -> None:
        self._world = world
        self._limit = limit
        self._grants: dict[Grant, None] = {}
        self._newest = 0
        """The highest token of one who was there and excluded others."""
        self._newest_shared = 0
        self.refused = 0
        self._world.history.after.append(self._committed)

    def enter(
        self,
        app: Actor,
        held: Holding,
        *,
        is_shared: bool = False,
        was: Grant | None = None,
    ) -> Grant:
        """Somebody comes who holds. Raises ViolationError if it cannot be so.

        `was` is for one who was there with the same token, and exchanged its znode for others
        with the same number.
        """
        grant = Grant(app, held, is_shared=is_shared)
        grant.was = was
        self._find(grant)
        if grant.gone_us is None:
            others = [other for other in self._holders() if not (is_shared and other.is_shared)]
            if len(others) >= self._limit:
                violated(EXCLUSION, "%s is there as well as %s", grant, others[0])
            newest = self._newest if is_shared else max(self._newest, self._newest_shared)
            if self._limit == 1 and grant.token < newest:
                violated(EXCLUSION, "%s comes after %s", grant, show(newest))
            if is_shared:
                self._newest_shared = max(self._newest_shared, grant.token)
            else:
                self._newest = max(self._newest, grant.token)
        self._grants[grant] = None
        return grant

    def use(self, grant: Grant) -> None:
        """Somebody who is there does something. Raises LostError if it knows that it may not."""
        grant.held.check()
        if grant.gone_us is None:
            return
        self.refused += 1
        app = grant.app
        since_us = max(grant.gone_us, grant.entered_us, app.resumed_us)
        limit_us = 3 * SECOND  # more than any session's timeout by any clock
        if app.now_us - since_us > limit_us:
            violated(NOTICE, "%s has not for %d ms", grant, limit_us // 1000)

    def leave(self, grant: Grant) -> None:
        """Somebody goes."""
        self._grants.pop(grant, None)

    def _holders(self) -> list[Grant]:
        """Those who are there, believe that they may, and are right."""
        found = []
        for grant in list(self._grants):
            if not grant.app.is_up:
                del self._grants[grant]
            elif grant.gone_us is None and _believes(grant):
                found.append(grant)
        return found

    def _find(self, grant: Grant) -> None:
        txn = self._world.history.txns.get(grant.token)
        paths = [] if txn is None else created(txn)
        if not paths:
            violated(EXCLUSION, "%s: nothing was created then", grant)
        grant.paths = paths
        self._look(grant)

    def _look(self, grant: Grant) -> None:
        nodes = self._world.history.tree.nodes
        if grant.was is not None:
            numbers = tuple(path[-10:] for path in grant.paths)
            parent = nodes.get(grant.paths[0].rpartition(b"/")[0])
            if not any(name.endswith(numbers) for name in (parent and parent.children) or ()):
                grant.gone_us = self._world.now_us
            return
        for path in grant.paths:
            node = nodes.get(path)
            if node is None or Stat.unpack(node.stat).czxid != grant.token:
                grant.gone_us = self._world.now_us

    def _committed(self, txn: Txn) -> None:
        for grant in self._grants:
            if grant.gone_us is None:
                self._look(grant)
                owner = self._world.history.txns[grant.token].client_id
                if grant.gone_us is not None and txn.client_id != owner:
                    violated(
                        "what is held is its holder's", "0x%x ends what %s holds at %s",
                        txn.client_id, grant, show(txn.zxid),
                    )  # fmt: skip


def _believes(grant: Grant) -> bool:
    try:
        grant.held.check()
    except LostError:
        return False
    return True


def created(txn: Txn) -> list[bytes]:
    """The znodes that a transaction creates."""
    bodies = [txn.body]
    if isinstance(txn.body, MultiTxn):
        bodies = [] if txn.body.failed else [body for _, body in txn.body.ops]
    return [body.path or b"/" for body in bodies if isinstance(body, CreateTxn)]
