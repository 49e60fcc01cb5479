"""A transaction as a line of text and as JSON.

The line is that of the reference's TxnLogToolkit (reference/storage-formats.md section 8.1), in
its format for UTC and English. It differs where that prints what breaks the line: the line ends
in ACL lists, the raw bytes of a multi's operations, control characters in data.
"""

from __future__ import annotations

import time
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from kraal.model.zxid import show
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn as txns
from kraal.wire.records.data import decode_acls
from kraal.wire.records.txn import Txn

Json = dict[str, Any]
"""What the `json` module writes; values are of its own types."""
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
_OPEN = "world:anyone:cdrwa"
_PERMS = ((1, "r"), (2, "w"), (4, "c"), (8, "d"), (16, "a"))

NAMES: dict[int, str] = {
    OpCode.CREATE: "create",
    OpCode.CREATE2: "create2",
    OpCode.CREATE_CONTAINER: "createContainer",
    OpCode.CREATE_TTL: "createTTL",
    OpCode.DELETE: "delete",
    OpCode.DELETE_CONTAINER: "deleteContainer",
    OpCode.SET_DATA: "setData",
    OpCode.SET_ACL: "setACL",
    OpCode.CHECK: "check",
    OpCode.MULTI: "multi",
    OpCode.RECONFIG: "reconfig",
    OpCode.ERROR: "error",
    OpCode.CREATE_SESSION: "createSession",
    OpCode.CLOSE_SESSION: "closeSession",
}


def line(txn: Txn) -> str:
    """`<date> session 0x… cxid 0x… zxid 0x… <operation> <body>`."""
    return (
        f"{_date(txn.time_ms)} session 0x{txn.client_id & _MASK_64:x} "
        f"cxid 0x{txn.cxid & 0xFFFF_FFFF:x} zxid {show(txn.zxid)} "
        f"{NAMES.get(txn.kind, f'unknown {txn.kind}')} {_body(txn.body)}"
    )


def as_json(txn: Txn) -> Json:
    """The transaction with the operation's fields; data as text where it is one, else base64."""
    found: Json = {
        "zxid": show(txn.zxid),
        "time": iso_time(txn.time_ms),
        "session": f"0x{txn.client_id & _MASK_64:x}",
        "cxid": txn.cxid,
        "type": NAMES.get(txn.kind, str(txn.kind)),
        **body_json(txn.body),
    }
    if txn.digest is not None:
        found["digest"] = f"0x{txn.digest & _MASK_64:x}"
    return found


def body_json(body: Record) -> Json:
    """The fields of one operation."""
    if isinstance(body, txns.MultiTxn):
        return {
            "ops": [
                {"type": NAMES.get(kind, str(kind)), **body_json(part)} for kind, part in body.ops
            ]
        }
    if isinstance(body, txns.CloseSessionTxn):
        return {"deleted": [text(path) for path in body.paths or ()]}
    if isinstance(body, txns.CreateSessionTxn):
        return {"timeout_ms": body.timeout_ms}
    if isinstance(body, txns.ErrorTxn):
        return {"error": body.code}
    found: Json = {"path": text(getattr(body, "path", None))}
    if isinstance(
        body, txns.CreateTxn | txns.CreateContainerTxn | txns.CreateTtlTxn | txns.SetDataTxn
    ):
        found |= data_json(body.data)
    if isinstance(body, txns.CreateTxn):
        found["ephemeral"] = body.ephemeral
    if isinstance(body, txns.CreateTtlTxn):
        found["ttl_ms"] = body.ttl_ms
    if isinstance(body, txns.SetDataTxn | txns.SetAclTxn | txns.CheckVersionTxn):
        found["version"] = body.version
    if isinstance(
        body, txns.CreateTxn | txns.CreateContainerTxn | txns.CreateTtlTxn | txns.SetAclTxn
    ):
        found["acl"] = acl_json(body.acl)
    return found


