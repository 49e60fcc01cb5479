"""The replicated state machine: znodes, sessions, ephemerals, the running digest.

What changes it is in `kraal.tree.apply`; this module holds the state and the few steps that
keep its parts in agreement. The index maps full paths to znodes; the root has two keys, ``/``
and the empty path, as in the reference. The index keeps insertion order, and a parent is
always inserted before its children: snapshots rely on that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import IntEnum

from kraal.model.create_mode import (
    CONTAINER_OWNER,
    is_extended_owner,
    owner_ttl_ms,
)
from kraal.model.path import CONFIG, LIMITS_NAME, QUOTA, ROOT, STATS_NAME, SYSTEM
from kraal.tree import digest, quota
from kraal.tree.acl_cache import AclCache, AclList
from kraal.tree.stat_rules import with_data_length
from kraal.tree.znode import (
    EMPTY_STAT,
    NO_OWNER,
    OWNER,
    UNKNOWN_DIGEST,
    ReapedZnode,
    Znode,
    created_children,
    wire_cversion,
)
from kraal.wire.records.data import STAT, Stat

CHILDREN_REPLIES_MAX = 400
"""Cached child lists, as `maxGetChildrenResponseCacheSize`."""
DIGEST_INTERVAL_ZXIDS = 128
DIGESTS_KEPT = 1024
_QUOTA_PREFIX = QUOTA + ROOT


class EventType(IntEnum):
    """Types of watch events (reference/client-protocol.md section 8.1)."""

    NODE_CREATED = 1
    NODE_DELETED = 2
    NODE_DATA_CHANGED = 3
    NODE_CHILDREN_CHANGED = 4


_NODE_CREATED = EventType.NODE_CREATED
_NODE_DELETED = EventType.NODE_DELETED
_NODE_DATA_CHANGED = EventType.NODE_DATA_CHANGED

Event = tuple[EventType, bytes, AclList, AclList | None]
"""A change that watches may be waiting for: type, path, and the ACLs of the znode and, when it
was created or deleted, of its parent."""


class DataTree:
    """All state that transactions change. Not thread-safe: one loop owns it."""

    def __init__(self, *, extended_types: bool = False, digests: bool = True) -> None:
        self.extended_types = extended_types
        self.digests = digests
        self.acls = AclCache()
        self.nodes: dict[bytes, Znode] = {}
        self.sessions: dict[int, int] = {}
        """Timeouts in ms by global session id."""
        self.ephemerals: dict[int, dict[bytes, None]] = {}
        self.containers: dict[bytes, None] = {}
        self.ttls: dict[bytes, int] = {}
        """TTLs in ms by path."""
        self.quotas = quota.QuotaIndex()
        self.last_zxid = 0
        self.is_mixture = False
        """Whether it came from a snapshot of a changing tree: digests on the way mean nothing
        before one agrees."""
        self.digest = 0
        self.data_bytes = 0
        """Paths and data, as `approximate_data_size`."""
        self.events: list[Event] = []
        """Changes of the transaction just applied; whoever applies takes them."""
        self.children_replies: dict[bytes, bytes] = {}
        self.digest_history: deque[tuple[int, int]] = deque(maxlen=DIGESTS_KEPT)

    @classmethod
    def pristine(cls, *, extended_types: bool = False, digests: bool = True) -> DataTree:
        """The tree of a fresh server (reference/storage-formats.md section 7.1)."""
        tree = cls(extended_types=extended_types, digests=digests)
        opened = tree.acls.open
        tree.load(b"", Znode(b"", opened, EMPTY_STAT))
        tree.load(SYSTEM, Znode(b"", opened, EMPTY_STAT))
        config_stat = STAT.pack(0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0)
        tree.load(CONFIG, Znode(b"", tree.acls.read_only, config_stat))
        tree.load(QUOTA, Znode(b"", opened, EMPTY_STAT))
        tree.loaded()
        return tree

    def load(self, path: bytes, node: Znode) -> None:
        """Insert a znode as it stands in a snapshot; `loaded` must follow the last one.

        Raises KeyError when the parent is not there.
        """
        if path:
            parent = self.nodes[path[: path.rindex(b"/")]]
            if parent.children is None:
                parent.children = {}
            parent.children[path] = None
            self.nodes[path] = node
        else:
            self.nodes[b""] = self.nodes[ROOT] = node
        owner = node.stored_owner()
        if owner:
            self.index_owner(path, owner)
        self.data_bytes += len(path) + len(node.data or b"")

    def loaded(self) -> None:
        """Complete what depends on all znodes: child counts, quotas, the digest."""
        for node in self.nodes.values():
            if node.children:
                stat = Stat.unpack(node.stat)
                if not stat.num_children:  # the root has two keys
                    count = len(node.children)
                    created = created_children(stat.cversion, 0)
                    cversion = wire_cversion(created, count)
                    node.stat = STAT.pack(*stat._replace(cversion=cversion, num_children=count))
        self.digest = self.compute_digest()
        below_quota = list(self.walk(QUOTA))
        for path in below_quota:
            if path.endswith(LIMITS_NAME):
                self.quotas.add(path[len(QUOTA) : -len(LIMITS_NAME)])
        for path in below_quota:
            if path.endswith(STATS_NAME):
                self.recount_usage(path[len(QUOTA) : -len(STATS_NAME)])

    def compute_digest(self) -> int:
        """The digest of the whole tree, from scratch."""
        if not self.digests:
            return 0
        term, stamp_of = digest.term, digest.stamp_of
        return sum(
            term(path, node.data, stamp_of(node.stat, node.stored_owner()))
            for path, node in self.nodes.items()
            if path != ROOT
        )

    def node_digest(self, path: bytes, node: Znode) -> int:
        """The node's term, cached until its stat or data change."""
        if node.digest == UNKNOWN_DIGEST:
            stamp = digest.stamp_of(node.stat, node.stored_owner())
            node.digest = digest.term(path, node.data, stamp)
        return node.digest

    def index_owner(self, path: bytes, owner: int) -> None:
        """Enter an owned znode into the index of its kind."""
        if owner == CONTAINER_OWNER:
            self.containers[path] = None
        elif self.extended_types and is_extended_owner(owner):
            self.ttls[path] = owner_ttl_ms(owner)
        else:
            self.ephemerals.setdefault(owner, {})[path] = None

    def unindex_owner(self, path: bytes, owner: int) -> None:
        if owner == CONTAINER_OWNER:
            self.containers.pop(path, None)
        elif self.extended_types and is_extended_owner(owner):
            self.ttls.pop(path, None)
        else:
            owned = self.ephemerals.get(owner)
            if owned is not None:
                owned.pop(path, None)
                if not owned:
                    del self.ephemerals[owner]

    def advance(self, zxid: int, digest_: int) -> None:
        """A transaction was applied; it left the tree with this digest."""
        self.last_zxid = zxid
        self.digest = digest_
        if not zxid % DIGEST_INTERVAL_ZXIDS:
            self.digest_history.append((zxid, digest_))

    def attach(self, path: bytes, node: Znode, parent_path: bytes, parent: Znode) -> None:
        """Enter a created znode; stats and digest are the caller's."""
        if parent.children is None:
            parent.children = {}
        parent.children[path] = None
        self.nodes[path] = node
        if type(node) is not Znode or node.stat[OWNER] != NO_OWNER:
            self.index_owner(path, node.stored_owner())
        size = len(node.data) if node.data else 0
        self.data_bytes += len(path) + size
        self.children_replies.pop(parent_path, None)
        if path >= _QUOTA_PREFIX and path.startswith(_QUOTA_PREFIX):
            self._quota_created(path)
        if self.quotas.paths:
            self.charge(path, 1, size)
        self.events.append((_NODE_CREATED, path, node.acl, parent.acl))

    def detach(self, path: bytes, node: Znode, parent_path: bytes, parent: Znode) -> None:
        """Remove a deleted znode; stats and digest are the caller's."""
        self.nodes.pop(path, None)
        if parent.children is not None:
            parent.children.pop(path, None)
        self.children_replies.pop(parent_path, None)
        self.children_replies.pop(path, None)
        owner = node.stored_owner()
        if owner:
            self.unindex_owner(path, owner)
        size = len(node.data) if node.data else 0
        self.data_bytes -= len(path) + size
        if path >= _QUOTA_PREFIX and path.startswith(_QUOTA_PREFIX) and path.endswith(LIMITS_NAME):
            self.quotas.discard(path[len(QUOTA) : -len(LIMITS_NAME)])
        if self.quotas.paths:
            self.charge(path, -1, -size)
        self.events.append((_NODE_DELETED, path, node.acl, parent.acl))

    def data_changed(self, path: bytes, node: Znode, growth: int) -> None:
        """Account for new data that is `growth` bytes longer than the old."""
        self.data_bytes += growth
        if self.quotas.paths:
            self.charge(path, 0, growth)
        self.events.append((_NODE_DATA_CHANGED, path, node.acl, None))

    def _quota_created(self, path: bytes) -> None:
        if path.endswith(LIMITS_NAME):
            self.quotas.add(path[len(QUOTA) : -len(LIMITS_NAME)])
        elif path.endswith(STATS_NAME):
            self.recount_usage(path[len(QUOTA) : -len(STATS_NAME)])

    def make_node(self, data: bytes | None, acl: AclList, stat: bytes, owner: int) -> Znode:
        """A znode of the kind that its stored owner says."""
        if owner == CONTAINER_OWNER or (self.extended_types and is_extended_owner(owner)):
            return ReapedZnode(data, acl, stat, owner)
        return Znode(data, acl, stat)

    def charge(self, path: bytes, count: int, size: int) -> None:
        """Adjust the usage of the quota that covers a path."""
        covering = self.quotas.covering(path)
        if covering is not None:
            stats = self.nodes.get(quota.stats_path(covering))
            if stats is not None:
                self._set_usage(stats, quota.add_usage(stats.data, count, size))

    def recount_usage(self, path: bytes) -> None:
        """Compute the usage text of a quota from the tree."""
        stats = self.nodes.get(quota.stats_path(path))
        if stats is None:
            return
        count = size = 0
        for member in self.walk(path):
            count += 1
            size += len(self.nodes[member].data or b"")
        self._set_usage(stats, quota.show({"count": count, "bytes": size}))

    def _set_usage(self, stats: Znode, text: bytes) -> None:
        # Not a transaction: only data and its length change, and the digest skips the znode.
        stats.data = text
        stats.stat = with_data_length(stats.stat, len(text))

    def set_config(self, text: bytes, version: int, wall_ms: int) -> None:
        """Show the ensemble's configuration; no transaction, and no part of the digest."""
        node = self.nodes[CONFIG]
        stat = Stat.unpack(node.stat)
        self.data_bytes += len(text) - len(node.data or b"")
        node.data = text
        node.stat = STAT.pack(
            *stat._replace(mzxid=version, mtime=wall_ms, version=-1, data_length=len(text))
        )

    def walk(self, path: bytes) -> Iterator[bytes]:
        """The path, if it exists, and everything below it; parents come first."""
        left = [path] if path in self.nodes else []
        while left:
            path = left.pop()
            yield path
            left.extend(self.nodes[path].children or ())

    def descendants(self, path: bytes) -> int:
        """How many znodes lie below a path that exists; the root's second key counts too."""
        if path in (b"", ROOT):
            return len(self.nodes) - (2 if path else 1)
        return sum(1 for _ in self.walk(path)) - 1

    def children_reply(self, path: bytes, node: Znode) -> bytes:
        """The encoded vector of child names, kept until the children change."""
        key = b"" if path == ROOT else path
        found = self.children_replies.get(key)
        if found is None:
            children = node.children or ()
            cut = len(key) + 1
            parts = [len(children).to_bytes(4, "big")]
            for child in children:
                parts += ((len(child) - cut).to_bytes(4, "big"), child[cut:])
            found = b"".join(parts)
            if len(self.children_replies) >= CHILDREN_REPLIES_MAX:
                self.children_replies.pop(next(iter(self.children_replies)))
            self.children_replies[key] = found
        return found
