"""What applications do with the client and its recipes in simulated ensembles, by name."""

from collections.abc import Mapping

from kraal.sim.scenarios.barriers import Barriers, DoubleBarriers
from kraal.sim.scenarios.caches import Caches
from kraal.sim.scenarios.counters import Counters, SharedValues
from kraal.sim.scenarios.holders import (
    Candidates,
    Latches,
    LockHolders,
    MultiLockHolders,
    ReadersAndWriters,
    SemaphoreHolders,
)
from kraal.sim.scenarios.lease import Leases
from kraal.sim.scenarios.parties import Groups, Parties, Services
from kraal.sim.scenarios.partitions import Partitions
from kraal.sim.scenarios.queues import DelayQueues, LockingQueues, PriorityQueues, Queues
from kraal.sim.scenarios.unique_ids import UniqueIds
from kraal.sim.scenarios.values import Configurations, KeyValues
from kraal.sim.scenarios.watches import Watches
from kraal.sim.scenarios.writes import Writes
from kraal.sim.trial import Scenario

SCENARIOS: Mapping[str, type[Scenario]] = {
    "writes": Writes,
    "watches": Watches,
    "lock": LockHolders,
    "read-write-lock": ReadersAndWriters,
    "semaphore": SemaphoreHolders,
    "multi-lock": MultiLockHolders,
    "lease": Leases,
    "election": Candidates,
    "latch": Latches,
    "queue": Queues,
    "priority-queue": PriorityQueues,
    "delay-queue": DelayQueues,
    "locking-queue": LockingQueues,
    "barrier": Barriers,
    "double-barrier": DoubleBarriers,
    "party": Parties,
    "group": Groups,
    "discovery": Services,
    "partitioner": Partitions,
    "cache": Caches,
    "counter": Counters,
    "shared-value": SharedValues,
    "key-value": KeyValues,
    "configuration": Configurations,
    "unique-ids": UniqueIds,
}
