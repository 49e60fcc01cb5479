"""The load generator counts what was answered and refuses wrong answers."""

from __future__ import annotations

import os
import shutil
import socket
from collections import Counter

import pytest

from bench import loader
from bench.cases import OPERATIONS
from bench.loader import Load, LoaderError
from tests.bench.responder import responder

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.mark.parametrize("mode", OPERATIONS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (2, 20)])
def test_measures_every_operation(mode: str, shape: tuple[int, int]) -> None:
    with responder() as server:
        figures = loader.run(Load(mode, *shape, warm_up=0.05, seconds=0.2), server.port)
    assert figures["operations"] > 10
    assert figures["per_second"] == pytest.approx(figures["operations"] / 0.2)
    assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["p999_us"] <= figures["max_us"]


def test_fill_names_every_znode_once() -> None:
    with responder() as server:
        figures = loader.run(Load("fill", 2, 10, area="x", keys=500, parents=7), server.port)
    expected = {"/bench", "/bench/x"} | {f"/bench/x/p{parent:04}" for parent in range(7)}
    expected |= {f"/bench/x/p{leaf % 7:04}/n{leaf:08}" for leaf in range(500)}
    assert figures["operations"] == 500
    assert sorted(server.paths) == sorted(expected)


def test_create_never_repeats_a_path() -> None:
    with responder() as server:
        loader.run(Load("create", 3, 5, warm_up=0.05, seconds=0.1, area="y"), server.port)
    assert len(server.paths) == len(set(server.paths))


def test_reads_stay_within_the_keys() -> None:
    with responder() as server:
        load = Load("read", 1, 10, warm_up=0, seconds=0.2, keys=20, parents=4)
        loader.run(load, server.port)
    assert set(server.paths) == {f"/bench/keys/p{n % 4:04}/n{n:08}" for n in range(20)}


def test_updates_are_counted_and_begin_anew_behind_the_last_key() -> None:
    with responder() as server:
        load = Load("update", 2, 10, keys=20, parents=4, requests=90)
        assert loader.run(load, server.port)["operations"] == 90
    each = Counter(server.paths)
    assert set(each) == {f"/bench/keys/p{n % 4:04}/n{n:08}" for n in range(20)}
    assert sorted(set(each.values())) == [4, 5]


def test_a_rate_is_kept_by_all_connections_together() -> None:
    with responder() as server:
        load = Load("read", 3, 2, warm_up=0.05, seconds=1, rate=600)
        figures = loader.run(load, server.port)
    assert 300 < figures["operations"] < 1000  # due at random: some 600


def test_with_a_rate_a_stall_counts_for_all_that_was_due_meanwhile() -> None:
    with responder(stall_s=0.5) as server:
        load = Load("read", 1, 1, warm_up=0, seconds=1, rate=1000)
        figures = loader.run(load, server.port)
    assert figures["mean_us"] > 50_000 > figures["p50_us"]


def test_connections_are_spread_over_several_ports() -> None:
    with responder() as one, responder() as two, responder() as three:
        servers = [one, two, three]
        load = Load("read", 7, 1, warm_up=0, seconds=0.1)
        figures = loader.run(load, [server.port for server in servers], [os.getpid(), 1])
    assert [len(server.hellos) for server in servers] == [3, 2, 2]
    assert 0 <= figures["first_server_cores"] <= figures["server_cores"]


def test_replies_may_come_in_pieces() -> None:
    with responder(chunk=7) as server:
        load = Load("read", 2, 10, warm_up=0, seconds=0.2)
        assert loader.run(load, server.port)["operations"] > 10


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("error", "error -101"),
        ("xid", "xid 51, expected 50"),
        ("close", "closed|reset|pipe"),
    ],
)
def test_a_wrong_answer_ends_the_run(fault: str, message: str) -> None:
    with responder(fault) as server, pytest.raises(LoaderError, match=message):
        loader.run(Load("read", 1, 10, warm_up=0, seconds=5), server.port)


def test_nobody_listening_is_said_plainly() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, so that nobody else listens there meanwhile
        with pytest.raises(LoaderError, match="Connection refused"):
            loader.run(Load("read"), silent.getsockname()[1])
