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
    ConsistentHash,
    Edition,
    ItemInDoubtError,
    KeyChange,
    LeastUsed,
    LimitMismatchError,
    LostError,
    NoInstanceError,
    NotHeldError,
    NotRunningError,
    Participant,
    PastEdition,
    Pick,
    RandomPick,
    RecipeError,
    RoundRobin,
    ServiceInstance,
    Term,
    Usage,
    Versioned,
    Weighted,
)
from kraal.sync.recipes.barrier import Barrier, DoubleBarrier
from kraal.sync.recipes.cache import ChildrenCache, NodeCache, TreeCache
from kraal.sync.recipes.configuration import Config
from kraal.sync.recipes.counter import Counter, SharedValue
from kraal.sync.recipes.delay_queue import DelayQueue
from kraal.sync.recipes.discovery import Registration, ServiceProvider, ServiceRegistry
from kraal.sync.recipes.election import LeaderElection
from kraal.sync.recipes.following import follow, follow_children
from kraal.sync.recipes.held import Held, Holding, ManyHeld
from kraal.sync.recipes.key_value import KeyValue
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
from kraal.sync.recipes.unique_ids import BlockIds, SequenceIds

__all__ = [
    "AcquireCancelledError",
    "AcquireTimeoutError",
    "Allocation",
    "AlreadyHeldError",
    "Barrier",
    "BlockIds",
    "Change",
    "ChangeKind",
    "ChildrenCache",
    "Config",
    "ConsistentHash",
    "Counter",
    "DelayQueue",
    "DoubleBarrier",
    "Edition",
    "GroupMember",
    "Held",
    "Holding",
    "Item",
    "ItemInDoubtError",
    "KeyChange",
    "KeyValue",
    "LeaderElection",
    "LeaderLatch",
    "Lease",
    "LeaseHeld",
    "LeastUsed",
    "LimitMismatchError",
    "Lock",
    "LockingQueue",
    "LostError",
    "ManyHeld",
    "MultiLease",
    "MultiLock",
    "NoInstanceError",
    "NodeCache",
    "NotHeldError",
    "NotRunningError",
    "Participant",
    "Partitioner",
    "Party",
    "PastEdition",
    "PersistentNode",
    "Pick",
    "PriorityQueue",
    "Queue",
    "QueueLock",
    "RandomPick",
    "ReadWriteLock",
    "RecipeError",
    "Registration",
    "RoundRobin",
    "Semaphore",
    "SequenceIds",
    "ServiceInstance",
    "ServiceProvider",
    "ServiceRegistry",
    "SharedValue",
    "Term",
    "TreeCache",
    "Usage",
    "Versioned",
    "Weighted",
    "follow",
    "follow_children",
]
