"""Recipes for threads: what they promise to a task holds for a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kraal import sync
from kraal.sync import recipes as sync_recipes
from kraal.sync.recipes import (
    AcquireTimeoutError,
    AlreadyHeldError,
    Held,
    LeaderElection,
    LeaderLatch,
    Lock,
    LockingQueue,
    MultiLock,
    NotHeldError,
    ReadWriteLock,
    follow,
)
from kraal.testing import Server


@pytest.fixture
def other(server: Server) -> Iterator[sync.Client]:
    with sync.connect(server.hosts) as client:
        yield client


def test_a_lock_is_a_thread_s_and_no_other_s(zk: sync.Client) -> None:
    lock = Lock(zk, "/locks/a")
    with lock as held:
        assert held.is_sure
        with pytest.raises(AlreadyHeldError):
            lock.acquire()
        with ThreadPoolExecutor(1) as pool:
            with pytest.raises(NotHeldError, match="the caller does not hold"):
                pool.submit(lock.release).result(10)
            assert pool.submit(lock.acquire, blocking=False).result(10) is None
    assert held.is_released
    assert zk.get_children("/locks/a") == []


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_holds_nothing(zk: sync.Client) -> None:
    with Lock(zk, "/locks/a") as held, LeaderLatch(zk, "/latch") as latch:
        latch.wait_leading()
        child = os.fork()
        if not child:
            code = 1
            try:
                assert not held.is_sure
                assert held.lost.is_set()
                assert not latch.is_leading
                assert zk.state is sync.SessionState.CLOSED
                with pytest.raises(sync.ForkedError):
                    held.check()
                with pytest.raises(NotHeldError):
                    print(latch.token)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        held.check()
        assert latch.is_leading


def test_threads_exclude_each_other(zk: sync.Client, other: sync.Client) -> None:
    inside = 0
    tokens: list[int] = []

    def work(client: sync.Client) -> None:
        nonlocal inside
        lock = Lock(client, "/locks/a")
        for _ in range(20):
            with lock as held:
                inside += 1
                assert inside == 1
                tokens.append(held.token)
                inside -= 1

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, client) for client in (zk, other, zk, other)]:
            done.result(60)
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 80


def test_a_wait_that_is_cut_short_leaves_nothing(zk: sync.Client, other: sync.Client) -> None:
    with Lock(other, "/locks/a"):
        with pytest.raises(TimeoutError), sync.timeout(0.1):
            Lock(zk, "/locks/a").acquire()
        with pytest.raises(AcquireTimeoutError):
            Lock(zk, "/locks/a").acquire(timeout=0.1)
        before = set(zk.get_children("/locks/a"))
    assert zk.get_children("/locks/a") == []
    assert len(before) <= 2  # the holder's


def test_reentrant_read_and_write_locks_and_many_at_once(zk: sync.Client) -> None:
    lock = Lock(zk, "/locks/r", reentrant=True)
    with lock, lock as held:
        assert held.depth == 2
    both = ReadWriteLock(zk, "/locks/rw")
    with both.write as writer:
        both.downgrade(writer)
    with MultiLock([Lock(zk, "/locks/x"), Lock(zk, "/locks/y")]) as held_all:
        assert held_all.is_sure


def test_who_loses_the_session_is_told(server: Server, zk: sync.Client) -> None:
    with Lock(zk, "/locks/a") as held:
        told = threading.Event()
        held.on_loss(told.set)
        server.expire(zk.session_id)
        assert held.lost.wait(20)
        assert told.wait(10)
        with pytest.raises(sync_recipes.LostError):
            held.check()


def test_a_leader_leads_in_a_thread_of_its_own(zk: sync.Client, other: sync.Client) -> None:
    led: list[int] = []

    def lead(leadership: Held) -> str:
        leadership.check()
        assert zk.exists(leadership.path)
        led.append(leadership.token)
        return threading.current_thread().name

    def stand(client: sync.Client) -> str:
        return LeaderElection(client, "/election").run(lead)

    with ThreadPoolExecutor(2) as pool:
        names = [done.result(20) for done in [pool.submit(stand, zk), pool.submit(stand, other)]]
    assert all(name.startswith("kraal-work") for name in names)
    assert led == sorted(led)
    assert len(led) == 2


def test_a_leader_that_fails_says_so_to_who_stood(zk: sync.Client) -> None:
    def lead(_: Held) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        LeaderElection(zk, "/election").run(lead)
    assert zk.get_children("/election") == []


def test_an_item_whose_block_fails_is_taken_again(zk: sync.Client) -> None:
    queue = LockingQueue(zk, "/queue")
    queue.put(b"work")
    with pytest.raises(ZeroDivisionError), queue.item():
        raise ZeroDivisionError
    with queue.item() as item:
        assert item.data == b"work"
    assert queue.size() == 0


def test_a_znode_is_followed_until_the_loop_is_left(zk: sync.Client) -> None:
    seen: list[bytes | None] = []
    for node in follow(zk, "/a"):
        seen.append(None if node is None else node.data)
        if node is None:
            zk.create("/a", b"1")
        else:
            break
    assert seen == [None, b"1"]
