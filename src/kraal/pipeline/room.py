"""Which writes a server without room on its disk refuses: those that make its data grow.

Deletions free what clients hold, the ends of sessions too, and a reconfiguration may bring a
server with room; they cost little and go on.
"""

from __future__ import annotations

from kraal.errors import DecodeError
from kraal.pipeline.prepare import multi
from kraal.wire.opcodes import OpCode

_BODY = 8
_GROWING = frozenset(
    {
        OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL,
        OpCode.SET_DATA, OpCode.SET_ACL,
    }
)  # fmt: skip


def grows(op: int, frame: bytes) -> bool:
    """Whether the request makes data grow; what does not decode is refused for that."""
    if op != OpCode.MULTI:
        return op in _GROWING
    try:
        return any(kind in _GROWING for kind, _ in multi.decode(frame, _BODY))
    except DecodeError:
        return False
