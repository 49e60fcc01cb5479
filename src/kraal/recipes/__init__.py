"""Recipes: what applications build from znodes, sessions and watches.

    async with kraal.connect("127.0.0.1:2181") as zk:
        async with Lock(zk, "/locks/a") as held:
            ...

Each takes a client and a path, uses the client's public names only, and leaves neither znodes nor
watches behind when a wait is cancelled.
"""

from kraal.recipes.barrier import Barrier, DoubleBarrier
from kraal.recipes.cache import Change, ChangeKind, ChildrenCache, NodeCache, TreeCache
from kraal.recipes.configuration import Config, Edition, PastEdition
from kraal.recipes.counter import Counter, SharedValue, Versioned
from kraal.recipes.delay_queue import DelayQueue
from kraal.recipes.discovery import (
    NoInstanceError,
    Registration,
    ServiceInstance,
    ServiceProvider,
    ServiceRegistry,
)
from kraal.recipes.election import LeaderElection
from kraal.recipes.errors import (
    AcquireCancelledError,
    AcquireTimeoutError,
    AlreadyHeldError,
    LimitMismatchError,
    LostError,
    NotHeldError,
    NotRunningError,
    RecipeError,
)
from kraal.recipes.following import follow, follow_children
from kraal.recipes.held import Held, Holding, ManyHeld
from kraal.recipes.key_value import KeyChange, KeyValue
from kraal.recipes.latch import LeaderLatch, Participant
from kraal.recipes.lease import Lease, LeaseHeld, MultiLease, Term
from kraal.recipes.lock import Lock, QueueLock
from kraal.recipes.locking_queue import Item, LockingQueue
from kraal.recipes.multi_lock import MultiLock
from kraal.recipes.partitioner import Allocation, Partitioner
from kraal.recipes.party import GroupMember, Party
from kraal.recipes.persistent_node import PersistentNode
from kraal.recipes.picks import (
    ConsistentHash,
    LeastUsed,
    Pick,
    RandomPick,
    RoundRobin,
    Usage,
    Weighted,
)
from kraal.recipes.queues import ItemInDoubtError, PriorityQueue, Queue
from kraal.recipes.read_write_lock import ReadWriteLock
from kraal.recipes.semaphore import Semaphore
from kraal.recipes.unique_ids import BlockIds, SequenceIds

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
