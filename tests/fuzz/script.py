"""What happens to a replica under fuzzing, read from bytes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from kraal.model.config import SecurityConfig, ServerConfig, ThrottleConfig
from tests.fuzz.byte_random import ByteRandom
from tests.fuzz.requests import QUOTA_PATHS, request
from tests.fuzz.world import Client, World, small_config
from tests.interop import differential_values as values
from tests.interop.differential_rules import LIMITS, QUOTA, STATS
from tests.support import raw_client as raw

CLIENTS_MAX = 6
STEPS_MAX = 400
SUPER_DIGEST = "super:lK75jTNcA+U9vtVEw5vB51mj/w4="
_HOSTS = ("127.0.0.1", "10.1.2.3", "0:0:0:0:0:0:0:1")
_STEPS = {
    "requests": 50, "log": 24, "time": 7, "connect": 5, "resume": 4, "hang up": 2, "slow": 5,
    "raw bytes": 2, "damaged connect": 1, "quota": 3,
}  # fmt: skip


def run(data: bytes) -> World:
    """Let happen what the bytes say; raises when an invariant is hurt."""
    random = ByteRandom(data)
    world = World(_config(random))
    steps = 0
    while not random.is_used_up and steps < STEPS_MAX:
        steps += 1
        name = random.choices(tuple(_STEPS), tuple(_STEPS.values()))[0]
        if not world.clients:
            name = "connect"
        _ACTIONS[name](world, random)
    world.finish()
    return world


def _config(random: Random) -> ServerConfig:
    enforced = ("digest",) if random.random() < 0.05 else ()
    return small_config(
        extended_types=random.random() < 0.8,
        enforce_quota=random.random() < 0.5,
        reconfig_enabled=random.random() < 0.2,
        close_session_txn=random.random() < 0.8,
        security=SecurityConfig(
            super_digest=SUPER_DIGEST,
            skip_acl=random.random() < 0.1,
            enforce_auth_schemes=enforced,
        ),
        throttle=ThrottleConfig(
            global_outstanding_limit=random.choice((1, 3, 1000)),
            throttled_op_wait_time_ms=random.choice((0, 0, 0, 100)),
            large_request_threshold_bytes=random.choice((-1, -1, -1, 50)),
            large_request_max_bytes=1000,
        ),
    )


def _connect(world: World, random: Random) -> None:
    if len(world.clients) >= CLIENTS_MAX:
        return
    client = world.open(random.choice(_HOSTS))
    timeout = random.choice((2000, 10_000, 2**31 - 1))
    read_only = random.choice((False, True, None))
    world.connect(client, raw.connect_request(timeout=timeout, read_only=read_only))


def _resume(world: World, random: Random) -> None:
    """Take a session over, or try to."""
    sessions = list(world.replica.tracker.sessions)
    if not sessions or len(world.clients) >= CLIENTS_MAX:
        return
    session = random.choice(sessions)
    right = random.random() < 0.8
    password = raw.session_password(session) if right else bytes(16)
    last_zxid = random.choice((0, 0, 1, world.durable_zxid, world.durable_zxid + 1))
    client = world.open(random.choice(_HOSTS))
    world.connect(client, raw.connect_request(session, password, last_zxid=last_zxid))


def _damaged_connect(world: World, random: Random) -> None:
    client = world.open()
    record = bytearray(raw.connect_request(random.choice((0, 1, 0x100))))
    for _ in range(random.randrange(3)):
        record[random.randrange(len(record))] = random.getrandbits(8)
    world.connect(client, bytes(record[: random.randrange(len(record) + 1)]))


def _requests(world: World, random: Random) -> None:
    client = _any_client(world, random)
    count = random.choice((1, 1, 1, 2, 4, 9))
    requests = [request(random) for _ in range(count)]
    cut = random.randrange(1, 12) if random.random() < 0.1 else 0
    world.send(client, requests, cut)


def _quota(world: World, random: Random) -> None:
    """Set up a quota: the znodes on the way, its limits and its usage."""
    client = _any_client(world, random)
    below = QUOTA + random.choice(QUOTA_PATHS)
    names = below.split("/")
    folders = ["/".join(names[:end]) for end in range(4, len(names) + 1)]
    made: list[tuple[str, bytes | None]] = [(folder, b"") for folder in folders]
    made += [(f"{below}/{LIMITS}", random.choice(values.LIMIT_TEXTS)), (f"{below}/{STATS}", b"")]
    create = raw.OPCODES["create"]
    world.send(
        client,
        [(create, raw.create_body(path, data, raw.OPEN_ACL, 0)) for path, data in made],
    )


def _log(world: World, random: Random) -> None:
    world.log(random.choice((1, 1, 2, 3, len(world.waiting))))


def _time(world: World, random: Random) -> None:
    elapsed = random.choices((1, 50, 999, 1000, 3000, 11_000, 50_000), (9, 9, 6, 6, 3, 2, 1))
    world.pass_time(elapsed[0])


def _hang_up(world: World, random: Random) -> None:
    world.hang_up(_any_client(world, random))


def _slow(world: World, random: Random) -> None:
    client = _any_client(world, random)
    world.set_slow(client, not client.is_slow)


def _raw_bytes(world: World, random: Random) -> None:
    """What comes out of step: no reply to it can be told from another, so the client goes."""
    client = _any_client(world, random)
    if client.conn.session is None:
        return
    world.finish()
    length = random.choice((-1, 0, 4, 7, 2**31 - 1, -(2**31)))
    world.deliver(client, raw.i32(length) + random.randbytes(max(min(length, 8), 0)))
    assert client.conn.closed or length > 7, "a frame without a header was taken"
    if client in world.clients:
        world.hang_up(client)


def _any_client(world: World, random: Random) -> Client:
    return random.choice(world.clients)


_ACTIONS: dict[str, Callable[[World, Random], None]] = {
    "requests": _requests,
    "log": _log,
    "time": _time,
    "connect": _connect,
    "resume": _resume,
    "hang up": _hang_up,
    "slow": _slow,
    "raw bytes": _raw_bytes,
    "damaged connect": _damaged_connect,
    "quota": _quota,
}
