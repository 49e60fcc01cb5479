"""The states of a session as its client sees them, and how they may follow each other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from enum import Enum


class SessionState(Enum):
    CONNECTING = "connecting"
    """No server at the moment; the session may live on."""
    CONNECTED = "connected"
    CONNECTED_READ_ONLY = "connected read-only"
    EXPIRED = "expired"
    """The session is over; a new one is established by itself."""
    AUTH_FAILED = "authentication failed"
    """Credentials were refused; only `close` is left."""
    CLOSED = "closed"
    """`close` was called, or this process was forked from the client's own."""

    @property
    def is_connected(self) -> bool:
        return self in (SessionState.CONNECTED, SessionState.CONNECTED_READ_ONLY)

    @property
    def is_final(self) -> bool:
        return self in (SessionState.AUTH_FAILED, SessionState.CLOSED)


_S = SessionState
TRANSITIONS: Mapping[SessionState, frozenset[SessionState]] = {
    _S.CONNECTING: frozenset(
        (_S.CONNECTED, _S.CONNECTED_READ_ONLY, _S.EXPIRED, _S.AUTH_FAILED, _S.CLOSED)
    ),
    _S.CONNECTED: frozenset((_S.CONNECTING, _S.AUTH_FAILED, _S.CLOSED)),
    _S.CONNECTED_READ_ONLY: frozenset((_S.CONNECTING, _S.AUTH_FAILED, _S.CLOSED)),
    _S.EXPIRED: frozenset((_S.CONNECTING, _S.CLOSED)),
    _S.AUTH_FAILED: frozenset((_S.CLOSED,)),
    _S.CLOSED: frozenset(),
}

StateCallback = Callable[[SessionState], None]


class StateKeeper:
    """The state of one client, and those who want to know when it changes."""

    def __init__(self) -> None:
        self.state = SessionState.CONNECTING
        self._callbacks: dict[object, StateCallback] = {}

    def enter(self, state: SessionState) -> None:
        """Change the state and tell everyone; an illegal transition is a bug."""
        if state is self.state:
            return
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"
        self.state = state
        for callback in list(self._callbacks.values()):
            try:
                callback(state)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a state callback failed", "exception": error}
                )

    def subscribe(self, callback: StateCallback) -> Callable[[], None]:
        key = object()
        self._callbacks[key] = callback
        return lambda: self._callbacks.pop(key, None) and None

    async def changes(self) -> AsyncIterator[SessionState]:
        """The state now and every later one, in order, until CLOSED."""
        states = deque([self.state])
        changed = asyncio.Event()

        def note(state: SessionState) -> None:
            states.append(state)
            changed.set()

        unsubscribe = self.subscribe(note)
        try:
            while True:
                while states:
                    state = states.popleft()
                    yield state
                    if state is SessionState.CLOSED:
                        return
                changed.clear()
                await changed.wait()
        finally:
            unsubscribe()

    async def wait_for(self, accept: Callable[[SessionState], bool]) -> SessionState:
        """Wait until a state is accepted; returns it."""
        if accept(self.state):
            return self.state
        done: asyncio.Future[SessionState] = asyncio.get_running_loop().create_future()

        def note(state: SessionState) -> None:
            if accept(state) and not done.done():
                done.set_result(state)

        unsubscribe = self.subscribe(note)
        try:
            return await done
        finally:
            unsubscribe()
