"""What can happen to the members of an ensemble and to the network between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from tests.interop.ensemble_trial import Trial
from tests.support.ensembles import Member
from tests.support.links import Links

# Longer than syncLimit ticks, and shorter.
_LASTS_S = (0.5, 6.0)
_KINDS = 0.25


class Faults:
    """Faults on the members of one trial; each method is one, and says whom it hit."""

    def __init__(self, trial: Trial, random: Random) -> None:
        self._trial = trial
        self._random = random
        self._members = trial.ensemble.members

    @property
    def _links(self) -> Links:
        links = self._trial.ensemble.links
        assert links is not None, "the shape of the ensemble must be proxied"
        return links

    def strike(self) -> None:
        """One fault, sometimes two at once, for some time; then everything is put right."""
        names = self._random.sample(tuple(FAULTS), 2 if self._random.random() < _KINDS else 1)
        self._trial.see_leader()
        self._trial.mark(" and ".join(sorted(names)))
        hit = [f"{name}: {FAULTS[name](self)}" for name in names]
        seconds = self._random.uniform(*_LASTS_S)
        self._trial.say(f"  for {seconds:.1f} s {'; '.join(hit)}")
        time.sleep(seconds)
        self._trial.recover()
        self._trial.see_leader()

    # ---- Whom --------------------------------------------------------------------------

    def _any(self) -> Member:
        """Any member that lives, more often the leader."""
        leader = self._trial.ensemble.leader()
        if leader is not None and self._random.random() < 0.4:
            return leader
        return self._random.choice(self._trial.ensemble.living or list(self._members.values()))

    def _participants(self) -> list[Member]:
        count = len(self._trial.ensemble.shape.participants)
        return [self._members[number] for number in range(1, count + 1)]

    def _others(self, member: Member) -> list[Member]:
        return [other for other in self._members.values() if other is not member]

    # ---- Processes ---------------------------------------------------------------------

    def kill(self) -> str:
        member = self._any()
        shown = str(member)
        if member.alive:
            member.kill()
        return shown

    def stop(self) -> str:
        member = self._any()
        shown = str(member)
        if member.alive:
            member.stop()
        return shown

    def kill_and_start(self) -> str:
        """Back before the others have noticed much."""
        member = self._any()
        shown = str(member)
        if member.alive:
            member.kill()
            member.launch()
        return shown

    def pause(self) -> str:
        member = self._any()
        shown = str(member)
        if member.alive:
            member.pause()
        return shown

    def kill_most(self) -> str:
        """No quorum is left."""
        survivor = self._random.choice(self._participants())
        for member in self._participants():
            if member is not survivor and member.alive:
                member.kill()
        return f"all but {survivor}"

    def kill_all(self) -> str:
        for member in self._members.values():
            if member.alive:
                member.kill()
        return "everybody"

    # ---- The network -------------------------------------------------------------------

    def isolate(self) -> str:
        """Both ways, with resets."""
        member = self._any()
        for other in self._others(member):
            self._links.cut(member.id, other.id)
        return str(member)

    def silence(self) -> str:
        """Both ways, without a word."""
        member = self._any()
        for other in self._others(member):
            self._links.stall(member.id, other.id)
            self._links.stall(other.id, member.id)
        return str(member)

    def mute(self) -> str:
        """What it says is not heard; it hears the others."""
        member = self._any()
        for other in self._others(member):
            self._links.stall(member.id, other.id)
        return str(member)

    def deafen(self) -> str:
        """It hears nothing; the others hear it."""
        member = self._any()
        for other in self._others(member):
            self._links.stall(other.id, member.id)
        return str(member)

    def part(self) -> str:
        """Two members do not reach each other, though both reach the rest."""
        one, other = self._random.sample(list(self._members.values()), 2)
        self._links.cut(one.id, other.id)
        return f"{one} and {other}"

    def reset(self) -> str:
        """Every connection of a member is reset once."""
        member = self._any()
        for other in self._others(member):
            self._links.reset(member.id, other.id)
        return str(member)

    def slow(self) -> str:
        """All that goes to or from a member takes some time."""
        member = self._any()
        seconds = self._random.uniform(0.01, 0.2)
        for other in self._others(member):
            self._links.delay(member.id, other.id, seconds)
            self._links.delay(other.id, member.id, seconds)
        return f"{member} by {seconds:.2f} s"


FAULTS: dict[str, Callable[[Faults], str]] = {
    "kill": Faults.kill, "stop": Faults.stop, "kill and start": Faults.kill_and_start,
    "pause": Faults.pause, "kill most": Faults.kill_most, "kill all": Faults.kill_all,
    "isolate": Faults.isolate, "silence": Faults.silence, "mute": Faults.mute,
    "deafen": Faults.deafen, "part": Faults.part, "reset": Faults.reset, "slow": Faults.slow,
}  # fmt: skip
