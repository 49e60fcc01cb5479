"""What a test does to servers through nothing but their client port, wherever they are."""

from __future__ import annotations

import asyncio
import re
import struct

from kraal.client import OPEN_ACL, Client, connect
from kraal.local.layout import HOST
from kraal.local.status import ask
from kraal.model.session_id import password, show
from kraal.testing.errors import UnavailableError, WaitError
from kraal.testing.settings import SUPER_AUTH, SUPER_SETTING
from kraal.wire.opcodes import OpCode
from kraal.wire.records.proto import ConnectRequest, ConnectResponse

_LENGTH = struct.Struct(">i")
_CLOSE_SESSION = struct.pack(">ii", 1, OpCode.CLOSE_SESSION)
_ATTEMPTS = 20
_SESSION_TIMEOUT_MS = 10_000
_SESSION = re.compile(r"^\s*0x([0-9a-f]+)", re.MULTILINE)
_SYSTEM = "zookeeper"
_QUOTAS = "/zookeeper/quota"


async def sessions(port: int) -> list[int]:
    """The ids of all sessions, as the leader at this port knows them. Raises OSError."""
    found = _SESSION.findall(await ask(port, "dump"))
    return [int(text, 16) for text in dict.fromkeys(found)]


async def expire(host: str, port: int, session_id: int) -> bool:
    """End a session as its own client would; False: there is none.

    Servers derive the password of a session from its id (reference/client-protocol.md section
    2.7), so this ends the session of any client. Raises OSError, WaitError.
    """
    for _ in range(_ATTEMPTS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            request = ConnectRequest(
                protocol_version=0,
                last_zxid_seen=0,
                timeout_ms=_SESSION_TIMEOUT_MS,
                session_id=session_id,
                password=password(session_id),
            ).encode()
            writer.write(_LENGTH.pack(len(request)) + request)
            response, _at = ConnectResponse.decode(await _frame(reader))
            if response.timeout_ms <= 0:
                return False
            writer.write(_LENGTH.pack(len(_CLOSE_SESSION)) + _CLOSE_SESSION)
            await _frame(reader)
            return True
        except (asyncio.IncompleteReadError, ConnectionError):
            continue  # its client took the session back in between
        finally:
            writer.close()
    raise WaitError(f"the client of session {show(session_id)} takes it back again and again")


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(length)


async def end_sessions(port: int) -> None:
    """End all sessions that the leader at this port knows. Raises OSError, WaitError."""
    found = await sessions(port)
    await asyncio.gather(*(expire(HOST, port, session_id) for session_id in found))


async def wipe(hosts: str) -> None:
    """Delete every znode that is not a server's own; data, ACL and quotas go as well.

    Raises UnavailableError where the super user is another than `SUPER_AUTH`'s.
    """
    zk = connect(hosts, auth=[("digest", SUPER_AUTH)])
    try:
        await zk.start()
        if not any(identity.scheme == "super" for identity in await zk.who_am_i()):
            raise UnavailableError(f"there is no reset where {SUPER_SETTING} is set")
        names = [name for name in await zk.get_children("/") if name != _SYSTEM]
        tops = [f"/{name}" for name in names]
        tops += [f"{_QUOTAS}/{name}" for name in await zk.get_children(_QUOTAS)]
        await asyncio.gather(*(zk.delete_recursive(top) for top in tops))
        await _clear_root(zk)
    finally:
        await zk.close()


async def _clear_root(zk: Client) -> None:
    if (await zk.get("/")).data:
        await zk.set("/", b"")
    if list((await zk.get_acl("/")).acl) != list(OPEN_ACL):
        await zk.set_acl("/", OPEN_ACL)
