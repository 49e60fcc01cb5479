"""Calls of threads: late, interrupted at any place, racing with `close`, and left at the end."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from time import sleep
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from kraal import sync
from kraal.sync import portal
from kraal.sync.recipes import Held, LeaderElection, Lock, LockingQueue, LostError, follow
from kraal.testing import Server

if TYPE_CHECKING:
    from _typeshed import TraceFunction

# The time of a timeout is over


def test_a_call_that_begins_late_raises_at_once(zk: sync.Client) -> None:
    with sync.timeout(0), pytest.raises(TimeoutError):
        zk.create("/late")
    with sync.timeout(0.01):
        sleep(0.02)
        with pytest.raises(TimeoutError):
            zk.create("/late")
        with pytest.raises(TimeoutError), Lock(zk, "/late"):
            pytest.fail("it was acquired")
    assert zk.exists("/late") is None


@pytest.mark.parametrize(("seconds", "error"), [("a", TypeError), (math.nan, ValueError)])
def test_a_time_that_is_no_number_is_refused(seconds: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="a timeout must be a number of seconds"):
        sync.timeout(seconds)


@pytest.mark.parametrize(
    "iterate",
    [
        lambda zk: follow(zk, "/never"),
        lambda zk: zk.states(),
        lambda zk: zk.watch("/never").__enter__(),
    ],
)
def test_iterators_end_when_the_time_is_over(
    zk: sync.Client, iterate: Callable[[sync.Client], Iterator[object]]
) -> None:
    with pytest.raises(TimeoutError), sync.timeout(0.1):
        for _ in iterate(zk):
            pass
    assert zk.exists("/never") is None


def test_blocks_that_end_late_leave_nothing_behind(server: Server, zk: sync.Client) -> None:
    queue = LockingQueue(zk, "/queue")
    queue.put(b"1")
    with sync.timeout(1.0), sync.connect(server.hosts) as late, zk.watch("/x") as events:
        with Lock(late, "/lock"), queue.item() as item:
            assert item.data == b"1"
            sleep(1.1)
        with pytest.raises(TimeoutError):
            next(events)
    assert late.is_closed
    assert Lock(zk, "/lock").contenders() == []
    assert queue.size() == 0


def test_a_transaction_whose_block_ends_late_is_not_sent(zk: sync.Client) -> None:
    with pytest.raises(TimeoutError), sync.timeout(0.01), zk.transaction() as t:
        t.create("/late")
        sleep(0.02)
    assert zk.exists("/late") is None


# Interrupts

NEVER_BEGUN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Interrupted before it was given to the loop, a coroutine complains that nobody awaited it."""


@NEVER_BEGUN
def test_no_place_of_a_call_is_wrong_for_an_interrupt(zk: sync.Client) -> None:
    zk.create("/a", b"a")
    zk.create("/b", b"b")
    places = 0
    while interrupted(lambda: zk.get("/a"), places):
        assert zk.get("/b").data == b"b"
        assert zk.get("/a").data == b"a"
        places += 1
    assert places > 30


@NEVER_BEGUN
def test_an_interrupted_call_is_not_left_at_work(zk: sync.Client) -> None:
    lock = Lock(zk, "/lock")
    places = 0
    with Lock(zk, "/lock"):
        while interrupted(lambda: acquire_for_a_moment(lock), places):
            places += 1
        assert len(lock.contenders()) == 1
    assert places > 30


def acquire_for_a_moment(lock: Lock) -> None:
    with pytest.raises(TimeoutError), sync.timeout(0.001):
        lock.acquire()


def interrupted(function: Callable[[], object], place: int) -> bool:
    """Raise KeyboardInterrupt at so many-th bytecode in the portal; whether there is one."""
    left = place

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal left
        if frame.f_code.co_filename != portal.__file__ or frame.f_code.co_name == "timeout":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


# Life


def test_closing_ends_what_other_threads_wait_for(server: Server) -> None:
    zk = sync.connect(server.hosts)
    zk.start()
    leads = threading.Event()

    def lead(leadership: Held) -> None:
        leads.set()
        while True:
            leadership.check()
            sleep(0.01)

    held = Lock(zk, "/lock").acquire()
    raised: list[BaseException] = []
    waits: list[Callable[[], object]] = [
        held.revoked.wait,
        lambda: LeaderElection(zk, "/election").run(lead),
        lambda: list(zk.states()),
    ]
    threads = [threading.Thread(target=noting, args=(wait, raised), daemon=True) for wait in waits]
    for thread in threads:
        thread.start()
    assert leads.wait(10)
    zk.close()
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in raised if not isinstance(error, LostError)] == [
        sync.ClosedError
    ] * len(raised)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_calls_that_race_with_closing_are_refused(
    server: Server,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    loop: str,
) -> None:
    if loop == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    raised: list[BaseException] = []
    for delay in range(25):
        zk = sync.connect(server.hosts)
        zk.start()
        threads = [
            threading.Thread(target=noting, args=(partial(forever, zk), raised), daemon=True)
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        sleep(0.003 * (delay % 5))
        zk.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    assert {type(error) for error in raised} == {sync.ClosedError}
    assert len(raised) == 25 * 6
    assert capfd.readouterr().err == ""


def noting(function: Callable[[], object], raised: list[BaseException]) -> None:
    try:
        function()
    except BaseException as error:
        raised.append(error)


def forever(zk: sync.Client) -> None:
    while True:
        zk.get("/")


def test_a_second_start_is_refused_and_harms_nobody(server: Server, zk: sync.Client) -> None:
    with Lock(zk, "/lock") as held:
        with pytest.raises(sync.ClosedError, match="started once"):
            zk.start()
        with pytest.raises(sync.ClosedError), zk:
            pytest.fail("it was started")
        held.check()
        assert zk.exists(held.path)
    assert len(server.sessions()) == 1


UNCLOSED = """
import gc, sys, threading
from kraal import sync
from kraal.sync.recipes import Lock, Queue

zk = sync.connect(sys.argv[1])
zk.start()
waiting = threading.Thread(target=Queue(zk, "/queue").get, daemon=True)
waiting.start()
thread = threading.Thread(target=Lock(zk, "/lock").acquire)
thread.start()
thread.join()
del thread
for _ in range(3):
    gc.collect()
    zk.get("/")
next(zk.states())
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_program_that_does_not_close_ends_in_silence(server: Server, loop: str) -> None:
    blocked = "import sys; sys.modules['uvloop'] = None\n" if loop == "asyncio" else ""
    ended = subprocess.run(
        [sys.executable, "-c", blocked + UNCLOSED, server.hosts],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_coroutine_function_cannot_lead(zk: sync.Client) -> None:
    async def lead(_: Held) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        LeaderElection(zk, "/election").run(lead)  # type: ignore[unused-coroutine]
    assert zk.exists("/election") is None
