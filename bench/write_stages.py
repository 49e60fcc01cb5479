"""Processor time of the stages of a write: microseconds per operation.

    python -m bench.write_stages

`prepare` makes a transaction of a request and `install` commits it, both on the server that
validates; `follow` decodes and applies the committed transaction, as every other server does,
and makes the reply to a client that waits for it there.
Whole operations are measured by `bench.micro`.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from time import process_time

from bench.micro import BATCH, KEYS, OPEN_ACL, ROUNDS, buffer, create, set_data
from kraal.model.config import SecurityConfig
from kraal.pipeline.applied_reply import applied_reply
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.outstanding import Outstanding
from kraal.pipeline.prepare.draft import Context, Draft, Rules
from kraal.pipeline.prepare.preparer import PreparedTxn, Preparer
from kraal.tree.apply import apply, install
from kraal.tree.data_tree import DataTree
from kraal.wire.records.txn import Txn

STAGES = ("prepare", "install", "follow")


class Stages:
    """Two trees: that of the server that validates, and a follower's."""

    def __init__(self) -> None:
        self.tree = DataTree.pristine()
        self.follower = DataTree.pristine()
        self.outstanding = Outstanding(self.tree)
        rules = Rules(
            extended_types=False,
            enforce_quota=False,
            reconfig_enabled=False,
            close_session_txn=True,
        )
        authority = Authority(SecurityConfig())
        self.preparer = Preparer(Context(self.tree, self.outstanding, authority, rules))
        self.zxid = 0
        self.made: list[PreparedTxn] = []
        root = struct.pack(">ii", 1, 1) + buffer(b"/bench") + buffer(b"") + OPEN_ACL
        for batch in [root + struct.pack(">i", 0)], [create(xid - KEYS) for xid in range(KEYS)]:
            self.prepare(batch)
            self.install(self.made)
            self.follow([payload for payload, *_ in self.made])
            self.made.clear()

    def prepare(self, frames: list[bytes]) -> None:
        write, zxid = self.preparer.write, self.zxid
        for frame in frames:
            zxid += 1
            draft = Draft(1, zxid, (), zxid, 1_700_000_000_000)
            self.made.append(write(draft, frame[7], frame))
        self.zxid = zxid

    def install(self, made: list[PreparedTxn]) -> None:
        tree, installed = self.tree, self.outstanding.installed
        zxid = tree.last_zxid
        for _, changes, digest, _ in made:
            zxid += 1
            install(tree, changes)
            installed(changes)
            tree.advance(zxid, digest)
            tree.events.clear()

    def follow(self, payloads: list[bytes]) -> None:
        tree = self.follower
        for payload in payloads:
            txn = Txn.decode(payload)
            applied = apply(tree, txn)
            tree.events.clear()
            applied_reply(txn.cxid, txn.kind, txn, applied, txn.zxid)

    def time(self, request: Callable[[int], bytes]) -> tuple[float, float, float]:
        """Microseconds per operation of prepare, install and follow."""
        best = [float("inf")] * 3
        for batch in _batches(request):
            clocks = [process_time()]
            self.prepare(batch)
            clocks.append(process_time())
            self.install(self.made)
            clocks.append(process_time())
            payloads = [payload for payload, *_ in self.made]
            self.made.clear()
            clocks.append(process_time())
            self.follow(payloads)
            clocks.append(process_time())
            spent = (clocks[1] - clocks[0], clocks[2] - clocks[1], clocks[4] - clocks[3])
            best = [min(least, new * 1e6 / BATCH) for least, new in zip(best, spent, strict=True)]
        return best[0], best[1], best[2]


def _batches(request: Callable[[int], bytes]) -> list[list[bytes]]:
    return [[request(number * BATCH + i) for i in range(BATCH)] for number in range(ROUNDS)]


def main() -> None:
    gc.disable()
    stages = Stages()
    for request in (set_data, create):
        costs = zip(STAGES, stages.time(request), strict=True)
        shown = "".join(f"{stage:>10} {cost:5.2f} µs" for stage, cost in costs)
        print(f"{request.__name__:10}{shown}")


if __name__ == "__main__":
    main()
