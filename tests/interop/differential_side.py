"""Runs the steps of a script against one server and reports what a client sees.

Every step is a coroutine that pauses after it has sent something, so that two servers work at
the same time. After a step that may have caused watch events, every other session sends a ping
and reads up to its reply: events for a change leave before later replies, so all are in.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from tests.interop.differential_rules import Normaliser, Plain, sort_events
from tests.interop.differential_steps import SLOTS, SUPER_AUTH, Kind, Step
from tests.support import raw_client as raw

# What one step shows: per session, the frames in order.
Outcome = list[tuple[str, list[Plain]]]
Pausing = Generator[None, None, Outcome]
PausingFrames = Generator[None, None, list[Plain]]

REPLY_TIMEOUT_S = 10.0
# A server that has to close and does not is a difference: do not wait for it as long.
CLOSE_TIMEOUT_S = 2.0
WIPE_LIMIT = 400
CLOSED: Plain = ("closed",)


@dataclass
class Slot:
    """One session of the script on this server."""

    client: raw.RawClient | None = None
    session: int = 0
    password: bytes | None = None

    @property
    def open(self) -> raw.RawClient | None:
        return None if self.client is None or self.client.closed else self.client


@dataclass
class Coverage:
    """What a run has exercised, counted on one server."""

    replies: Counter[tuple[str, int]] = field(default_factory=Counter)
    parts: Counter[tuple[int, int]] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    connects: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, frame: raw.Frame, settling: bool) -> None:
        if isinstance(frame, raw.Event):
            self.events[str(raw.EVENT_NAMES.get(frame.type, frame.type))] += 1
        elif isinstance(frame, raw.Reply) and not settling:
            self.replies[frame.op, frame.err] += 1
            if isinstance(frame.value, list) and frame.op in ("multi", "multiRead"):
                for part in frame.value:
                    self.parts[part.type, part.err] += not part.done


class Side:
    """One server and the sessions on it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.slots = [Slot() for _ in range(SLOTS)]
        self.normaliser = Normaliser()
        self.coverage = Coverage()
        self.last_zxid = 0

    def run(self, step: Step) -> Pausing:
        """One step and the settling after it."""
        connect = self._connect
        runners: dict[Kind, Callable[[Step], PausingFrames]] = {
            "requests": self._requests, "bad-frame": self._bad_frame, "new": connect,
            "resume": connect, "resume-ahead": connect, "resume-wrong": connect,
            "resume-ended": connect, "drop": self._drop, "probe": self._probe,
            "word": self._word, "wipe": self._wipe,
        }  # fmt: skip
        frames = yield from runners[step.kind](step)
        outcome = [(f"session {step.slot}", frames)]
        if step.settles:
            outcome += yield from self.settle(step.slot)
        # The ephemerals of a session end in no certain order.
        ends = {frame[3] for frame in frames if frame[:2] == ("reply", "closeSession")}
        if ends:
            for _, others in outcome:
                sort_events(others, ends)
        return outcome

    def close(self) -> None:
        for slot in self.slots:
            if slot.client is not None:
                slot.client.close()

    def port_of(self, _: Step) -> int:
        """Where a step connects."""
        return self.port

    # ---- Reading --------------------------------------------------------------------------

    def _read(
        self, client: raw.RawClient, settling: bool = False
    ) -> tuple[raw.Frame | None, Plain]:
        """The next frame, and how it looks normalised."""
        try:
            frame = client.receive()
        except raw.ClosedError:
            return None, CLOSED
        except TimeoutError:
            client.close()
            return None, ("nothing within the time limit",)
        except raw.DecodeError as error:
            client.close()
            return None, ("malformed frame", str(error))
        self.coverage.count(frame, settling)
        if isinstance(frame, raw.Reply):
            self.last_zxid = max(self.last_zxid, frame.zxid)
        return frame, self.normaliser.frame(frame)

    def _read_replies(self, client: raw.RawClient, settling: bool = False) -> list[Plain]:
        """Frames up to the reply of the last outstanding request, or to the end."""
        frames: list[Plain] = []
        while client.outstanding:
            frame, plain = self._read(client, settling)
            frames.append(plain)
            if frame is None:
                break
            if isinstance(frame, raw.Reply) and _closes(frame):
                return frames + self._read_to_end(client)
        return frames

    def _read_to_end(self, client: raw.RawClient) -> list[Plain]:
        frames: list[Plain] = []
        if not client.closed:
            client.socket.settimeout(CLOSE_TIMEOUT_S)
        while not client.closed:
            frames.append(self._read(client)[1])
        return frames

    def settle(self, acting: int) -> Pausing:
        """Read the events that a step has caused for the other sessions."""
        waiting: list[tuple[int, raw.RawClient]] = []
        for number, slot in enumerate(self.slots):
            if number != acting and (client := slot.open) is not None:
                client.send("ping", xid=raw.PING_XID)
                waiting.append((number, client))
        yield
        return [
            (f"session {number}", self._read_replies(client, settling=True))
            for number, client in waiting
        ]

    # ---- Steps on an open connection ------------------------------------------------------

    def _requests(self, step: Step) -> PausingFrames:
        client = self.slots[step.slot].open
        if client is None:
            return [("not connected",)]
        requests = self._encoded(client, step)
        if step.split is not None:
            client.send_bytes(requests[: step.split])
            # Give the server a chance to see the pieces apart.
            yield
            time.sleep(0.001)
        client.send_bytes(requests[step.split or 0 :])
        yield
        return self._read_replies(client)

    def _encoded(self, client: raw.RawClient, step: Step) -> bytes:
        return b"".join(
            client.encode(call.op, call.body(self.last_zxid), call.xid) for call in step.calls
        )

    def _bad_frame(self, step: Step) -> PausingFrames:
        client = self.slots[step.slot].open
        if client is None:
            return [("not connected",)]
        client.send_bytes(step.payload)
        yield
        return self._read_to_end(client)

    def _drop(self, step: Step) -> PausingFrames:
        """Half-close and wait for the server to follow, so that it has let go of the session."""
        client = self.slots[step.slot].open
        if client is None:
            return [("not connected",)]
        client.half_close()
        yield
        return self._read_to_end(client)

    def _wipe(self, step: Step) -> PausingFrames:
        """Delete a subtree by ordinary requests, every reply of which counts."""
        client = self.slots[step.slot].open
        if client is None:
            return [("not connected",)]
        frames: list[Plain] = []
        found, level = [step.path], [step.path]
        while level and len(found) < WIPE_LIMIT:
            for path in level:
                client.send("getChildren", raw.path_and_watch(path, False))
            yield
            replies, values = self._read_values(client, len(level))
            frames += replies
            level = [
                f"{parent.rstrip('/')}/{name}"
                for parent, names in zip(level, values, strict=True)
                for name in (sorted(names) if isinstance(names, list) else ())
            ]
            found += level
        for path in reversed(found):
            client.send("delete", raw.path_and_int(path, -1))
        yield
        return frames + self._read_values(client, len(found))[0]

    def _read_values(self, client: raw.RawClient, count: int) -> tuple[list[Plain], list[object]]:
        """Frames up to `count` replies, and the values of these replies."""
        frames: list[Plain] = []
        values: list[object] = []
        while len(values) < count:
            frame, plain = self._read(client)
            frames.append(plain)
            if frame is None:
                values += [None] * (count - len(values))
            elif isinstance(frame, raw.Reply):
                values.append(frame.value)
        return frames, values

    # ---- Connecting -----------------------------------------------------------------------

    def _connect(self, step: Step) -> PausingFrames:
        """A new session, or one of the ways to come back to the slot's session."""
        slot = self.slots[step.slot]
        session, password = slot.session, slot.password
        if step.kind == "new":
            session, password = 0, bytes(16)
        elif step.kind == "resume-wrong":
            password = bytes(reversed(password or b""))
        request = raw.connect_request(
            session, password, timeout=step.timeout, read_only=step.read_only,
            last_zxid=self.last_zxid + step.delta,
        )  # fmt: skip
        client = raw.RawClient(self.port_of(step), timeout=REPLY_TIMEOUT_S)
        client.send_bytes(raw.i32(len(request)) + request + self._encoded(client, step))
        yield
        frames, handshake = self._read_handshake(client)
        shown = "refused" if handshake is None else "accepted"
        self.coverage.connects[step.kind, shown] += 1
        if handshake is None:
            return frames
        frames += self._read_replies(client)
        old = slot.open
        slot.client, slot.session, slot.password = client, handshake.session, handshake.password
        if old is not None:
            # The server must have closed the connection that the session had before.
            frames += self._read_to_end(old)
        return frames

    def _read_handshake(self, client: raw.RawClient) -> tuple[list[Plain], raw.Handshake | None]:
        """The answer to a ConnectRequest; None when it refuses, with the end of the stream."""
        try:
            handshake = raw.decode_handshake(client.receive_frame())
        except raw.ClosedError:
            return [CLOSED], None
        except TimeoutError:
            client.close()
            return [("nothing within the time limit",)], None
        except raw.DecodeError as error:
            client.close()
            return [("malformed frame", str(error))], None
        plain = self.normaliser.frame(handshake)
        if handshake.session == 0:
            return [plain, *self._read_to_end(client)], None
        return [plain], handshake

    def _probe(self, step: Step) -> PausingFrames:
        client = raw.RawClient(self.port_of(step), timeout=REPLY_TIMEOUT_S)
        client.send_bytes(step.payload)
        yield
        frames, handshake = self._read_handshake(client)
        self.coverage.connects["probe", "refused" if handshake is None else "accepted"] += 1
        if handshake is not None:
            client.send("closeSession")
            yield
            frames += self._read_replies(client)
        return frames

    def _word(self, step: Step) -> PausingFrames:
        with socket.create_connection((raw.HOST, self.port), timeout=REPLY_TIMEOUT_S) as sock:
            sock.sendall(step.payload)
            yield
            answer = b""
            try:
                while chunk := sock.recv(4096):
                    answer += chunk
            except ConnectionResetError:
                pass
            except TimeoutError:
                return [("nothing within the time limit", answer)]
        return [("answer", answer), CLOSED]

    # ---- The end --------------------------------------------------------------------------

    def dump(self) -> Pausing:
        """The whole tree as the super user sees it: data, ACL and Stat of every node."""
        client = raw.RawClient(self.port, timeout=REPLY_TIMEOUT_S)
        client.send_frame(raw.connect_request())
        yield
        outcome: Outcome = [("dump", self._read_handshake(client)[0])]
        client.send("auth", raw.auth_body(0, "digest", SUPER_AUTH), raw.AUTH_XID)
        outcome.append(("auth", self._read_replies(client)))
        level = ["/"]
        while level:
            children: list[str] = []
            for path in level:
                client.send("getData", raw.path_and_watch(path, False))
                client.send("getACL", raw.ustring(path))
                client.send("getChildren", raw.path_and_watch(path, False))
                yield
                frames, values = self._read_values(client, 3)
                # Xids say nothing here, and a node should stand alone in a report.
                outcome.append((path, [frame[:2] + frame[3:] for frame in frames]))
                names = values[2] if isinstance(values[2], list) else []
                children += [f"{path.rstrip('/')}/{name}" for name in sorted(names)]
            level = children
        client.send("closeSession")
        outcome.append(("end", self._read_replies(client)))
        return outcome


def _closes(reply: raw.Reply) -> bool:
    """Whether the protocol wants the server to close the connection after `reply`."""
    if reply.op == "closeSession":
        return reply.err == 0
    return reply.err in (-115, -124) or (reply.err == -6 and reply.zxid == -1)
