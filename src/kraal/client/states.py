"""The states of a session as its client sees them, and how they may follow each other."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from enum import Enum


class SessionState(Enum):
    """What a client knows of its session."""

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

    def changes(self, check: Callable[[], None]) -> Changes:
        """The state now and every later one; `check` says whether they may be waited for here."""
        return Changes(self, check)

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


class Changes(AsyncIterator[SessionState]):
    """The state at the first step and every later one, in order, until CLOSED.

    What has happened can still be read when the event loop has ended, which closes generators.
    """

    def __init__(self, keeper: StateKeeper, check: Callable[[], None]) -> None:
        self._keeper = keeper
        self._check = check
        self._states: deque[SessionState] = deque()
        self._changed = asyncio.Event()
        self._unsubscribe: Callable[[], None] | None = None
        self._is_over = False

    async def __anext__(self) -> SessionState:
        if self._is_over:
            raise StopAsyncIteration
        if self._unsubscribe is None:
            self._begin()
        while not self._states:
            self._check()
            self._changed.clear()
            await self._changed.wait()
        state = self._states.popleft()
        if state is SessionState.CLOSED:
            await self.aclose()
        return state

    async def aclose(self) -> None:
        """Ends it, as for a generator (`contextlib.aclosing`)."""
        self._is_over = True
        if self._unsubscribe is not None:
            self._unsubscribe()

    def _begin(self) -> None:
        states, changed = self._states, self._changed

        def note(state: SessionState) -> None:  # does not hold this iterator
            states.append(state)
            changed.set()

        states.append(self._keeper.state)
        self._unsubscribe = self._keeper.subscribe(note)
        weakref.finalize(self, self._unsubscribe).atexit = False
