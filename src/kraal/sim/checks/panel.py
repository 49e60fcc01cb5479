"""All checks together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraal.sim.checks.durability import DurabilityCheck
from kraal.sim.checks.epochs import EpochCheck
from kraal.sim.checks.history import History, HistoryCheck
from kraal.sim.checks.membership import MembershipCheck
from kraal.sim.checks.reads import ReadCheck
from kraal.sim.checks.requests import RequestCheck
from kraal.sim.checks.sessions import SessionCheck
from kraal.sim.checks.watcher import Watcher
from kraal.sim.checks.watches import WatchCheck

if TYPE_CHECKING:
    from kraal.sim.world import World


class Checks(Watcher):
    """Passes on whatever is told to those who listen to it."""

    def __init__(self, world: World) -> None:
        self.history = History()
        self.requests = RequestCheck(self.history)
        self.sessions = SessionCheck(world, self.history)
        self.membership = MembershipCheck(self.history)
        self.panel: list[Watcher] = [
            HistoryCheck(self.history),
            self.requests,
            WatchCheck(self.history),
            ReadCheck(self.history),
            self.sessions,
            self.membership,
            EpochCheck(),
            DurabilityCheck(),
        ]
        for name, default in vars(Watcher).items():
            if not name.startswith("_") and callable(default):
                self._pass_on(name, default)

    def _pass_on(self, name: str, default: object) -> None:
        takers = [
            getattr(check, name)
            for check in self.panel
            if getattr(type(check), name) is not default
        ]

        def tell(*args: Any, **kwargs: Any) -> None:
            for take in takers:
                take(*args, **kwargs)

        setattr(self, name, takers[0] if len(takers) == 1 else tell)
