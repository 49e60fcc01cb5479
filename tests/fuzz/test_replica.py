"""A whole replica under random scripts, and the scripts that once hurt an invariant, by name."""

from __future__ import annotations

from random import Random

import pytest

from kraal.model.config import SecurityConfig, ThrottleConfig
from kraal.model.limits import IDENTITIES_MAX, READS_BEFORE_WRITE_MAX
from tests.fuzz.byte_random import ByteRandom
from tests.fuzz.requests import Request
from tests.fuzz.script import run
from tests.fuzz.world import Client, World, small_config
from tests.interop.differential_rules import LIMITS, QUOTA, STATS
from tests.support import raw_client as raw

SCRIPT_BYTES = 8000
SEEDS = range(80)


def established(world: World, timeout: int = 20_000) -> Client:
    client = world.open()
    world.connect(client, raw.connect_request(timeout=timeout))
    world.log(1)
    return client


def create(path: str, data: bytes | None = b"", flags: int = 0) -> Request:
    return Request(raw.OPCODES["create"], raw.create_body(path, data, raw.OPEN_ACL, flags))


def set_data(path: str, data: bytes | None) -> Request:
    return Request(raw.OPCODES["setData"], raw.set_data_body(path, data, -1))


def get_data(path: str, *, watch: bool = False) -> Request:
    return Request(raw.OPCODES["getData"], raw.path_and_watch(path, watch))


def auth(credentials: bytes) -> Request:
    return Request(raw.OPCODES["auth"], raw.auth_body(0, "digest", credentials))


def quota(path: str, limits: bytes) -> list[Request]:
    """The znodes of a quota on a path of one name."""
    below = QUOTA + path
    return [create(below), create(f"{below}/{LIMITS}", limits), create(f"{below}/{STATS}")]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_scripts(seed: int) -> None:
    """Repeat one: `.venv/bin/python -m pytest tests/fuzz/test_replica.py -k 'scripts[17]'`."""
    run(Random(seed).randbytes(SCRIPT_BYTES))


def test_random_scripts_reach_the_tree() -> None:
    """The scripts are worth their time: most of what they write is not refused at once."""
    worlds = [run(Random(seed).randbytes(SCRIPT_BYTES)) for seed in range(5)]
    assert max(len(world.replica.tree.nodes) for world in worlds) > 15
    assert sum(world.durable_zxid for world in worlds) > 150


def test_byte_random_draws_what_the_bytes_say() -> None:
    random = ByteRandom(b"\x80\x00\x03")
    assert random.random() == 0.5
    assert random.getrandbits(8) == 3
    assert random.is_used_up
    assert random.randrange(10) == 0
    assert random.choice("abc") == "a"


# What a slow peer must not change


def test_reads_in_front_of_a_write_are_answered_before_it() -> None:
    world = World(small_config())
    client = established(world)
    world.send(client, [create("/a", b"old")])
    world.log(1)
    world.set_slow(client, True)
    world.send(client, [create("/b"), get_data("/a"), set_data("/a", b"new"), get_data("/a")])
    assert client.conn.blocked is False
    world.log(1)
    world.log(1)
    world.finish()
    assert not client.expected


def test_what_arrives_while_output_is_blocked_waits() -> None:
    world = World(small_config())
    client = established(world)
    world.set_slow(client, True)
    world.send(client, [get_data("/"), create("/a")])
    assert client.conn.blocked
    world.send(client, [get_data("/a"), create("/b"), get_data("/b")])
    world.log(5)
    world.send(client, [create("/c")])
    world.log(5)
    assert len(client.expected) >= 4, "answered although it does not read"
    world.finish()
    assert set(world.replica.tree.nodes) >= {b"/a", b"/b", b"/c"}


def test_a_write_waits_behind_many_reads_that_wait_themselves() -> None:
    """So that what must be answered before the write is applied is bounded."""
    world = World(small_config())
    client = established(world)
    reads = [get_data("/")] * (READS_BEFORE_WRITE_MAX + 5)
    world.send(client, [create("/a"), *reads, create("/b")])
    assert [zxid for zxid, _ in world.waiting] == [2]
    world.log(1)
    assert [zxid for zxid, _ in world.waiting] == [3]
    world.finish()


def test_nothing_overtakes_the_connect_response() -> None:
    world = World(small_config())
    client = world.open()
    world.connect(client, raw.connect_request())
    sasl = Request(raw.OPCODES["sasl"], raw.buffer(b"x"))
    world.send(client, [auth(b"u:p"), sasl, create("/a")])
    assert client.out_of_band == [1, 2]
    assert client.handshake is None
    world.log(1)
    assert client.handshake is not None
    assert not client.out_of_band
    world.finish()
    assert b"/a" in world.replica.tree.nodes


def test_a_session_at_its_end_takes_up_nothing_more() -> None:
    """An ephemeral proposed behind its session's end would never be deleted."""
    world = World(small_config(throttle=ThrottleConfig(global_outstanding_limit=1)))
    client = established(world, timeout=2000)
    world.send(client, [create("/a"), create("/b"), create("/e", flags=1), create("/c")])
    world.pass_time(50_000)
    while world.waiting:
        world.log(1)
    assert client.has_ended
    assert world.replica.tree.ephemerals == {}
    assert b"/e" not in world.replica.tree.nodes


