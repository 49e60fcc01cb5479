"""The events of watches and of the session, as zkCli prints them."""

from __future__ import annotations

from collections.abc import Mapping

from kraal.client import EventType, SessionState, WatchEvent
from kraal.shell.results import JsonObject

STATES: Mapping[SessionState, str] = {
    SessionState.CONNECTING: "Disconnected",
    SessionState.CONNECTED: "SyncConnected",
    SessionState.CONNECTED_READ_ONLY: "ConnectedReadOnly",
    SessionState.EXPIRED: "Expired",
    SessionState.AUTH_FAILED: "AuthFailed",
    SessionState.CLOSED: "Closed",
}
"""What the entry into a state is called."""

PROMPT_STATES: Mapping[SessionState, str] = {
    SessionState.CONNECTING: "CONNECTING",
    SessionState.CONNECTED: "CONNECTED",
    SessionState.CONNECTED_READ_ONLY: "CONNECTEDREADONLY",
    SessionState.EXPIRED: "CONNECTING",
    SessionState.AUTH_FAILED: "AUTH_FAILED",
    SessionState.CLOSED: "CLOSED",
}

_TYPES: Mapping[EventType, str] = {
    EventType.CREATED: "NodeCreated",
    EventType.DELETED: "NodeDeleted",
    EventType.CHANGED: "NodeDataChanged",
    EventType.CHILDREN: "NodeChildrenChanged",
    EventType.DATA_WATCH_REMOVED: "DataWatchRemoved",
    EventType.CHILD_WATCH_REMOVED: "ChildWatchRemoved",
    EventType.PERSISTENT_WATCH_REMOVED: "PersistentWatchRemoved",
}
"""Others are the client's own: that a session is over, or that events may be missing, the events
of the session say already."""


def of_state(state: SessionState) -> tuple[list[str], JsonObject]:
    """What is printed when the session enters a state, and what a program is told."""
    return _event(STATES[state], "None", "null", -1), {"event": "session", "state": STATES[state]}


def of_watch(event: WatchEvent) -> tuple[list[str], JsonObject] | None:
    """What is printed for an event of a watch; None for what zkCli has no event for."""
    kind = _TYPES.get(event.type)
    if kind is None:
        return None
    fields: JsonObject = {
        "event": "watch", "type": kind, "path": event.path, "zxid": event.zxid,
    }  # fmt: skip
    return _event("SyncConnected", kind, event.path, event.zxid), fields


def _event(state: str, kind: str, path: str, zxid: int) -> list[str]:
    shown = f"WatchedEvent state:{state} type:{kind} path:{path} zxid: {zxid}"
    return ["", "WATCHER::", "", shown]