def data_json(data: bytes | None) -> Json:
    """Its size, and the data itself: null, text, or base64."""
    if data is None:
        return {"size": 0, "data": None}
    try:
        shown = data.decode()
    except UnicodeDecodeError:
        return {"size": len(data), "data_base64": b64encode(data).decode()}
    return {"size": len(data), "data": shown}


def acl_json(encoded: bytes | None) -> list[str]:
    """`scheme:id:perms` of each entry."""
    if encoded is None:
        return [_OPEN]
    return [f"{scheme}:{id_}:{perms_text(perms)}" for perms, scheme, id_ in decode_acls(encoded)]


def perms_text(perms: int) -> str:
    """`cdrwa`, as zkCli writes it."""
    letters = {letter for bit, letter in _PERMS if perms & bit}
    return "".join(letter for letter in "cdrwa" if letter in letters)


def text(path: bytes | None) -> str:
    return "null" if path is None else printable(path.decode("utf-8", "replace"))


def iso_time(time_ms: int) -> str:
    """In UTC, to the millisecond; a time that no calendar has stays a number."""
    try:
        when = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _date(time_ms: int) -> str:
    """Java's short date and long time in English and UTC: `11/22/26, 10:53:12 AM UTC`."""
    try:
        moment = time.gmtime(time_ms // 1000)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    hour = moment.tm_hour % 12 or 12
    half = "AM" if moment.tm_hour < 12 else "PM"
    return (
        f"{moment.tm_mon}/{moment.tm_mday}/{moment.tm_year % 100:02}, "
        f"{hour}:{moment.tm_min:02}:{moment.tm_sec:02} {half} UTC"
    )


def _body(body: Record) -> str:
    if isinstance(body, txns.CreateTxn):
        ephemeral = str(body.ephemeral).lower()
        return f"{_node(body.path, body.data, body.acl)},{ephemeral},{body.parent_cversion}"
    if isinstance(body, txns.CreateContainerTxn):
        return f"{_node(body.path, body.data, body.acl)},{body.parent_cversion}"
    if isinstance(body, txns.CreateTtlTxn):
        return f"{_node(body.path, body.data, body.acl)},{body.parent_cversion},{body.ttl_ms}"
    if isinstance(body, txns.SetDataTxn):
        return f"{text(body.path)},{_data(body.data)},{body.version}"
    if isinstance(body, txns.MultiTxn):
        return ";".join(f"{NAMES.get(kind, str(kind))}:{_body(part)}" for kind, part in body.ops)
    if isinstance(body, txns.CloseSessionTxn):
        return "v{" + ",".join(f"'{text(path)}" for path in body.paths or ()) + "}"
    if isinstance(body, txns.CreateSessionTxn):
        return str(body.timeout_ms)
    if isinstance(body, txns.ErrorTxn):
        return str(body.code)
    if isinstance(body, txns.SetAclTxn):
        entries = decode_acls(body.acl) if body.acl else []
        acls = ",".join(f"s{{{_acl(entry)}}}" for entry in entries)
        return f"'{text(body.path)},v{{{acls}}},{body.version}"
    if isinstance(body, txns.CheckVersionTxn):
        return f"'{text(body.path)},{body.version}"
    return f"'{text(getattr(body, 'path', None))}"


def _node(path: bytes | None, data: bytes | None, acl: bytes | None) -> str:
    acls = ", ".join(_acl(entry) for entry in decode_acls(acl)) if acl else ""
    return f"{text(path)},{_data(data)},[{acls}]"


def _acl(entry: tuple[int, str | None, str | None]) -> str:
    perms, scheme, id_ = entry
    return f"{perms},s{{'{scheme},'{id_}}}"


def _data(data: bytes | None) -> str:
    return "" if data is None else printable(data.decode("utf-8", "replace"))


def data_text(data: bytes | None) -> str:
    """Text with escapes; `null`, and base64 for what is no text."""
    if data is None:
        return "null"
    try:
        return printable(data.decode())
    except UnicodeDecodeError:
        return f"base64:{b64encode(data).decode()}"


def printable(shown: str) -> str:
    """The text with escapes where a terminal, or a line, would suffer."""
    if shown.isprintable():
        return shown
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown
    )
