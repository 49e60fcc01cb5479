"""Writes every kind of znode, session and refusal that a data directory can hold.

A script goes on over several servers on one directory: what it says in one round it relies on
in the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.interop.data_directory_dump import authenticate, resumes
from tests.interop.data_directory_files import CONTAINER_OWNER, ttl_owner
from tests.support import raw_client as raw

EPHEMERAL, SEQUENTIAL, CONTAINER, TTL, TTL_SEQUENTIAL = 1, 2, 4, 5, 6
NO_NODE, BAD_VERSION, NODE_EXISTS, NOT_EMPTY, BAD_ARGUMENTS = -101, -103, -110, -111, -8
HOUR_MS = 3_600_000
TTL_MAX_MS = (1 << 40) - 1
LARGE_BYTES = 900_000
SHORT_TIMEOUT_MS = 400
LONG_TIMEOUT_MS = 60_000
SETTINGS: dict[str, object] = {"tickTime": 200, "maxSessionTimeout": LONG_TIMEOUT_MS}
_EXPIRY_MAX_S = 20.0

_SECRET = b"u1:p1"
_DIGEST_ID = "u1:fpT/y03U+EjItKZOSLGvjnJlyng="
_READ = 1

# Names that are legal and unusual.
NAMES = (
    "größe", "日本語", "имя", "שלום", "e\u0301", "with space", "a.b", "...", "-", "%2F", "\u00a0",
    "\ud7ff", "\uf900", "x" * 500,
)  # fmt: skip
ACLS: tuple[tuple[raw.Acl, ...], ...] = (
    raw.OPEN_ACL,
    ((_READ, "world", "anyone"),),
    ((31, "auth", ""),),
    ((31, "auth", None), (_READ, "world", "anyone")),
    ((31, "digest", "u2:c2VjcmV0"), (_READ, "digest", ":x")),
    ((31, "ip", "127.0.0.1"), (3, "ip", "10.0.0.0/8"), (3, "ip", "::1"), (3, "ip", "fe80::/10")),
    ((31, "world", "anyone"), (31, "world", "anyone"), (7, "world", "anyone")),
    tuple((31, "digest", f"user{n}:secret") for n in range(60)),
    ((0, "world", "anyone"), (31, "ip", "127.0.0.1/0")),
)  # fmt: skip


@dataclass
class Held:
    """A session, how to come back to it, and its ephemerals."""

    session: int
    password: bytes
    paths: list[str] = field(default_factory=list)


class Script:
    """Says what to write, and remembers what the tree cannot tell."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        # Sessions that live on, and sessions that are over.
        self.held: list[Held] = []
        self.ended: list[Held] = []
        # The owners on disk of containers and TTL znodes, which no client sees.
        self.owners: dict[str, int] = {}
        self._port = 0

    def round(self, port: int, number: int, churn: int) -> None:
        """Write on this server; `churn` is the number of small writes that fill logs."""
        self._port = port
        base = f"/round-{number}"
        with self._session() as client:
            self._create(client, base)
            self._znodes(client, base)
            self._acls(client, base)
            self._reaped(client, base)
            self._multis(client, base)
            self._quota(client, base)
            self._system(client, number)
            self._churn(client, f"{base}/churn", churn)
            self._refusals(client, base)
        self._sessions(f"{base}/sessions")

    # ---- Requests ---------------------------------------------------------------------

    @contextmanager
    def _session(self, timeout_ms: int = LONG_TIMEOUT_MS) -> Iterator[raw.RawClient]:
        """A session that is closed at the end."""
        with self._open(timeout_ms)[0] as client:
            yield client
            self.do(client, "closeSession")

    def _open(self, timeout_ms: int = LONG_TIMEOUT_MS) -> tuple[raw.RawClient, Held]:
        client = raw.RawClient(self._port, timeout=30.0)
        shown = client.connect(raw.connect_request(timeout=timeout_ms))
        assert shown.password == raw.session_password(shown.session)
        return client, Held(shown.session, shown.password)

    @staticmethod
    def do(client: raw.RawClient, op: str, *arguments: object, err: int = 0) -> raw.Reply:
        """One request, which must end with this error code."""
        reply = client.call(op, raw.BODIES[op](*arguments))
        assert reply.err == err, (op, arguments, reply)
        return reply

    def _create(
        self,
        client: raw.RawClient,
        path: str,
        data: bytes | None = b"",
        acl: raw.AclList = raw.OPEN_ACL,
        flags: int = 0,
        op: str = "create",
    ) -> str:
        value = self.do(client, op, path, data, acl, flags).value
        made = value[0] if isinstance(value, tuple) else value
        assert isinstance(made, str)
        return made

    # ---- What a round writes ----------------------------------------------------------

    def _znodes(self, client: raw.RawClient, base: str) -> None:
        """Data of all sizes, unusual names, sequence numbers, depth, deletions."""
        data = self.random.randbytes
        for name, value in (
            ("null", None), ("empty", b""), ("small", b"x"), ("large", data(LARGE_BYTES)),
            ("block", data(4096)),
        ):  # fmt: skip
            self._create(client, f"{base}/{name}", value)
        self.do(client, "setData", f"{base}/small", None, 0)
        self.do(client, "setData", f"{base}/null", b"not null", -1)
        self.do(client, "setData", f"{base}/block", data(LARGE_BYTES), -1)
        self._create(client, f"{base}/names")
        for name in NAMES:
            self._create(client, f"{base}/names/{name}", name.encode("utf-8", "surrogatepass"))
        self._create(client, f"{base}/names/日本語/größe", op="create2")
        self._create(client, f"{base}/seq")
        for prefix in ("n-", "", "other-", "n-"):
            self._create(client, f"{base}/seq/{prefix}", flags=SEQUENTIAL, op="create2")
        self.do(client, "delete", f"{base}/seq/n-0000000003", 0)
        path = f"{base}/deep"
        for level in range(30):
            self._create(client, path, b"%d" % level)
            path += f"/{level}"
        self._create(client, f"{base}/again", b"first")
        self.do(client, "setData", f"{base}/again", b"second", -1)
        self.do(client, "delete", f"{base}/again", 1)
        self._create(client, f"{base}/again", b"third")

    def _acls(self, client: raw.RawClient, base: str) -> None:
        authenticate(client, _SECRET)
        self._create(client, f"{base}/acl")
        for number, acl in enumerate(ACLS):
            self._create(client, f"{base}/acl/{number}", acl=acl)
            self._create(client, f"{base}/acl/set-{number}")
            self.do(client, "setACL", f"{base}/acl/set-{number}", acl, 0)
        self.do(client, "setACL", f"{base}/acl/set-0", ACLS[2], 1)
        stored = self.do(client, "getACL", f"{base}/acl/2").value
        assert isinstance(stored, tuple)
        assert stored[0] == [(31, "digest", _DIGEST_ID)]

    def _reaped(self, client: raw.RawClient, base: str) -> None:
        """Containers and TTL znodes, with and without children."""
        top = self._create(client, f"{base}/reaped")
        for name in ("used", "unused"):
            path = self._create(
                client, f"{top}/container-{name}", b"c", flags=4, op="createContainer"
            )
            self.owners[path] = CONTAINER_OWNER
        self._create(client, f"{top}/container-used/child")
        self.do(client, "setData", f"{top}/container-used", b"changed", 0)
        for name, ttl_ms, flags in (
            ("hour", HOUR_MS, TTL), ("longest", TTL_MAX_MS, TTL), ("seq-", HOUR_MS, TTL_SEQUENTIAL)
        ):  # fmt: skip
            value = self.do(
                client, "createTTL", f"{top}/ttl-{name}", b"t", raw.OPEN_ACL, flags, ttl_ms
            ).value
            assert isinstance(value, tuple)
            self.owners[value[0]] = ttl_owner(ttl_ms)
        self._create(client, f"{top}/ttl-hour/child")
        self.do(client, "setACL", f"{top}/ttl-hour", ACLS[5], 0)

    def _multis(self, client: raw.RawClient, base: str) -> None:
        top = self._create(client, f"{base}/multi")
        openly = raw.OPEN_ACL
        ops = raw.OPCODES
        parts = [
            (ops["create"], raw.create_body(f"{top}/a", b"1", openly, 0)),
            (ops["create2"], raw.create_body(f"{top}/a/n-", None, openly, SEQUENTIAL)),
            (ops["createContainer"], raw.create_body(f"{top}/c", b"", openly, CONTAINER)),
            (ops["createTTL"], raw.create_ttl_body(f"{top}/t", b"", openly, TTL, HOUR_MS)),
            (ops["create"], raw.create_body(f"{top}/gone", b"", openly, EPHEMERAL)),
            (ops["setData"], raw.set_data_body(f"{top}/a", b"2", 0)),
            (ops["check"], raw.path_and_int(f"{top}/a", 1)),
            (ops["create"], raw.create_body(f"{top}/b", b"", openly, 0)),
            (ops["delete"], raw.path_and_int(f"{top}/b", 0)),
        ]
        reply = client.call("multi", raw.multi_body(parts))
        assert isinstance(reply.value, list)
        assert [part.err for part in reply.value] == [0] * len(parts) + [-1], reply
        self.owners[f"{top}/c"] = CONTAINER_OWNER
        self.owners[f"{top}/t"] = ttl_owner(HOUR_MS)
        refused = [
            (ops["create"], raw.create_body(f"{top}/never", b"", openly, 0)),
            (ops["setData"], raw.set_data_body(f"{top}/a", b"3", 7)),
            (ops["delete"], raw.path_and_int(f"{top}/a", -1)),
        ]
        reply = client.call("multi", raw.multi_body(refused))
        assert isinstance(reply.value, list)
        assert [part.err for part in reply.value] == [0, BAD_VERSION, -2, -1], reply
        assert client.call("multi", raw.multi_body([])).err == 0

    def _quota(self, client: raw.RawClient, base: str) -> None:
        """A soft limit, passed on purpose; the usage is kept up to date without transactions."""
        quota = "/zookeeper/quota"
        self._create(client, f"{base}/limited", b"12345")
        self._create(client, f"{quota}{base}")
        self._create(client, f"{quota}{base}/limited")
        limits = b"count=2,bytes=10"
        self._create(client, f"{quota}{base}/limited/zookeeper_limits", limits)
        self._create(client, f"{quota}{base}/limited/zookeeper_stats", b"count=0,bytes=0")
        for number in range(4):
            self._create(client, f"{base}/limited/{number}", b"abc")
        self.do(client, "setData", f"{base}/limited/0", b"longer than before", -1)
        self.do(client, "delete", f"{base}/limited/1", -1)
        usage = self.do(client, "getData", f"{quota}{base}/limited/zookeeper_stats", False).value
        assert isinstance(usage, tuple)
        assert usage[0] == b"count=4,bytes=29", usage

    def _system(self, client: raw.RawClient, number: int) -> None:
        """The root and the built-in znodes can be written to as well."""
        self.do(client, "setData", "/", b"root %d" % number, -1)
        self.do(client, "setACL", "/", raw.OPEN_ACL, -1)
        self.do(client, "setData", "/zookeeper", b"system %d" % number, -1)
        self._create(client, f"/zookeeper/extra-{number}", b"not counted in the digest")

    def _churn(self, client: raw.RawClient, top: str, count: int) -> None:
        self._create(client, top)
        paths: list[str] = []
        for number in range(count):
            chance = self.random.random()
            data = self.random.randbytes(self.random.randrange(300))
            if not paths or chance < 0.4:
                paths.append(self._create(client, f"{top}/{number}", data))
            elif chance < 0.8:
                self.do(client, "setData", self.random.choice(paths), data, -1)
            elif chance < 0.9:
                path = paths.pop(self.random.randrange(len(paths)))
                self.do(client, "delete", path, -1)
            else:
                self.do(client, "create", top, data, raw.OPEN_ACL, 0, err=NODE_EXISTS)

    def _refusals(self, client: raw.RawClient, base: str) -> None:
        refuse = self.do
        refuse(client, "create", base, b"", raw.OPEN_ACL, 0, err=NODE_EXISTS)
        refuse(client, "create", f"{base}/no/parent", b"", raw.OPEN_ACL, 0, err=NO_NODE)
        refuse(client, "setData", f"{base}/small", b"", 77, err=BAD_VERSION)
        refuse(client, "delete", base, -1, err=NOT_EMPTY)
        refuse(client, "delete", "/zookeeper", -1, err=BAD_ARGUMENTS)

    # ---- Sessions ---------------------------------------------------------------------

    def _sessions(self, top: str) -> None:
        """One session ends by itself, one expires, two live on; one of the last round ends."""
        with self._session() as client:
            self._create(client, top)
            if self.held:
                self._end_held(self.held.pop(0))
            for name in ("one", "two"):
                held_client, held = self._open()
                with held_client:
                    self._own(held_client, held, f"{top}/{name}")
                self.held.append(held)
            ending, ended = self._open()
            with ending:
                self._own(ending, ended, f"{top}/ended")
                self.do(ending, "closeSession")
            expiring, expired = self._open(SHORT_TIMEOUT_MS)
            with expiring:
                self._own(expiring, expired, f"{top}/expired")
            self.ended += [ended, expired]
            deadline = time.monotonic() + _EXPIRY_MAX_S
            while client.call("exists", raw.path_and_watch(expired.paths[-1], False)).err == 0:
                assert time.monotonic() < deadline, "the session does not expire"
                time.sleep(0.02)

    def _own(self, client: raw.RawClient, held: Held, prefix: str) -> None:
        for flags in (EPHEMERAL, EPHEMERAL | SEQUENTIAL):
            held.paths.append(self._create(client, f"{prefix}-", b"e", flags=flags))

    def _end_held(self, held: Held) -> None:
        """Close, on this server, a session that another one made."""
        client = resumes(self._port, held.session, held.password)
        assert client is not None, f"session {held.session:x} is not known"
        with client:
            self.do(client, "closeSession")
        self.ended.append(held)
