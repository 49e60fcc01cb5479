"""The recipes for threads: the asyncio API without `await`.

    with kraal.sync.connect("127.0.0.1:2181") as zk:
        with Lock(zk, "/locks/a") as held:
            ...

Promises and errors are those of `kraal.recipes`; what it promises to a task holds for a
thread. `kraal.sync.timeout` limits how long calls may wait.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from kraal.recipes import (
    AcquireCancelledError,
    AcquireTimeoutError,
    Allocation,
    AlreadyHeldError,
    Change,
    ChangeKind,
    ItemInDoubtError,
    LimitMismatchError,
    LostError,
    NotHeldError,
    Participant,
    RecipeError,
    Term,
    Versioned,
)
from kraal.sync.recipes.barrier import Barrier, DoubleBarrier
from kraal.sync.recipes.cache import ChildrenCache, NodeCache, TreeCache
from kraal.sync.recipes.counter import Counter, SharedValue
from kraal.sync.recipes.delay_queue import DelayQueue
from kraal.sync.recipes.election import LeaderElection
from kraal.sync.recipes.following import follow, follow_children
from kraal.sync.recipes.held import Held, Holding, ManyHeld
from kraal.sync.recipes.latch import LeaderLatch
from kraal.sync.recipes.lease import Lease, LeaseHeld, MultiLease
from kraal.sync.recipes.lock import Lock, QueueLock
from kraal.sync.recipes.locking_queue import Item, LockingQueue
from kraal.sync.recipes.multi_lock import MultiLock
from kraal.sync.recipes.partitioner import Partitioner
from kraal.sync.recipes.party import GroupMember, Party
from kraal.sync.recipes.persistent_node import PersistentNode
from kraal.sync.recipes.queues import PriorityQueue, Queue
from kraal.sync.recipes.read_write_lock import ReadWriteLock
from kraal.sync.recipes.semaphore import Semaphore

__all__ = [
    "AcquireCancelledError",
    "AcquireTimeoutError",
    "Allocation",
    "AlreadyHeldError",
    "Barrier",
    "Change",
    "ChangeKind",
    "ChildrenCache",
    "Counter",
    "DelayQueue",
    "DoubleBarrier",
    "GroupMember",
    "Held",
    "Holding",
    "Item",
    "ItemInDoubtError",
    "LeaderElection",
    "LeaderLatch",
    "Lease",
    "LeaseHeld",
    "LimitMismatchError",
    "Lock",
    "LockingQueue",
    "LostError",
    "ManyHeld",
    "MultiLease",
    "MultiLock",
    "NodeCache",
    "NotHeldError",
    "Participant",
    "Partitioner",
    "Party",
    "PersistentNode",
    "PriorityQueue",
    "Queue",
    "QueueLock",
    "ReadWriteLock",
    "RecipeError",
    "Semaphore",
    "SharedValue",
    "Term",
    "TreeCache",
    "Versioned",
    "follow",
    "follow_children",
]
