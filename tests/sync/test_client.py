"""The client for threads: the same operations, and calls that can be cut short."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from kraal import sync
from kraal.sync import CreateMode, EventType, Get, SessionState
from kraal.testing import Server


def test_operations_answer_as_the_asyncio_client_does(zk: sync.Client) -> None:
    assert zk.create("/a", b"1") == "/a"
    data, stat = zk.get("/a")
    assert (data, stat.version) == (b"1", 0)
    assert zk.set("/a", b"2", version=0).version == 1
    with pytest.raises(sync.BadVersionError):
        zk.set("/a", b"3", version=0)
    assert zk.create("/a/s-", mode=CreateMode.PERSISTENT_SEQUENTIAL) == "/a/s-0000000000"
    assert zk.get_children("/a") == ["s-0000000000"]
    with zk.transaction() as t:
        t.check("/a", 1).set("/a", b"4")
    assert zk.multi_read([Get("/a")])[0][0] == b"4"  # type: ignore[index]
    with pytest.raises(sync.TransactionError), zk.transaction() as t:
        t.delete("/missing")
    assert zk.state is SessionState.CONNECTED
    assert zk.retrying().exists("/missing") is None


def test_a_block_that_raises_sends_no_transaction(zk: sync.Client) -> None:
    with pytest.raises(ZeroDivisionError), zk.transaction() as t:
        t.create("/never")
        raise ZeroDivisionError
    assert zk.exists("/never") is None


def test_callbacks_may_use_the_client(zk: sync.Client) -> None:
    zk.create("/a", b"1")
    seen: SimpleQueue[bytes] = SimpleQueue()
    zk.get("/a", watch=lambda event: seen.put(zk.get(event.path).data))
    zk.set("/a", b"2")
    assert seen.get(timeout=10) == b"2"


def test_a_callback_that_fails_harms_nobody(zk: sync.Client) -> None:
    zk.create("/a", b"1")
    seen: SimpleQueue[EventType] = SimpleQueue()

    def fail(_: object) -> None:
        raise RuntimeError("on purpose")

    zk.exists("/a", watch=fail)
    zk.get("/a", watch=lambda event: seen.put(event.type))
    zk.set("/a", b"2")
    assert seen.get(timeout=10) is EventType.CHANGED


def test_states_are_told_and_iterated(server: Server) -> None:
    told: SimpleQueue[SessionState] = SimpleQueue()
    with sync.connect(server.hosts) as zk:
        unsubscribe = zk.on_state(told.put)
        states = zk.states()
        assert next(states) is SessionState.CONNECTED
    assert told.get(timeout=10) is SessionState.CLOSED
    assert callable(unsubscribe)


def test_a_stream_of_events_is_iterated(zk: sync.Client) -> None:
    with zk.watch("/", recursive=True) as events:
        zk.create("/a")
        zk.delete("/a")
        kinds = [(event.type, event.path) for _, event in zip(range(2), events, strict=False)]
    assert kinds == [(EventType.CREATED, "/a"), (EventType.DELETED, "/a")]


def test_a_timeout_cancels_the_call_that_waits_and_no_other(zk: sync.Client) -> None:
    with zk.watch("/") as events:
        with pytest.raises(TimeoutError), sync.timeout(0.05):
            next(events)
        zk.create("/a")
        assert next(events).type is EventType.CHILDREN
    with sync.timeout(10):
        assert zk.exists("/a")


def test_the_shorter_of_two_timeouts_counts(zk: sync.Client) -> None:
    with (
        zk.watch("/") as events,
        pytest.raises(TimeoutError),
        sync.timeout(0.05),
        sync.timeout(100),
    ):
        next(events)


def test_a_timeout_says_of_a_write_that_it_may_take_effect(server: Server) -> None:
    with sync.connect(server.hosts, session_timeout=30) as zk:
        server.pause()
        try:
            with pytest.raises(TimeoutError) as written, sync.timeout(0.1):
                zk.create("/left")
            with pytest.raises(TimeoutError) as read, sync.timeout(0.1):
                zk.get("/")
        finally:
            server.resume()
        assert str(written.value) == "the time is over; create /left was sent and may take effect"
        assert str(read.value) == "the time is over"
        zk.sync()
        assert zk.exists("/left")


def test_an_interrupted_write_says_that_it_may_take_effect(server: Server) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with sync.connect(server.hosts, session_timeout=30) as zk:
            server.pause()
            strike = threading.Timer(
                0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1)
            )
            strike.start()
            with pytest.raises(KeyboardInterrupt) as interrupted:
                zk.create("/left")
            server.resume()
            assert zk.exists("/left")
    finally:
        server.resume()
        signal.signal(signal.SIGUSR1, before)
    assert interrupted.value.__notes__ == ["create /left was sent and may take effect"]


def test_many_threads_share_a_client(zk: sync.Client) -> None:
    zk.create("/a")

    def work(number: int) -> str:
        return zk.create(f"/a/{number}", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(work, range(200)))
    assert sorted(zk.get_children("/a")) == sorted(path[3:] for path in paths)


def test_its_threads_end_with_it(server: Server) -> None:
    before = set(threading.enumerate())
    with sync.connect(server.hosts) as zk:
        zk.create("/a")
        zk.exists("/a", watch=lambda _: None)
        zk.set("/a", b"")
        assert set(threading.enumerate()) - before
    zk.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before


def test_what_is_closed_says_so(server: Server) -> None:
    with sync.connect(server.hosts) as zk:
        pass
    with pytest.raises(sync.ClosedError):
        zk.get("/")
    assert zk.state is SessionState.CLOSED


def test_a_server_that_is_not_there_can_be_given_up() -> None:
    zk = sync.connect("127.0.0.1:1")
    before = threading.active_count()
    with pytest.raises(TimeoutError), sync.timeout(0.1):
        zk.start()
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_process_is_told_that_the_session_is_not_its_own(zk: sync.Client) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            zk.get("/")
        except sync.ForkedError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert zk.exists("/")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_process_leaves_its_parents_blocks_in_silence(server: Server) -> None:
    parent, child = os.getpid(), 0
    try:
        with sync.connect(server.hosts) as zk:
            zk.create("/forked", mode=CreateMode.EPHEMERAL)
            with zk.watch("/forked"):
                child = os.fork()
                if child == 0:
                    raise ZeroDivisionError
            assert os.waitpid(child, 0)[1] == 0
            assert zk.exists("/forked")
    except BaseException as error:
        if os.getpid() != parent:
            zk.close()
            os._exit(0 if isinstance(error, ZeroDivisionError) else 1)
        raise


def test_a_client_that_was_closed_unstarted_stays_closed() -> None:
    zk = sync.connect("127.0.0.1:1")
    zk.close()
    with pytest.raises(sync.ClosedError):
        zk.start()


def test_what_cannot_be_called_back_is_refused_at_the_call(zk: sync.Client) -> None:
    async def later(_: object) -> None:
        raise AssertionError("never called")

    with pytest.raises(TypeError, match="callback"):
        zk.get("/", watch=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="plain function"):
        zk.add_watch("/", later)  # type: ignore[arg-type]


def test_packages_are_loaded_when_they_are_used() -> None:
    program = (
        "import sys, kraal; assert 'kraal.client' not in sys.modules;"
        "kraal.sync.connect; kraal.sync.recipes.Lock; kraal.recipes.Lock; kraal.client.Client"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    program = "from kraal import sync; sync.recipes.Lock; assert not hasattr(sync, 'nothing')"
    subprocess.run([sys.executable, "-c", program], check=True)


# What can still be read when the client is closed


def test_states_end_with_closed(server: Server) -> None:
    seen: dict[str, list[SessionState]] = {"waiting": [], "busy": []}
    has_begun, goes_on = threading.Barrier(3), threading.Event()
    zk = sync.connect(server.hosts)

    def read(name: str) -> None:
        for state in zk.states():
            seen[name].append(state)
            if state is SessionState.CONNECTED:
                has_begun.wait(10)
                if name == "busy":
                    assert goes_on.wait(10)

    with ThreadPoolExecutor(2) as pool, zk:
        reading = [pool.submit(read, name) for name in seen]
        has_begun.wait(10)
        zk.close()
        goes_on.set()
        for each in reading:
            each.result(10)
    connected_and_closed = [SessionState.CONNECTED, SessionState.CLOSED]
    assert seen == {"waiting": connected_and_closed, "busy": connected_and_closed}
    assert list(zk.states()) == [SessionState.CLOSED]


def test_states_of_a_client_that_was_never_started() -> None:
    zk = sync.connect("127.0.0.1:1")
    assert next(zk.states()) is SessionState.CONNECTING
    zk.close()
    assert list(zk.states()) == [SessionState.CLOSED]


def test_events_end_when_the_client_is_closed(server: Server) -> None:
    seen: dict[str, list[EventType]] = {"waiting": [], "busy": []}
    has_begun, goes_on = threading.Barrier(3), threading.Event()
    zk = sync.connect(server.hosts)

    def read(name: str) -> None:
        with zk.watch("/a") as events:
            has_begun.wait(10)
            if name == "busy":
                assert goes_on.wait(10)
            seen[name] = [event.type for event in events]

    with ThreadPoolExecutor(2) as pool, zk:
        reading = [pool.submit(read, name) for name in seen]
        has_begun.wait(10)
        zk.create("/a")
        zk.close()
        goes_on.set()
        for each in reading:
            each.result(10)
    assert seen == {"waiting": [EventType.CREATED], "busy": [EventType.CREATED]}


def test_a_client_is_not_copied(zk: sync.Client) -> None:
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="Client cannot be copied or pickled"):
            make(zk)
