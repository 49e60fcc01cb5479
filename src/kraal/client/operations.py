"""The operations on znodes, whatever carries the requests: a client, or a view that retries.

Every operation is one request unless its description says otherwise, and is sent at most once.
Errors that any of them can raise: ConnectionLossError, RequestTimeoutError, SessionExpiredError,
AuthFailedError, NotReadOnlyError (writes), ClosedError, ForkedError, ForeignLoopError,
ThrottledError, BadArgumentsError for a path that cannot be one. A CancelledError has a note if a
write was sent that may still take effect.
"""

from __future__ import annotations

import asyncio
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

from kraal.client import codec, multi
from kraal.client.arguments import ttl_ms, version_error
from kraal.client.codec import Decoder
from kraal.client.errors import (
    BadArgumentsError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    ZooKeeperError,
    error_for,
)
from kraal.client.values import AclNode, Children, Created, Get, GetChildren, Node, WatchCallback
from kraal.client.watches import Registration, Table
from kraal.model import path as paths
from kraal.model.acl import Acl, Id
from kraal.model.create_mode import SEQUENTIAL_MODES, TTL_MODES, CreateMode
from kraal.wire.opcodes import OpCode
from kraal.wire.records.data import Stat
from kraal.wire.records.proto import (
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    PathRequest,
    PathWatchRequest,
    ReconfigRequest,
    SetAclRequest,
    SetDataRequest,
)

T = TypeVar("T")

DELETE_ATTEMPTS = 10
"""How often a subtree that others keep filling is tried to be deleted."""
CONFIG = "/zookeeper/config"


