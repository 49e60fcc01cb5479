"""What a differential run leaves out, and what it does not compare, each with its reason.

Two servers never agree on clocks and session ids, and the protocol leaves some orders open:
those are made equal by `Normaliser`. Everything that kraal does otherwise on purpose is listed
in `DELIBERATE`, and nowhere else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from tests.interop.differential_steps import READ_ONLY_OPS, Call, Part
from tests.support import raw_client as raw

QUOTA = "/zookeeper/quota"
LIMITS = "zookeeper_limits"
STATS = "zookeeper_stats"
CREATES = ("create", "create2", "createContainer", "createTTL")

_WELL_FORMED_STATS = re.compile(rb"count=-?\d{1,9},bytes=-?\d{1,9}")
_PORT = re.compile(rb":\d{5}")
_NEVER_CREATED = re.compile(r"/never(/.*)?")
_PROTECTED = ("/", "/zookeeper", QUOTA, "/zookeeper/config")


@dataclass(frozen=True)
class Where:
    """Where a request stands.

    Inside a multi; on a session that holds the super identity; in front of a pipelined write; in
    an ensemble.
    """

    in_multi: bool = False
    as_super: bool = False
    write_follows: bool = False
    in_ensemble: bool = False


@dataclass(frozen=True)
class Deliberate:
    """A request on which kraal differs on purpose, so that it is never generated."""

    name: str
    reason: str
    applies: Callable[[Call, Where], bool]


def _path(call: Call) -> str:
    path = call.args[0] if call.args else None
    if isinstance(path, bytes):
        return path.decode("utf-8", "replace")
    return path if isinstance(path, str) else ""


def _ttl_out_of_range(call: Call, where: Where) -> bool:
    if call.op != "createTTL" or where.in_multi or len(call.args) < 5:
        return False
    flags, ttl = call.args[3], call.args[4]
    return isinstance(flags, int) and 0 <= flags <= 4 and isinstance(ttl, int) and ttl < 0


def _root_quota(call: Call, where: Where) -> bool:
    return call.op in CREATES and _path(call) == f"{QUOTA}/{LIMITS}"


def _unparsable_stats(call: Call, where: Where) -> bool:
    if call.op != "setData" or not _path(call).endswith(f"/{STATS}"):
        return False
    data = call.args[1]
    return not (isinstance(data, bytes) and _WELL_FORMED_STATS.fullmatch(data))


def _delete_container(call: Call, where: Where) -> bool:
    path = _path(call)
    harmless = path in _PROTECTED or "/" not in path or "\0" in path
    harmless = harmless or _NEVER_CREATED.fullmatch(path) is not None
    return call.op == "deleteContainer" and not (harmless or where.as_super)


def _leaves_pending(call: Call) -> bool:
    if call.op != "multi" or not isinstance(call.args[0], tuple):
        return call.op == "setACL"
    for part in call.args[0]:
        assert isinstance(part, Part)
        acl = part.call.args[2] if part.call.op in CREATES else None
        if isinstance(acl, Sequence) and any(entry[2] is None for entry in acl):
            return True
    return False


def _is_undecodable(call: Call, where: Where) -> bool:
    if not where.in_ensemble or where.in_multi or call.op in READ_ONLY_OPS:
        return False
    if call.keep is not None or (call.op == "deleteContainer" and call.args[0] is None):
        return True
    if call.op != "multi" or not isinstance(call.args[0], tuple):
        return False
    parts = [part for part in call.args[0] if isinstance(part, Part)]
    kinds = {raw.OPCODES[op] for op in (*CREATES, "delete", "setData", "check")}
    return call.args[1] == b"" or any(
        part.code not in kinds
        or part.code != raw.OPCODES[str(part.call.op)]
        or (part.call.op in CREATES and part.call.args[2] is None)
        or (part.call.op == "createTTL" and part.call.args[3] not in (5, 6))
        for part in parts
    )


DELIBERATE = (
    Deliberate(
        "createTTL with a negative ttl and the flags of another kind",
        "the reference server terminates and cannot restart; kraal answers -8",
        _ttl_out_of_range,
    ),
    Deliberate(
        "a quota on the root",
        "the reference server terminates",
        _root_quota,
    ),
    Deliberate(
        "unparsable usage written to a zookeeper_stats node",
        "the reference server terminates at the next write under that quota",
        _unparsable_stats,
    ),
    Deliberate(
        "deleteContainer without permission",
        "the reference server deletes any childless node of anybody; kraal asks for DELETE on the "
        "parent, so only what fails before that, or comes from the super user, is compared",
        _delete_container,
    ),
    Deliberate(
        "writes behind a write that has not been applied",
        "the reference server judges by the old ACL until a setACL is applied, and forgets to undo "
        "the first parts of a multi that ends in an internal error (a null id in an ACL): what "
        "follows at once is a matter of luck there, and not in kraal",
        lambda call, where: where.write_follows and _leaves_pending(call),
    ),
    Deliberate(
        "writes that cannot be decoded, in an ensemble",
        "the reference leader proposes the error under the zxid of the transaction before it, "
        "which is never committed: no member answers a write any more; kraal answers -5",
        _is_undecodable,
    ),
    # Not generated at all, and so without a rule: a wrong password for a session that is
    # connected (the reference server disconnects its client), counters near 2^31 (out of reach).
)


def kept_out(call: Call, where: Where = Where()) -> str | None:
    """The name of the deliberate difference that `call` would meet, if any."""
    if call.op == "multi" and isinstance(call.args[0], tuple):
        inside = replace(where, in_multi=True)
        for part in call.args[0]:
            assert isinstance(part, Part)
            if found := kept_out(part.call, inside):
                return found
    for difference in DELIBERATE:
        if difference.applies(call, where):
            return difference.name
    return None


# ---- Normalisation ------------------------------------------------------------------------

# Clocks of the two servers and of the test are the same machine's.
_CLOCK_TOLERANCE_MS = 3_600_000

Plain = tuple[object, ...]


class Normaliser:
    """Turns the frames of one server into values that are equal on an equal server."""

    def __init__(self) -> None:
        # By the id of the server that made it.
        self._first_sessions: dict[int, int] = {}

    def session(self, session: int) -> object:
        """Sessions are numbered from their server's first one, whose fixed parts are checked."""
        if session == 0:
            return 0
        server = session >> 56 & 0xFF
        first = self._first_sessions.setdefault(server, session)
        if session == first:
            return f"first session of server {server}, low bits {session & 0xFFFF}"
        return f"session+{session - first} of server {server}"

    def frame(self, frame: raw.Frame) -> Plain:
        match frame:
            case raw.Event(zxid, err, kind, state, path):
                name = raw.EVENT_NAMES.get(kind, kind)
                return ("event", zxid, err, name, state, path)
            case raw.Handshake(protocol, timeout, session, password, read_only):
                if session and password == raw.session_password(session):
                    shown: object = "derived password"
                else:
                    shown = password
                return ("handshake", protocol, timeout, self.session(session), shown, read_only)
            case raw.Reply(op, xid, zxid, err, value, rest):
                if op == "multiRead" and err:
                    # The reference server adds the results up to the part that it could not
                    # read. Clients do not read a body after an error, and kraal sends none.
                    rest = b""
                return ("reply", op, xid, zxid, err, self.value(op, value), rest)

    def value(self, op: str, value: object) -> object:
        if isinstance(value, raw.Stat):
            return self.stat(value)
        if isinstance(value, tuple):
            return tuple(self.value(op, item) for item in value)
        if isinstance(value, list):
            items = [self._part(item) if isinstance(item, raw.PartResult) else item
                     for item in value]  # fmt: skip
            if op == "getACL":
                return _sorted_identities(items)
            # The protocol leaves the order of other lists open.
            return items if op in ("multi", "multiRead") else sorted(items, key=repr)
        if isinstance(value, bytes) and value.startswith(b"server.1="):
            return _PORT.sub(b":port", value)  # the configuration of an ensemble
        return value

    def _part(self, part: raw.PartResult) -> object:
        value = self.value("part", part.value)
        return (part.type, part.done, part.err, value)

    def stat(self, stat: raw.Stat) -> Plain:
        """Times only as "now"; that ctime equals mtime is certain while mzxid is czxid."""
        ctime, mtime = self._time(stat.ctime), self._time(stat.mtime)
        if stat.czxid == stat.mzxid and stat.ctime == stat.mtime:
            mtime = "=ctime"
        return (
            "stat", f"czxid {stat.czxid}", f"mzxid {stat.mzxid}", f"ctime {ctime}",
            f"mtime {mtime}", f"version {stat.version}", f"cversion {stat.cversion}",
            f"aversion {stat.aversion}", f"owner {self.session(stat.owner)}",
            f"dataLength {stat.data_length}", f"children {stat.children}",
            f"pzxid {stat.pzxid}",
        )  # fmt: skip

    def _time(self, value: int) -> object:
        near = abs(value - time.time() * 1000) < _CLOCK_TOLERANCE_MS
        return "now" if near else value


def _perms_and_scheme(entry: object) -> object:
    return entry[:2] if isinstance(entry, tuple) else entry


def _sorted_identities(entries: list[object]) -> list[object]:
    """An ACL in its order, but runs that an `auth` entry may stand for sorted.

    The identities of a connection are a set, so it is open in which order `auth` expands.
    """
    ordered: list[object] = []
    for _, run in groupby(entries, key=_perms_and_scheme):
        ordered += sorted(run, key=repr)
    return ordered


def sort_events(frames: list[Plain], zxids: set[object]) -> None:
    """Sort, in place, the events that carry one of `zxids` among the places they hold.

    For the end of sessions only: their ephemerals are deleted in no certain order.
    """
    places = [
        index for index, frame in enumerate(frames) if frame[0] == "event" and frame[1] in zxids
    ]
    ordered = sorted((frames[index] for index in places), key=repr)
    for index, frame in zip(places, ordered, strict=True):
        frames[index] = frame
