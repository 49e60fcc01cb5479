"""Transactions: several writes that all happen, at one zxid, or not at all."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kraal.client import multi
from kraal.client.arguments import version_error
from kraal.client.codec import Decoder, encode_data
from kraal.client.errors import ClosedError, TransactionError, ZooKeeperError, error_for
from kraal.client.multi import WriteResult
from kraal.client.values import Created
from kraal.errors import DecodeError, ErrorCode
from kraal.model.acl import Acl
from kraal.model.create_mode import CreateMode
from kraal.wire.opcodes import OpCode
from kraal.wire.records.proto import CheckVersionRequest, DeleteRequest, SetDataRequest

if TYPE_CHECKING:
    from kraal.client.operations import Operations

Send = Callable[[bytes, Decoder[list[WriteResult | int]]], Awaitable[list[WriteResult | int]]]


class Transaction:
    """Writes that are gathered and sent as one; `async with` sends them at the end of the block.

    `results` then has, in the order of the operations, the path of each create (`Created` where
    it was asked for), the stat of each set, and None for deletes and checks.
    """

    def __init__(self, operations: Operations, send: Send) -> None:
        self._operations = operations
        self._send = send
        self._requests: list[tuple[OpCode, bytes]] = []
        self._paths: list[str] = []
        self._with_stat: set[int] = set()
        self._is_committed = False
        self.results: list[WriteResult] = []

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
    ) -> Self:
        """As `Client.create`; the result is the path."""
        op, request = self._operations._creation(path, data, mode, acl, ttl)
        return self._add(op, request, path)

    def create_with_stat(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
    ) -> Self:
        """As `Client.create_with_stat`; the result is `Created`."""
        creation = self._operations._creation
        op, request = creation(path, data, mode, acl, ttl, with_stat=True)
        self._with_stat.add(len(self._requests))
        return self._add(op, request, path)

    def set(self, path: str, data: bytes, *, version: int = -1) -> Self:
        """As `Client.set`; the result is the new stat."""
        wire = self._operations._wire(path)
        try:
            request = SetDataRequest.pack(wire, encode_data(data), version)
        except struct.error:
            raise version_error(version) from None
        return self._add(OpCode.SET_DATA, request, path)

    def delete(self, path: str, *, version: int = -1) -> Self:
        """As `Client.delete`."""
        try:
            request = DeleteRequest.pack(self._operations._wire(path), version)
        except struct.error:
            raise version_error(version) from None
        return self._add(OpCode.DELETE, request, path)

    def check(self, path: str, version: int) -> Self:
        """Go on only if the znode has this version; -1 asks only whether it exists."""
        try:
            request = CheckVersionRequest.pack(self._operations._wire(path), version)
        except struct.error:
            raise version_error(version) from None
        return self._add(OpCode.CHECK, request, path)

    async def commit(self) -> list[WriteResult]:
        """Send the transaction and return its results; one without operations is not sent.

        Raises TransactionError if an operation is refused, and then nothing has happened.
        """
        self._refuse_if_committed()
        self._is_committed = True
        if not self._requests:
            return self.results
        answer = await self._send(multi.encode(self._requests), self._decode)
        self.results = self._interpret(answer)
        return self.results

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and not self._is_committed:
            await self.commit()

    def __len__(self) -> int:
        return len(self._requests)

    def _add(self, op: OpCode, request: bytes, path: str) -> Self:
        self._refuse_if_committed()
        self._requests.append((op, request))
        self._paths.append(path)
        return self

    def _refuse_if_committed(self) -> None:
        if self._is_committed:
            raise ClosedError("the transaction was committed already")

    def _decode(self, body: bytes) -> list[WriteResult | int]:
        answer = multi.decode_writes(body)
        if len(answer) != len(self._requests):
            raise DecodeError(f"{len(answer)} results for {len(self._requests)} operations")
        return answer

    def _interpret(self, answer: list[WriteResult | int]) -> list[WriteResult]:
        """Results, or the error of a transaction that was refused."""
        results: list[WriteResult] = []
        errors: list[ZooKeeperError | None] = []
        culprit: int | None = None
        for index, outcome in enumerate(answer):
            if isinstance(outcome, int):
                errors.append(error_for(outcome, self._paths[index]) if outcome else None)
                if culprit is None and outcome not in _INNOCENT:
                    culprit = index
                continue
            if isinstance(outcome, Created):
                path = self._operations._shown(outcome.path)
                stat = outcome.stat
                results.append(Created(path, stat) if index in self._with_stat else path)
            else:
                shown = self._operations._shown
                results.append(shown(outcome) if isinstance(outcome, str) else outcome)
        if errors:
            index = culprit or 0
            raise TransactionError(index, errors[index] or error_for(-1), errors)
        return results


_INNOCENT = (ErrorCode.OK, ErrorCode.RUNTIME_INCONSISTENCY)