class Operations(ABC):
    """Operations by name; paths are below the client's chroot."""

    _chroot: bytes
    """What the server's paths have in front of ours; empty: nothing."""
    _default_acl: bytes

    @abstractmethod
    def _submit(
        self,
        op: OpCode,
        body: bytes,
        decode: Decoder[T],
        path: str | None,
        watch: Registration | None = None,
    ) -> Awaitable[T]:
        """Send a request that changes nothing and return its answer."""

    @abstractmethod
    def _write(self, op: OpCode, body: bytes, decode: Decoder[T], path: str | None) -> Awaitable[T]:
        """Send a request that changes something and return its answer.

        A CancelledError that leaves in doubt whether it takes effect has a note that says so.
        """

    @abstractmethod
    def _withdraw(self, watch: Registration) -> None:
        """Forget a watch, here and on the server."""

    # Create and delete

    async def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
        make_parents: bool = False,
    ) -> str:
        """Create a znode and return its path, which has a suffix if `mode` is sequential.

        `acl` is the client's default if not given. `ttl`, in seconds, is for the modes with TTL
        and is rounded to milliseconds. With `make_parents` missing parents are created first, as
        persistent znodes with the same ACL.

        Raises NodeExistsError, NoNodeError (no parent), NoAuthError,
        NoChildrenForEphemeralsError, InvalidAclError, QuotaExceededError, UnimplementedError (TTL
        is switched off on the server).
        """
        op, body = self._creation(path, data, mode, acl, ttl)
        with_stat = op is not OpCode.CREATE
        decode = codec.decode_created_path if with_stat else codec.decode_path
        try:
            created = await self._write(op, body, decode, path)
        except NoNodeError:
            if not make_parents:
                raise
            await self.ensure_path(_parent(path), acl=acl)
            created = await self._write(op, body, decode, path)
        return self._shown(created)

    async def create_with_stat(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
        make_parents: bool = False,
    ) -> Created:
        """Create a znode and return its path and stat; otherwise as `create`."""
        op, body = self._creation(path, data, mode, acl, ttl, with_stat=True)
        try:
            created = await self._write(op, body, codec.decode_created, path)
        except NoNodeError:
            if not make_parents:
                raise
            await self.ensure_path(_parent(path), acl=acl)
            created = await self._write(op, body, codec.decode_created, path)
        return Created(self._shown(created.path), created.stat)

    async def delete(self, path: str, *, version: int = -1) -> None:
        """Delete a znode without children; `version` -1 means any.

        Raises NoNodeError, NotEmptyError, BadVersionError, NoAuthError.
        """
        try:
            body = DeleteRequest.pack(self._wire(path), version)
        except struct.error:
            raise version_error(version) from None
        await self._write(OpCode.DELETE, body, codec.decode_nothing, path)

    async def delete_recursive(self, path: str) -> None:
        """Delete a znode and all below it, with one request for each; a missing one is no error.

        With a chroot, `/` is the chroot itself, which goes as well (`ensure_path("/")` brings it
        back). This is not atomic. Raises NotEmptyError if others keep creating children,
        NoAuthError, and BadArgumentsError for what no server deletes, such as the real root.
        """
        if self._wire(path) in paths.UNDELETABLE:
            raise BadArgumentsError("no server deletes this", path=path)
        for attempt in range(DELETE_ATTEMPTS):
            found = await self._subtree(path)
            outcomes = await asyncio.gather(
                *(self.delete(each) for each in reversed(found)), return_exceptions=True
            )
            errors = [
                outcome
                for outcome in outcomes
                if isinstance(outcome, BaseException) and not isinstance(outcome, NoNodeError)
            ]
            if not errors:
                return
            serious = [error for error in errors if not isinstance(error, NotEmptyError)]
            if serious or attempt == DELETE_ATTEMPTS - 1:
                raise (serious or errors)[0]

    async def _subtree(self, path: str) -> list[str]:
        """A znode and all below it, parents first; nothing if it is missing."""
        found: list[str] = []
        level = [path]
        while level:
            answers = await asyncio.gather(
                *(self.get_children(each) for each in level), return_exceptions=True
            )
            below: list[str] = []
            for each, names in zip(level, answers, strict=True):
                if isinstance(names, NoNodeError):
                    continue
                if isinstance(names, BaseException):
                    raise names
                found.append(each)
                below += [_child(each, name) for name in names]
            level = below
        return found

    async def ensure_path(self, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        """Create a persistent znode and its parents, where they are missing.

        The chroot is one of the parents: `ensure_path("/")` creates it. Raises NoAuthError,
        NoChildrenForEphemeralsError.
        """
        whole = self._wire(path)
        missing = [whole, *paths.ancestors(whole)] if whole != b"/" else []
        present = await asyncio.gather(*(self._is_there(each) for each in missing))
        if True in present:
            missing = missing[: present.index(True)]
        encoded = self._default_acl if acl is None else codec.encode_acl(acl)
        outcomes = await asyncio.gather(
            *(
                self._write(
                    OpCode.CREATE,
                    CreateRequest.pack(each, b"", encoded, CreateMode.PERSISTENT),
                    codec.decode_path,
                    path,
                )
                for each in reversed(missing)
            ),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, NodeExistsError):
                raise outcome

    async def _is_there(self, wire_path: bytes) -> bool:
        body = PathWatchRequest.pack(wire_path, False)
        try:
            await self._submit(OpCode.EXISTS, body, codec.decode_stat, self._shown_bytes(wire_path))
        except NoNodeError:
            return False
        except NoAuthError:
            pass  # there, and not for our eyes
        return True

    # Read and write

    async def exists(self, path: str, *, watch: WatchCallback | None = None) -> Stat | None:
        """The stat of a znode, or None.

        `watch` is called once: when the znode is created, deleted or its data changes.
        """
        wire = self._wire(path)
        try:
            if watch is None:
                body = PathWatchRequest.pack(wire, False)
                return await self._submit(OpCode.EXISTS, body, codec.decode_stat, path)
            return await self._watched(
                OpCode.EXISTS, codec.decode_stat, path, Registration(Table.EXIST, wire, watch)
            )
        except NoNodeError:
            return None

    async def get(self, path: str, *, watch: WatchCallback | None = None) -> Node:
        """The data and stat of a znode.

        `watch` is called once: when the data changes or the znode is deleted. Raises NoNodeError
        (and then there is no watch), NoAuthError.
        """
        wire = self._wire(path)
        if watch is None:
            body = PathWatchRequest.pack(wire, False)
            return await self._submit(OpCode.GET_DATA, body, codec.decode_node, path)
        return await self._watched(
            OpCode.GET_DATA, codec.decode_node, path, Registration(Table.DATA, wire, watch)
        )

    async def set(self, path: str, data: bytes, *, version: int = -1) -> Stat:
        """Replace the data of a znode; `version` -1 means any. Returns the new stat.

        Raises NoNodeError, BadVersionError, NoAuthError, QuotaExceededError.
        """
        sent = data if type(data) is bytes else codec.encode_data(data)
        try:
            body = SetDataRequest.pack(self._wire(path), sent, version)
        except struct.error:
            raise version_error(version) from None
        return await self._write(OpCode.SET_DATA, body, codec.decode_stat, path)

    async def get_children(self, path: str, *, watch: WatchCallback | None = None) -> list[str]:
        """The names of the children, in no particular order.

        `watch` is called once: when a child is created or deleted, or the znode is deleted.
        Raises NoNodeError (and then there is no watch), NoAuthError.
        """
        wire = self._wire(path)
        if watch is None:
            body = PathWatchRequest.pack(wire, False)
            return await self._submit(OpCode.GET_CHILDREN, body, codec.decode_names, path)
        return await self._watched(
            OpCode.GET_CHILDREN, codec.decode_names, path, Registration(Table.CHILD, wire, watch)
        )

    async def get_children_with_stat(
        self, path: str, *, watch: WatchCallback | None = None
    ) -> Children:
        """The names of the children and the stat of their parent; otherwise as `get_children`."""
        wire = self._wire(path)
        if watch is None:
            body = PathWatchRequest.pack(wire, False)
            return await self._submit(OpCode.GET_CHILDREN2, body, codec.decode_children, path)
        return await self._watched(
            OpCode.GET_CHILDREN2,
            codec.decode_children,
            path,
            Registration(Table.CHILD, wire, watch),
        )

    async def get_acl(self, path: str) -> AclNode:
        """The ACL and stat of a znode. Raises NoNodeError, NoAuthError."""
        body = PathRequest.pack(self._wire(path))
        return await self._submit(OpCode.GET_ACL, body, codec.decode_acl_node, path)

    async def set_acl(self, path: str, acl: Sequence[Acl], *, version: int = -1) -> Stat:
        """Replace the ACL; `version` is that of the ACL (`Stat.aversion`), -1 means any.

        Raises NoNodeError, BadVersionError, NoAuthError, InvalidAclError.
        """
        try:
            body = SetAclRequest.pack(self._wire(path), codec.encode_acl(acl), version)
        except struct.error:
            raise version_error(version) from None
        return await self._write(OpCode.SET_ACL, body, codec.decode_stat, path)

    async def sync(self, path: str = "/") -> None:
        """Bring the server in step with the leader: later reads see all that was written before."""
        body = PathRequest.pack(self._wire(path))
        await self._submit(OpCode.SYNC, body, codec.decode_nothing, path)

    async def get_ephemerals(self, prefix: str = "/") -> list[str]:
        """The ephemerals of this session whose path begins with `prefix`, in no order."""
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, not {prefix!r:.100}")
        chroot = self._chroot.decode()
        wire = chroot + prefix if prefix != "/" else f"{chroot}/"
        body = PathRequest.pack(codec.encode_prefix(wire))
        found = await self._submit(OpCode.GET_EPHEMERALS, body, codec.decode_names, prefix)
        return [self._shown(path) for path in found]

    async def count_descendants(self, path: str) -> int:
        """How many znodes are below this one, at any depth. Raises NoNodeError, NoAuthError."""
        body = PathRequest.pack(self._wire(path))
        return await self._submit(OpCode.GET_ALL_CHILDREN_NUMBER, body, codec.decode_count, path)

    async def who_am_i(self) -> list[Id]:
        """The identities that the server knows this connection by, without passwords."""
        return await self._submit(OpCode.WHO_AM_I, b"", codec.decode_ids, None)

    async def multi_read(
        self, reads: Iterable[Get | GetChildren]
    ) -> list[Node | list[str] | ZooKeeperError]:
        """Several reads in one request, each with its result or its error.

        Raises MarshallingError if the server finds the whole answer too long.
        """
        reads = list(reads)
        for read in reads:
            if not isinstance(read, Get | GetChildren):
                raise TypeError(f"multi_read takes Get and GetChildren, not {read!r:.100}")
        body = multi.encode_reads((read, self._wire(read.path)) for read in reads)
        results = await self._submit(OpCode.MULTI_READ, body, multi.decode_reads, None)
        return [
            error_for(result.code, read.path) if isinstance(result, ZooKeeperError) else result
            for read, result in zip(reads, results, strict=True)
        ]

    # Membership

    async def get_config(self, *, watch: WatchCallback | None = None) -> Node:
        """The membership of the ensemble, whatever the chroot; `watch` as for `get`."""
        wire = paths.CONFIG
        if watch is None:
            body = PathWatchRequest.pack(wire, False)
            return await self._submit(OpCode.GET_DATA, body, codec.decode_node, CONFIG)
        return await self._watched(
            OpCode.GET_DATA, codec.decode_node, CONFIG, Registration(Table.DATA, wire, watch)
        )

    async def reconfig(
        self, *, joining: str = "", leaving: str = "", members: str = "", from_version: int = -1
    ) -> Node:
        """Change the membership and return the new one.

        Either `members` is the whole new membership, or `joining` (server lines) and `leaving`
        (ids) change the present one, both separated by commas. `from_version` is the version of
        the configuration that the change is meant for, -1 any.

        Raises ReconfigDisabledError, ReconfigInProgressError, NewConfigNoQuorumError,
        BadVersionError, NoAuthError, BadArgumentsError, UnimplementedError (no ensemble).
        """
        for servers in (joining, leaving, members):
            if not isinstance(servers, str):
                raise TypeError(f"servers are named in a str, not {servers!r:.100}")
        try:
            body = ReconfigRequest.pack(
                joining or None, leaving or None, members or None, from_version
            )
        except struct.error:
            raise ValueError(f"from_version must be a number, not {from_version!r:.100}") from None
        return await self._write(OpCode.RECONFIG, body, codec.decode_node, None)

    # Shared

    def _wire(self, path: str, *, is_sequential: bool = False) -> bytes:
        """The server's path for one of ours."""
        wire = codec.encode_path(path, is_sequential=is_sequential)
        chroot = self._chroot
        if not chroot:
            return wire
        if is_sequential and wire == b"/":
            raise BadArgumentsError("this would be beside the chroot, not below it", path=path)
        return chroot + wire if wire != b"/" else chroot

    def _shown(self, wire_path: str) -> str:
        """Our path for one of the server's; what is not below the chroot stays as it is."""
        chroot = self._chroot
        if not chroot:
            return wire_path
        return self._shown_bytes(wire_path.encode("utf-8", "replace"))

    def _shown_bytes(self, wire_path: bytes) -> str:
        return codec.without_chroot(self._chroot, wire_path)

    def _creation(
        self,
        path: str,
        data: bytes,
        mode: CreateMode,
        acl: Sequence[Acl] | None,
        ttl: float | None,
        *,
        with_stat: bool = False,
    ) -> tuple[OpCode, bytes]:
        """The operation that creates such a znode, and its request."""
        wire = self._wire(path, is_sequential=mode in SEQUENTIAL_MODES)
        encoded = self._default_acl if acl is None else codec.encode_acl(acl)
        sent = data if type(data) is bytes else codec.encode_data(data)
        if mode in TTL_MODES:
            if ttl is None:
                raise BadArgumentsError(f"{mode.name} needs a ttl above 0 s", path=path)
            request = CreateTtlRequest.pack(wire, sent, encoded, mode, ttl_ms(ttl))
            return OpCode.CREATE_TTL, request
        if ttl is not None:
            raise BadArgumentsError(f"{mode.name} has no ttl", path=path)
        op = OpCode.CREATE2 if with_stat else OpCode.CREATE
        if mode is CreateMode.CONTAINER:
            op = OpCode.CREATE_CONTAINER
        try:
            return op, CreateRequest.pack(wire, sent, encoded, mode)
        except struct.error:
            raise TypeError(f"mode must be a CreateMode, not {mode!r:.100}") from None

    async def _watched(self, op: OpCode, decode: Decoder[T], path: str, watch: Registration) -> T:
        """A read with a watch; if the caller is cancelled the watch is not left behind."""
        body = PathWatchRequest.pack(watch.path, True)
        try:
            return await self._submit(op, body, decode, path, watch)
        except asyncio.CancelledError:
            # The answer may have come in the same turn of the loop.
            self._withdraw(watch)
            raise


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _child(path: str, name: str) -> str:
    return f"/{name}" if path == "/" else f"{path}/{name}"
