"""The differential test on ensembles: three voting members and an observer on each side.

The sessions of a script are spread over leader, follower, observer and the other follower, and
move on to the next one whenever they come back after their connection was dropped. A member may
answer before it has what another one has answered already, and how far it lags is a matter of
luck. So after every step that may have changed something all members are brought to the same
zxid before the next step begins; inside a step there is one session, on one member. What
remains open, and is not compared, is nothing but the clocks and session ids.

The leader is always member 2: it is started with member 1 alone, and the higher id wins between
equals; 3 and 4 find it leading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from tests.interop.differential_generator import Variant
from tests.interop.differential_side import REPLY_TIMEOUT_S, Outcome, Pausing, Side
from tests.interop.differential_steps import Step
from tests.support import raw_client as raw
from tests.support.ensembles import Ensemble, Shape

VOTERS = 3
# Where the sessions of a script begin: leader, follower, observer, follower.
PLACES = (2, 1, 4, 3)
_FOLLOWER = 1
# Containers and TTL nodes outlive the run: Apache ZooKeeper takes the key as a property only.
_NO_REAPER = {"znode.container.checkIntervalMs": 86_400_000}
# No request of a script has it.
_SYNC_XID = 0x7FFF_0000


def settings(variant: Variant) -> dict[str, object]:
    """The keys of zoo.cfg; a reconfiguration would be carried out here."""
    return {**replace(variant, reconfig=False).settings(), "forceSync": "no", **_NO_REAPER}


@contextmanager
def two_ensembles(
    kinds: Sequence[Sequence[str]], variant: Variant, directory: Path
) -> Iterator[tuple[Side, Side]]:
    """Two fresh ensembles of four with their data and logs below `directory`."""
    with ExitStack() as stack:
        ensembles = []
        for place, members in zip(("left", "right"), kinds, strict=True):
            shape = Shape(
                participants=tuple(members[:VOTERS]), observers=tuple(members[VOTERS:]),
                tick_ms=2000, init_limit=10, sync_limit=5, settings=settings(variant),
            )  # fmt: skip
            reaper = (f"-D{key}={value}" for key, value in _NO_REAPER.items())
            shape = replace(shape, java_options=(*shape.java_options, *reaper))
            ensembles.append(stack.enter_context(Ensemble(directory / place, shape)))
        for numbers in ((1, 2), (3, 4)):
            for ensemble in ensembles:
                for number in numbers:
                    ensemble.members[number].launch()
            for ensemble in ensembles:
                leader = ensemble.wait_serving()
                assert leader.id == PLACES[0], leader
        sides = []
        for ensemble in ensembles:
            side = EnsembleSide([ensemble.members[number].client_port for number in (1, 2, 3, 4)])
            stack.callback(side.close)
            sides.append(side)
        yield sides[0], sides[1]


class EnsembleSide(Side):
    """One ensemble and the sessions on it."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(ports[PLACES[0] - 1])
        self._ports = ports
        # Which place each slot is at.
        self._at = list(range(len(self.slots)))
        self._probes = 0
        self._witnesses = [raw.RawClient(port, timeout=REPLY_TIMEOUT_S) for port in ports]
        for witness in self._witnesses:
            witness.connect()

    def close(self) -> None:
        super().close()
        for witness in self._witnesses:
            witness.close()

    def port_of(self, step: Step) -> int:
        """Sessions that come back without a connection come back to the next member."""
        if step.kind == "probe":
            self._probes += 1
            place = self._probes
        elif step.kind == "resume" and self.slots[step.slot].open is None:
            self._at[step.slot] += 1
            place = self._at[step.slot]
        else:
            place = self._at[step.slot]
        return self._ports[PLACES[place % len(PLACES)] - 1]

    def settle(self, acting: int) -> Pausing:
        """Bring all members to the same zxid, then read the events of the other sessions."""
        # The leader may answer a sync before it has applied what it has committed. A follower
        # waits for all that was proposed before; the handshake of a session says no zxid.
        follower = self._witnesses[_FOLLOWER - 1]
        self._send_sync(follower)
        yield
        target = max(self.last_zxid, self._receive_sync(follower))
        behind = list(self._witnesses)
        while behind:
            for witness in behind:
                self._send_sync(witness)
            yield
            behind = [witness for witness in behind if self._receive_sync(witness) < target]
        return (yield from super().settle(acting))

    def dump(self) -> Pausing:
        """The whole tree as every member shows it."""
        outcome: Outcome = []
        for place in PLACES:
            self.port = self._ports[place - 1]
            shown = yield from super().dump()
            outcome += [(f"member {place}: {label}", frames) for label, frames in shown]
        return outcome

    def _send_sync(self, witness: raw.RawClient) -> None:
        witness.send("sync", raw.ustring("/"), _SYNC_XID)

    def _receive_sync(self, witness: raw.RawClient) -> int:
        reply = witness.receive()
        assert isinstance(reply, raw.Reply), reply
        assert reply.err == 0, reply
        return reply.zxid
