"""Processor time of one replica without sockets and disk: microseconds per operation.

    python -m bench.micro [--profile]

What is left of an operation's cost when the kernel and the event loop are taken away; the
first thing to look at before and after a change of a hot path.
"""

from __future__ import annotations

import cProfile
import gc
import pstats
import struct
import sys
from collections.abc import Callable
from pathlib import PurePath
from time import process_time
from zlib import adler32

from kraal.model.config import ServerConfig, StorageConfig
from kraal.pipeline.connection import ClientConnection
from kraal.replica.leading import Leading
from kraal.tree.data_tree import DataTree

BATCH = 100
ROUNDS = 600
STRETCH = 10
KEYS = 1000
VALUE = b"x" * 100
OPEN_ACL = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"


class NullChannel:
    """A peer that takes everything."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class FramingSink:
    """Frames records as the transaction log does, and drops them."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.zxid = 0

    def append(self, zxid: int, payload: bytes) -> None:
        self.zxid = zxid
        self.parts += (struct.pack(">qi", adler32(payload), len(payload)), payload, b"B")


def buffer(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _path(index: int) -> bytes:
    return b"/bench/n%010d" % index


def get_data(xid: int) -> bytes:
    return struct.pack(">ii", xid, 4) + buffer(_path(xid % KEYS)) + b"\0"


def exists(xid: int) -> bytes:
    return struct.pack(">ii", xid, 3) + buffer(_path(xid % KEYS)) + b"\0"


def set_data(xid: int) -> bytes:
    body = buffer(_path(xid % KEYS)) + buffer(VALUE) + struct.pack(">i", -1)
    return struct.pack(">ii", xid, 5) + body


def create(xid: int) -> bytes:
    body = buffer(_path(xid + KEYS)) + buffer(VALUE) + OPEN_ACL + struct.pack(">i", 0)
    return struct.pack(">ii", xid, 1) + body


class Bench:
    """One replica with one session and KEYS znodes."""

    def __init__(self) -> None:
        directory = PurePath("unused")
        config = ServerConfig(storage=StorageConfig(data_dir=directory, data_log_dir=directory))
        self.sink = FramingSink()
        self.replica = Leading(config, DataTree.pristine(), self.sink, first_session_id=1, now_ms=0)
        self.conn = ClientConnection(NullChannel(), "127.0.0.1", 1, 0)
        self.replica.opened(self.conn)
        request = struct.pack(">iqiq", 0, 0, 30_000, 0) + buffer(bytes(16)) + b"\0"
        self.replica.connect(0, 0, self.conn, request)
        self.step([])
        root = struct.pack(">ii", 1, 1) + buffer(b"/bench") + buffer(b"") + OPEN_ACL
        self.step([root + struct.pack(">i", 0)])
        for begin in range(0, KEYS, BATCH):
            self.step([create(xid - KEYS) for xid in range(begin, begin + BATCH)])

    def step(self, frames: list[bytes]) -> None:
        self.replica.frames(1, 1_700_000_000_000, self.conn, frames)
        if self.sink.parts:
            b"".join(self.sink.parts)
            self.sink.parts.clear()
            self.replica.committed(1, 1_700_000_000_000, self.sink.zxid)

    def time(self, request: Callable[[int], bytes]) -> float:
        """Microseconds of processor time per operation."""
        batches = [[request(number * BATCH + i) for i in range(BATCH)] for number in range(ROUNDS)]
        # The least of many short stretches: what other programs did to the rest does not count.
        best = float("inf")
        for begin in range(0, ROUNDS, STRETCH):
            stretch = batches[begin : begin + STRETCH]
            began = process_time()
            for batch in stretch:
                self.step(batch)
            best = min(best, (process_time() - began) * 1e6 / (len(stretch) * BATCH))
        return best


def main() -> None:
    gc.disable()
    bench = Bench()
    profiler = cProfile.Profile() if "--profile" in sys.argv else None
    if profiler:
        profiler.enable()
    for request in (get_data, exists, set_data, create):
        print(f"{request.__name__:10} {bench.time(request):6.2f} µs")
    if profiler:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