def test_the_longest_wait_behind_a_stuck_disk_loses_nothing() -> None:
    world = World(small_config(throttle=ThrottleConfig(global_outstanding_limit=3)))
    client = established(world)
    world.send(client, [create(f"/n{n:05}") for n in range(300)] + [get_data("/n00299")])
    assert len(world.waiting) == 4
    while world.waiting:
        world.log(1)
        assert len(world.waiting) <= 4
    world.finish()
    assert world.durable_zxid == 301


def test_what_waited_too_long_is_refused_in_its_turn() -> None:
    throttle = ThrottleConfig(global_outstanding_limit=1, throttled_op_wait_time_ms=100)
    world = World(small_config(throttle=throttle))
    client = established(world)
    ping, sasl = Request(raw.OPCODES["ping"], b""), Request(raw.OPCODES["sasl"], raw.buffer(b""))
    world.send(client, [create("/a"), create("/b"), ping, create("/c"), ping, sasl, get_data("/")])
    world.pass_time(101)
    world.finish()
    assert b"/b" in world.replica.tree.nodes
    assert b"/c" not in world.replica.tree.nodes


# Requests that grow


def test_identities_of_a_connection_are_bounded() -> None:
    world = World(small_config())
    client = established(world)
    world.send(client, [auth(b"u%d:p" % n) for n in range(IDENTITIES_MAX + 10)])
    assert client.has_ended
    assert len(client.conn.auth) == IDENTITIES_MAX


def test_the_length_of_all_identities_is_bounded() -> None:
    """A learner sends them all to its leader with every write."""
    world = World(small_config())
    client = established(world)
    world.send(client, [auth(b"%d" % n * 50_000 + b":p") for n in range(10)])
    assert client.has_ended
    assert sum(len(identity.id) for identity in client.conn.auth) < 1 << 18


def test_auth_entries_do_not_multiply_an_acl_beyond_a_record() -> None:
    """65 000 entries for each of 30 identities would be a transaction that cannot be read back."""
    world = World(small_config())
    client = established(world)
    world.send(client, [auth(b"u%d:p" % n) for n in range(30)])
    listed = [(perms, "auth", None) for perms in range(3000)]
    body = raw.create_body("/a", b"", listed, 0)
    world.send(client, [Request(raw.OPCODES["create"], body)])
    ((_, payload),) = world.waiting
    assert len(payload) < 100
    world.finish()
    assert b"/a" not in world.replica.tree.nodes


@pytest.mark.parametrize("digits", ["9" * 5000 + ".1.1.1", "1.2.3.4/" + "9" * 5000])
def test_long_numbers_in_addresses_are_no_addresses(digits: str) -> None:
    """Python refuses to read numbers of more than 4300 digits."""
    world = World(small_config())
    client = established(world)
    body = raw.create_body("/a", b"", [(31, "ip", digits)], 0)
    world.send(client, [Request(raw.OPCODES["create"], body)])
    world.finish()
    assert b"/a" not in world.replica.tree.nodes


# The end of a session


def test_what_replaced_an_ephemeral_outlives_its_session() -> None:
    world = World(small_config())
    client = established(world)
    world.send(client, [create("/b", flags=1)])
    world.log(1)
    delete = Request(raw.OPCODES["delete"], raw.path_and_int("/b", -1))
    close = Request(raw.OPCODES["closeSession"], b"")
    world.send(client, [delete, create("/b", b"mine"), create("/b/below", flags=1), close])
    world.finish()
    assert world.replica.tree.nodes[b"/b"].data == b"mine"
    assert b"/b/below" not in world.replica.tree.nodes


# What is installed and what is applied


@pytest.mark.parametrize("digits", [19, 4299, 4300, 4301, 20_000])
def test_usage_with_long_numbers(digits: int) -> None:
    """Adding one to 4300 nines makes a number that Python refuses to write."""
    world = World(small_config(enforce_quota=True))
    client = established(world)
    world.send(client, quota("/a", b"count=5"))
    world.send(client, [set_data(f"{QUOTA}/a/{STATS}", b"count=" + b"9" * digits)])
    world.log(9)
    world.send(client, [create("/a"), create("/a/b"), set_data("/a", b"x")])
    world.finish()
    assert b"/a/b" in world.replica.tree.nodes


def test_usage_that_changes_its_length_while_its_znode_is_written() -> None:
    """The image of a usage znode is older than the usage that its install must keep."""
    world = World(small_config())
    client = established(world)
    world.send(client, [*quota("/a", b"count=50"), create("/a")])
    world.log(9)
    stats = f"{QUOTA}/a/{STATS}"
    acl = Request(raw.OPCODES["setACL"], raw.set_acl_body(stats, raw.OPEN_ACL, -1))
    world.send(client, [create("/a/b", b"x" * 1000), acl, create(f"{stats}/below")])
    world.finish()
    usage = world.replica.tree.nodes[stats.encode()]
    assert usage.data == b"count=2,bytes=1000"
    assert int.from_bytes(usage.stat[52:56], "big") == len(usage.data)


def test_a_quota_that_covers_its_own_usage() -> None:
    world = World(small_config())
    client = established(world)
    world.send(client, quota("/zookeeper", b"count=50"))
    world.log(9)
    world.send(client, [set_data(f"{QUOTA}/zookeeper/{STATS}", b"count=1")])
    world.finish()


def test_enforced_authentication_ends_the_connection() -> None:
    world = World(small_config(security=SecurityConfig(enforce_auth_schemes=("digest",))))
    client = established(world)
    world.send(client, [get_data("/")])
    assert client.has_ended
    other = established(world)
    world.send(other, [auth(b"u:p"), get_data("/")])
    world.finish()
    assert not other.has_ended
