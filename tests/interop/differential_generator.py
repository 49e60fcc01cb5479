"""Makes the script of a differential run from a seed.

The generator knows nothing of what a server answers, except what it must: which steps end a
connection or a session, so that the script goes on with a reconnect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

from tests.interop import differential_values as values
from tests.interop.differential_rules import LIMITS, QUOTA, STATS, Where, kept_out
from tests.interop.differential_steps import (
    IDENTITIES,
    READ_ONLY_OPS,
    SLOTS,
    SUPER_DIGEST,
    SUPER_SLOT,
    Call,
    Kind,
    LastZxid,
    Part,
    Step,
)
from tests.support import raw_client as raw


@dataclass(frozen=True)
class Variant:
    """How both servers of a run are configured; chosen by the seed."""

    enforce_quota: bool
    extended_types: bool
    reconfig: bool
    skip_acl: bool

    @classmethod
    def of(cls, seed: int) -> Variant:
        return cls(
            enforce_quota=seed % 2 == 1,
            extended_types=seed % 5 != 4,
            reconfig=seed % 4 >= 2,
            skip_acl=seed % 10 == 7,
        )

    def settings(self) -> dict[str, object]:
        return {
            "DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
            "enforceQuota": str(self.enforce_quota).lower(),
            "extendedTypesEnabled": str(self.extended_types).lower(),
            "reconfigEnabled": str(self.reconfig).lower(),
            "skipACL": "yes" if self.skip_acl else "no",
        }


# Relative frequencies of the kinds of steps.
_STEP_WEIGHTS = {
    "call": 800, "burst": 60, "auth": 12, "bad auth": 5, "closing": 7, "bad frame": 4,
    "drop": 10, "resume": 10, "resume ahead": 4, "close session": 6, "probe": 6, "word": 2,
    "wipe": 4, "quota": 12,
}  # fmt: skip
# Relative frequencies of the operations that leave the connection open.
_CALL_WEIGHTS = {
    "create": 130, "create2": 50, "createContainer": 28, "createTTL": 36, "delete": 100,
    "setData": 90, "setACL": 40, "getACL": 30, "exists": 55, "getData": 55, "getChildren": 35,
    "getChildren2": 35, "getAllChildrenNumber": 14, "getEphemerals": 14, "sync": 14, "ping": 8,
    "whoAmI": 10, "multi": 80, "multiRead": 28, "reconfig": 8, "checkWatches": 24,
    "removeWatches": 22, "addWatch": 40, "setWatches": 14, "setWatches2": 18,
    "deleteContainer": 12, "sasl": 2, "createSession": 3,
}  # fmt: skip
_PARTS = ("create", "create2", "createContainer", "createTTL", "delete", "setData", "check")
_ODD_XIDS = (0, raw.PING_XID, raw.AUTH_XID, raw.SET_WATCHES_XID, -100, 2**31 - 1, -(2**31))
_UNKNOWN_OPCODES = ("notification", "check", "error", 10, 23, 99, 108, 1000, -2, 2**31 - 1, -12)
_TIMEOUTS = (1, -5, 0, 10_000, 2**31 - 1, -(2**31), raw.DEFAULT_TIMEOUT_MS)


@dataclass
class Generator:
    """Iterating gives the steps; `requests` is how many requests they hold at least."""

    seed: int
    requests: int
    # For servers of an ensemble.
    ensemble: bool = False
    random: Random = field(init=False)
    variant: Variant = field(init=False)
    # Paths used lately, so that requests meet on a node more often than by chance.
    recent: deque[raw.Text] = field(init=False)
    watched: deque[raw.Text] = field(init=False)
    # Whether the super slot has authenticated on its connection; where the next request stands.
    super_known: bool = False
    where: Where = field(default_factory=Where)
    # Per slot: "open", "dropped" (its session lives on), "ended", or "none" before the first.
    states: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.variant = Variant.of(self.seed)
        self.recent = deque(["/a"], maxlen=12)
        self.watched = deque(["/a"], maxlen=12)
        self.states = ["none"] * SLOTS

    def __iter__(self) -> Iterator[Step]:
        made = 0
        while made < self.requests:
            for step in self._next():
                made += step.requests
                yield step

    # ---- Steps ----------------------------------------------------------------------------

    def _next(self) -> Iterator[Step]:
        away = [slot for slot in range(SLOTS) if self.states[slot] != "open"]
        if away and (len(away) == SLOTS or self.random.random() < 0.4):
            yield from self._return(self.random.choice(away))
            return
        slot = self.random.choice([slot for slot in range(SLOTS) if slot not in away])
        as_super = slot == SUPER_SLOT and self.super_known
        self.where = Where(as_super=as_super, in_ensemble=self.ensemble)
        kind = self._weighted(_STEP_WEIGHTS)
        match kind:
            case "call":
                split = self.random.randrange(1, 24) if self.random.random() < 0.02 else None
                yield Step("requests", slot, (self._damaged(self._call()),), split=split)
            case "burst":
                yield self._burst(slot)
            case "auth":
                yield Step("requests", slot, (self._auth(values.AUTHS),))
            case "quota":
                yield from self._quota()
            case "word":
                word = self.random.choice((b"ruok", b"isro", b"abcd", b"\xff\xf4\xff\xfd"))
                yield Step("word", payload=word)
            case "probe":
                yield self._probe()
            case "wipe":
                yield from self._wipe()
            case "resume":
                yield from self._connect("resume", slot)
            case "resume ahead":
                # The server must refuse and leave the open connection alone.
                yield Step("resume-ahead", slot, delta=self.random.choice((1, 1000, 2**40)))
            case _:
                yield self._leave(kind, slot)

    def _leave(self, kind: str, slot: int) -> Step:
        """A step after which the slot is no longer connected."""
        self.states[slot] = "ended" if kind == "close session" else "dropped"
        if kind == "drop":
            return Step("drop", slot)
        if kind == "close session":
            calls = [self._burst_call(mutating=False) for _ in range(self.random.randrange(3))]
            trail = b"ignored" if self.random.random() < 0.2 else b""
            return Step("requests", slot, (*calls, Call("closeSession", trail=trail)))
        if kind == "bad auth":
            return Step("requests", slot, (self._auth(values.BAD_AUTHS),))
        if kind == "bad frame":
            return self._bad_frame(slot)
        assert kind == "closing"
        op = self.random.choice((*_UNKNOWN_OPCODES, "sasl", "auth"))
        if op == "sasl":
            call = Call(op, (None,)) if self.random.random() < 0.5 else Call(op, (b"x",), keep=2)
        elif op == "auth":
            call = Call(op, (0, "digest", b"u1:p1"), keep=self.random.randrange(20))
        else:
            body = raw.path_and_int("/a", -1) if op == "check" else self.random.randbytes(6)
            call = Call(raw.OPCODES.get(str(op), op), (body,))
        return Step("requests", slot, (call,))

    def _return(self, slot: int) -> Iterator[Step]:
        """Bring a slot back, sometimes after a failed attempt."""
        state = self.states[slot]
        if state == "dropped":
            if self.random.random() < 0.25:
                delta = self.random.choice((1, 10, 2**40))
                kind: Kind = self.random.choice(("resume-ahead", "resume-wrong"))
                yield Step(kind, slot, delta=delta if kind == "resume-ahead" else 0)
            yield from self._connect("resume", slot)
        else:
            if state == "ended" and self.random.random() < 0.4:
                yield Step("resume-ended", slot)
            yield from self._connect("new", slot)

    def _connect(self, kind: Kind, slot: int) -> Iterator[Step]:
        self.states[slot] = "open"
        timeout = self.random.choice((raw.DEFAULT_TIMEOUT_MS, raw.DEFAULT_TIMEOUT_MS, 2**31 - 1))
        delta = self.random.choice((0, 0, -1, -10, -(2**40)))
        read_only = self.random.choice((False, False, True, None))
        # Requests may follow at once, without waiting for the answer.
        behind = self.random.choice((0, 0, 0, 1, 3))
        calls = tuple(self._burst_call(mutating=False) for _ in range(behind))
        yield Step(kind, slot, calls, delta=delta, timeout=timeout, read_only=read_only)
        identity = IDENTITIES[slot]
        known = identity is not None and self.random.random() < 0.85
        if slot == SUPER_SLOT:
            self.super_known = known
        if known:
            call = Call("auth", (0, "digest", identity), raw.AUTH_XID)
            yield Step("requests", slot, (call,))
        if kind == "resume" and self.random.random() < 0.5:
            call = self._set_watches(self.random.choice(("setWatches", "setWatches2")))
            yield Step("requests", slot, (call,))

    def _bad_frame(self, slot: int) -> Step:
        name, data = self.random.choice(
            (
                ("negative length", raw.i32(-1)),
                ("length over the limit", raw.i32(0x100000)),
                ("empty frame", raw.i32(0)),
                ("frame shorter than a header", raw.i32(4) + raw.i32(1)),
                ("frame one short of a header", raw.i32(7) + bytes(7)),
                ("four-letter word", b"ruok"),
                ("longest negative length", raw.i32(-(2**31))),
            )
        )
        return Step("bad-frame", slot, payload=data, note=f"({name})")

    def _probe(self) -> Step:
        """A ConnectRequest with unusual fields on a connection of its own."""
        session, password = self.random.choice(
            (
                (0, bytes(16)), (0, None), (0, b""), (0, b"odd"), (0, bytes(40)), (0, bytes(16)),
                (1, raw.session_password(1)), (-1, raw.session_password(-1)), (12345, bytes(16)),
                (2**63 - 1, None), (1, b""),
            )
        )  # fmt: skip
        body = raw.connect_request(
            session,
            password,
            timeout=self.random.choice(_TIMEOUTS),
            last_zxid=self.random.choice((0, 0, -1, -(2**63), 1)),
            protocol=self.random.choice((0, 0, 1, -1, 2**31 - 1)),
            read_only=self.random.choice((False, True, None)),
        )
        note = ""
        if self.random.random() < 0.15:
            body, note = body + b"trailing", "(trailing bytes)"
        elif self.random.random() < 0.2:
            body, note = body[: self.random.randrange(27)], "(cut)"
        frame = raw.i32(len(body)) + body
        if self.random.random() < 0.1:
            frame, note = self.random.choice((raw.i32(-1), raw.i32(0x100000))), "(length)"
        return Step("probe", payload=frame, note=note)

    def _wipe(self) -> Iterator[Step]:
        if self.states[SUPER_SLOT] != "open":
            return
        path = self.random.choices(
            ("/a", "/b", "/c", "/", QUOTA, "/zookeeper"), (40, 20, 10, 15, 10, 5)
        )[0]
        reset = Call("setACL", ("/", raw.OPEN_ACL, -1))
        yield Step("requests", SUPER_SLOT, (reset,))
        yield Step("wipe", SUPER_SLOT, path=path)

    def _quota(self) -> Iterator[Step]:
        """Set up, change or take down a quota, each request on any open session."""
        path = self.random.choice(values.QUOTA_PATHS)
        limits, stats = f"{QUOTA}{path}/{LIMITS}", f"{QUOTA}{path}/{STATS}"
        calls: list[Call]
        match self.random.choice(("set up", "set up", "change", "take down", "read")):
            case "set up":
                names = path.split("/")
                folders = [QUOTA + "/".join(names[: i + 1]) for i in range(1, len(names))]
                calls = [
                    *(Call("create", (folder, b"", raw.OPEN_ACL, 0)) for folder in folders),
                    Call("create", (limits, self._limits(), raw.OPEN_ACL, 0)),
                    Call("create", (stats, values.data(self.random), raw.OPEN_ACL, 0)),
                ]
            case "change":
                calls = [Call("setData", (limits, self._limits(), -1))]
                if self.random.random() < 0.3:
                    usage = b"count=%d,bytes=%d" % (self.random.randrange(9), 10)
                    calls.append(Call("setData", (stats, usage, -1)))
            case "take down":
                calls = [Call("delete", (name, -1)) for name in (limits, stats)]
                self.random.shuffle(calls)
                calls.append(Call("delete", (QUOTA + path, -1)))
            case _:
                calls = [Call("getData", (name, True)) for name in (stats, limits)]
        away = [slot for slot in range(SLOTS) if self.states[slot] != "open"]
        slots = [slot for slot in range(SLOTS) if slot not in away]
        for call in calls:
            yield Step("requests", self.random.choice(slots), (call,))

    def _limits(self) -> bytes | None:
        # Malformed limits matter only where they are enforced; elsewhere nobody reads them.
        if self.variant.enforce_quota and self.random.random() < 0.08:
            return self.random.choice(values.BAD_LIMIT_TEXTS)
        return self.random.choice(values.LIMIT_TEXTS)

    # ---- Requests -------------------------------------------------------------------------

    def _burst(self, slot: int) -> Step:
        # Hard quotas are checked against what is committed: which of several pipelined writes
        # are by then is a matter of luck.
        writes_left = 1 if self.variant.enforce_quota else 9
        calls: list[Call] = []
        for _ in range(self.random.randrange(2, 9)):
            call = self._burst_call(mutating=writes_left > 0)
            writes_left -= call.op not in READ_ONLY_OPS
            if kept_out(call, replace(self.where, write_follows=True)) is not None:
                writes_left = 0
            calls.append(call)
        return Step("requests", slot, tuple(calls))

    def _burst_call(self, mutating: bool) -> Call:
        while True:
            call = self._call()
            # SASL is answered out of order, and a new session record has no header to match.
            if call.op in ("sasl", "createSession"):
                continue
            if mutating or call.op in READ_ONLY_OPS:
                return self._damaged(call)

    def _call(self) -> Call:
        while True:
            op = self._weighted(_CALL_WEIGHTS)
            call = Call(op, self._args(op), self._xid(op))
            if kept_out(call, self.where) is None:
                return call

    def _xid(self, op: str) -> int | None:
        if op == "ping":
            return self.random.choice((raw.PING_XID, None))
        if op.startswith("setWatches"):
            return raw.SET_WATCHES_XID
        if op == "createSession" or self.random.random() > 0.03:
            return None
        return self.random.choice(_ODD_XIDS)

    def _damaged(self, call: Call) -> Call:
        """Sometimes cut the body, or add bytes after it."""
        chance = self.random.random()
        if call.op in ("sasl", "createSession") or chance > 0.06:
            return call
        if chance < 0.03:
            size = len(call.body(0))
            cut = Call(call.op, call.args, call.xid, keep=self.random.randrange(size + 1))
            return call if kept_out(cut, self.where) else cut
        if chance < 0.031:
            # The longest frame that a server accepts.
            room = 0xFFFFF - 8 - len(call.body(0))
            return Call(call.op, call.args, call.xid, trail=bytes(max(0, room)))
        return Call(call.op, call.args, call.xid, trail=self.random.randbytes(5))

    def _args(self, op: str) -> tuple[object, ...]:
        """Arguments of one operation."""
        random, path = self.random, self._path
        makers: dict[str, Callable[[], tuple[object, ...]]] = {
            "delete": lambda: (path(), values.version(random)),
            "check": lambda: (path(), values.version(random)),
            "deleteContainer": self._delete_container,
            "setData": self._set_data,
            "setACL": lambda: (path(), values.acl(random), values.version(random)),
            "exists": self._read,
            "getData": self._read,
            "getChildren": self._read,
            "getChildren2": self._read,
            "getACL": lambda: (path(),),
            "getAllChildrenNumber": lambda: (path(),),
            "sync": lambda: (values.bad_path(random) if random.random() < 0.5 else path(),),
            "getEphemerals": lambda: (random.choice((path(), "/", "", None, " ", "/a", "/a/s")),),
            "checkWatches": self._watcher_type,
            "removeWatches": self._watcher_type,
            "addWatch": self._add_watch,
            "setWatches": lambda: self._set_watches(op).args,
            "setWatches2": lambda: self._set_watches(op).args,
            "multi": self._multi,
            "multiRead": self._multi_read,
            "reconfig": self._reconfig,
            "sasl": lambda: (random.choice((b"", b"token")),),
            "createSession": lambda: (raw.DEFAULT_TIMEOUT_MS,),
            "ping": tuple,
            "whoAmI": tuple,
        }
        return makers[op]() if op in makers else self._create(op)

    def _path(self) -> raw.Text:
        if self.random.random() < 0.3:
            return self.random.choice(self.recent)
        path = values.path(self.random)
        self.recent.append(path)
        return path

    def _read(self) -> tuple[object, ...]:
        path, watch = self._path(), self.random.random() < 0.5
        if watch:
            self.watched.append(path)
        return (path, watch)

    def _add_watch(self) -> tuple[object, ...]:
        path = self._path()
        self.watched.append(path)
        return (path, self.random.choice((0, 1, 0, 1, 0, 1, 0, 1, 2, -1)))

    def _watcher_type(self) -> tuple[object, ...]:
        known = self.random.random() < 0.6
        path = self.random.choice(self.watched) if known else self._path()
        return (path, self.random.choice((1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6, -1)))

    def _create(self, op: str) -> tuple[object, ...]:
        random = self.random
        ttl: tuple[int, ...] = ()
        if op == "createTTL":
            flags = random.choices((5, 6, 0, 1, 2, 3, 4, 7, -1), (62, 24, 2, 2, 2, 2, 2, 2, 2))[0]
            ttl = (values.ttl(random),)
        elif op == "createContainer":
            flags = 4 if random.random() < 0.6 else values.create_flags(random)
        else:
            flags = values.create_flags(random)
        sequential = flags in (2, 3, 6)
        path = values.sequential_prefix(random) if sequential else self._path()
        return (path, values.data(random), values.acl(random), flags, *ttl)

    def _set_data(self) -> tuple[object, ...]:
        path = self._path()
        data = self._limits() if isinstance(path, str) and LIMITS in path else self._data()
        return (path, data, values.version(self.random))

    def _data(self) -> bytes | None:
        return values.data(self.random)

    def _delete_container(self) -> tuple[object, ...]:
        if self.where.as_super:
            return (self._path(),)
        return (self.random.choice(("/never", "/never/x", "/", "/zookeeper", QUOTA, "a", "",
                                    "/zookeeper/config", "/a\0", None)),)  # fmt: skip

    def _reconfig(self) -> tuple[object, ...]:
        member = "server.2=127.0.0.1:2888:3888:participant;2181"
        texts = (None, "", "2", member, "garbage", "x")
        joining, leaving, members = (self.random.choice(texts) for _ in range(3))
        return (joining, leaving, members, self.random.choice((-1, 0, 5)))

    def _auth(self, choices: tuple[tuple[raw.Text, bytes | None], ...]) -> Call:
        scheme, auth = self.random.choice(choices)
        xid = raw.AUTH_XID if self.random.random() < 0.9 else None
        return Call("auth", (self.random.choice((0, 0, 5)), scheme, auth), xid)

    def _set_watches(self, op: str) -> Call:
        lists: list[tuple[raw.Text, ...] | None] = []
        for _ in range(5 if op == "setWatches2" else 3):
            paths = tuple(self._path() for _ in range(self.random.choice((0, 0, 1, 2, 4))))
            lists.append(None if self.random.random() < 0.02 else paths)
        delta = self.random.choice((0, -1, -3, -10, -50, -1000, 5, -(2**62)))
        return Call(op, (LastZxid(delta), *lists), raw.SET_WATCHES_XID)

    def _multi(self) -> tuple[object, ...]:
        if self.random.random() < 0.4:
            return (self._coherent(), raw.MULTI_END)
        parts = []
        for _ in range(self.random.choices(range(8), (4, 20, 26, 20, 14, 8, 5, 3))[0]):
            if self.random.random() < 0.02:
                op = self.random.choice(("exists", "getData", "getChildren", "setACL", "sync"))
            else:
                op = self.random.choices(_PARTS, (26, 12, 6, 8, 20, 18, 10))[0]
            args = self._forgiving(op) if self.random.random() < 0.7 else self._args(op)
            code = raw.OPCODES[op]
            if self.random.random() < 0.01:
                code = self.random.choice((0, 7, 14, 22, 99, -1, 17))
            parts.append(Part(code, Call(op, args)))
        return (tuple(parts), self._end())

    def _coherent(self) -> tuple[Part, ...]:
        """Parts that build on each other, so that whole multis come through."""
        random = self.random
        top = random.choice(("", "", "/a")) + f"/m{random.randrange(8)}"
        create = random.choice(("create", "create2", "createContainer", "createTTL"))
        flags = random.choice((0, 4, 5, 6)) if create == "createTTL" else random.choice((0, 0, 4))
        ttl = (values.ttl(random),) if create == "createTTL" else ()
        calls = [
            Call(create, (top, self._data(), raw.OPEN_ACL, flags, *ttl)),
            Call("create", (f"{top}/s", self._data(), values.acl(random), random.choice((2, 3)))),
            Call("create2", (f"{top}/s", None, raw.OPEN_ACL, random.choice((0, 1, 2, 3)))),
            Call("setData", (top, self._data(), random.choice((-1, 0)))),
            Call("setData", (top, self._data(), random.choice((-1, 1)))),
            Call("check", (top, random.choice((-1, 2)))),
            Call("delete", (f"{top}/s0000000000", -1)),
            Call("delete", (top, -1)),
        ]
        kept = [call for call in calls if random.random() < 0.7]
        return tuple(Part(raw.OPCODES[str(call.op)], call) for call in kept)

    def _forgiving(self, op: str) -> tuple[object, ...]:
        """Arguments that are wrong at most in what they meet."""
        random = self.random
        on_root = op in ("setData", "check") and random.random() < 0.5
        path = "/" if on_root else values.plain_path(random)
        match op:
            case "delete" | "check":
                return (path, -1)
            case "setData":
                return (path, self._data(), -1)
            case "createTTL":
                return (path, self._data(), raw.OPEN_ACL, 5, 60_000)
            case "create" | "create2" | "createContainer":
                flags = 4 if op == "createContainer" else random.choice((0, 0, 2, 2, 3, 1, 4))
                path = f"/{path[1:2]}s" if flags in (2, 3) else path
                return (path, self._data(), raw.OPEN_ACL, flags)
            case _:
                return self._args(op)

    def _multi_read(self) -> tuple[object, ...]:
        parts = []
        for _ in range(self.random.randrange(5)):
            op = self.random.choice(("getData", "getChildren"))
            if self.random.random() < 0.04:
                op = self.random.choice(("exists", "getChildren2", "setData", "create", "check"))
            parts.append(Part(raw.OPCODES[op], Call(op, self._args(op))))
        return (tuple(parts), self._end())

    def _end(self) -> bytes:
        """The terminator, sometimes unusual or missing."""
        chance = self.random.random()
        if chance < 0.02:
            return b""
        if chance < 0.05:
            return raw.i32(self.random.choice((0, 1, 99))) + b"\x05" + raw.i32(7)
        return raw.MULTI_END

    def _weighted(self, weights: dict[str, int]) -> str:
        return self.random.choices(tuple(weights), tuple(weights.values()))[0]
