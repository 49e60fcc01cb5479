"""Recipes: what applications build from znodes, sessions and watches.

    async with kraal.connect("127.0.0.1:2181") as zk:
        async with Lock(zk, "/locks/a") as held:
            ...

Each takes a client and a path, uses the client's public names only, and leaves neither znodes nor
watches behind when a wait is cancelled.
"""

from kraal.recipes.barrier import Barrier, DoubleBarrier
from kraal.recipes.cache import Change, ChangeKind, ChildrenCache, NodeCache, TreeCache
from kraal.recipes.counter import Counter, SharedValue, Versioned
from kraal.recipes.delay_queue import DelayQueue
from kraal.recipes.election import LeaderElection
from kraal.recipes.errors import (
    AcquireCancelledError,
    AcquireTimeoutError,
    AlreadyHeldError,
    LimitMismatchError,
    LostError,
    NotHeldError,
    RecipeError,
)
from kraal.recipes.following import follow, follow_children
from kraal.recipes.held import Held, Holding, ManyHeld
from kraal.recipes.latch import LeaderLatch, Participant
from kraal.recipes.lease import Lease, LeaseHeld, MultiLease, Term
from kraal.recipes.lock import Lock, QueueLock
from kraal.recipes.locking_queue import Item, LockingQueue
from kraal.recipes.multi_lock import MultiLock
from kraal.recipes.partitioner import Allocation, Partitioner
from kraal.recipes.party import GroupMember, Party
from kraal.recipes.persistent_node import PersistentNode
from kraal.recipes.queues import ItemInDoubtError, PriorityQueue, Queue
from kraal.recipes.read_write_lock import ReadWriteLock
from kraal.recipes.semaphore import Semaphore

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
