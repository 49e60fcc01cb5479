"""Who causes the load: exact while there is little, a fair sample of much."""

from __future__ import annotations

from collections import Counter
from random import Random

from kraal.pipeline.load import (
    EXACT_PER_TICK,
    KEYS_MAX,
    PATH_MAX_BYTES,
    STRIDE,
    Load,
    SpaceSaving,
    path_of,
)
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode
from tests.pipeline.support import connection
from tests.support import raw_client as raw


def frame(op: OpCode, path: str) -> bytes:
    return (1).to_bytes(4, "big") + op.to_bytes(4, "big") + raw.path_and_watch(path, False)


def show(load: Load, frames: list[bytes]) -> None:
    """As the order of clients does for one read of a socket."""
    load.left -= len(frames)
    if load.left < 0:
        load.requests(DataTree.pristine(), connection(), frames)


def test_heavy_keys_are_found_among_many_light_ones() -> None:
    random, real = Random(4), Counter[int]()
    sketch: SpaceSaving[int] = SpaceSaving()
    for _ in range(50_000):
        key = random.randrange(3) if random.random() < 0.5 else random.randrange(100_000)
        real[key] += 1
        sketch.add(key, 1)
    heaviest = sketch.heaviest()
    assert len(heaviest) <= KEYS_MAX
    assert {key for key, _, _ in heaviest[:3]} == {0, 1, 2}
    for key, weight, error in heaviest:
        assert weight - error <= real[key] <= weight


def test_a_few_requests_are_counted_one_by_one() -> None:
    load = Load()
    for path in ("/a", "/a", "/zookeeper/config"):
        show(load, [frame(OpCode.GET_DATA, path)])
    show(load, [frame(OpCode.EXISTS, "/a"), frame(OpCode.PING, "/x")])
    assert load.heaviest_paths().heaviest() == [(b"/a", 3, 0), (b"/zookeeper/config", 1, 0)]
    assert load.heaviest_operations().heaviest()[0] == (OpCode.GET_DATA, 3, 0)
    assert list(load.reads) == ["zookeeper"], "what is not there has not been read"


def test_of_many_requests_a_sample_stands_for_all() -> None:
    load, random = Load(), Random(7)
    paths = ["/heavy"] * 9 + ["/light"]
    for number in range(20_000):
        if number % 1000 == 0:
            load.tick(number)
        show(load, [frame(OpCode.GET_DATA, random.choice(paths))])
    found = {path: weight for path, weight, _ in load.heaviest_paths().heaviest()}
    assert abs(sum(found.values()) - 20_000) <= STRIDE
    assert 0.8 < found[b"/heavy"] / 20_000 < 1


def test_after_a_burst_a_quiet_server_counts_every_request_again() -> None:
    load = Load()
    load.tick(0)
    for _ in range(EXACT_PER_TICK + 100):
        show(load, [frame(OpCode.GET_DATA, "/burst")])
    load.tick(50)
    for _ in range(3):
        show(load, [frame(OpCode.GET_DATA, "/quiet")])
    assert load.heaviest_paths().heaviest() == [
        (b"/burst", EXACT_PER_TICK + 100, 0), (b"/quiet", 3, 0),
    ]  # fmt: skip


def test_a_long_batch_is_not_looked_at_one_by_one() -> None:
    load = Load()
    show(load, [frame(OpCode.GET_DATA, f"/{n}") for n in range(1000)])
    heaviest = load.heaviest_paths().heaviest()
    assert len(heaviest) == EXACT_PER_TICK
    assert sum(weight for _, weight, _ in heaviest) == 1000


def test_what_was_heavy_is_forgotten_after_two_periods() -> None:
    load, up_ms = Load(), 1_000_000
    load.tick(up_ms)
    assert load.counted_ms == 0, "the clock does not begin with the server"
    show(load, [frame(OpCode.GET_DATA, "/a")])
    load.tick(up_ms + 60_000)
    assert load.heaviest_paths().heaviest()
    assert load.counted_ms == 60_000
    load.tick(up_ms + 120_000)
    assert not load.heaviest_paths().heaviest()
    assert load.counted_ms == 60_000


def test_paths_of_strangers_are_bounded() -> None:
    assert path_of(OpCode.GET_DATA, frame(OpCode.GET_DATA, "/" + "x" * 9000)) == (
        b"/" + b"x" * (PATH_MAX_BYTES - 1)
    )
    for damaged in (b"", bytes(8), bytes(8) + b"\xff\xff\xff\xff", bytes(8) + b"\x7f\xff\xff\xff"):
        assert path_of(OpCode.GET_DATA, damaged) == b""
    assert path_of(OpCode.MULTI, frame(OpCode.MULTI, "/a")) == b""
