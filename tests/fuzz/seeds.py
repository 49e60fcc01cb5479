"""Sound input for the decoders, for damage to start from."""

from __future__ import annotations

from random import Random

from kraal.model.acl import OPEN_UNSAFE, Acl
from kraal.model.config import SnapshotCodec
from kraal.storage import log_format
from kraal.storage.snapshot_codec import encoder
from kraal.tree import snapshot
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn
from kraal.wire.records.data import encode_acls
from tests.fuzz.requests import Request, request
from tests.support import raw_client as raw

ACLS = encode_acls([*OPEN_UNSAFE, Acl(31, "digest", "u:h"), Acl(1, "ip", "10.0.0.0/8")])
TTL_MS = 60_000
SESSION = 0x100_0000_0001


def requests() -> list[Request]:
    """Some of every kind."""
    random = Random(1)
    found: dict[int, list[Request]] = {}
    for _ in range(3000):
        made = request(random)
        kept = found.setdefault(made.op, [])
        if len(kept) < 3:
            kept.append(made)
    return [made for kept in found.values() for made in kept]


def request_frames() -> list[bytes]:
    """Requests with their headers, without their lengths."""
    return [raw.i32(1) + raw.i32(op) + body for op, body in requests()]


def connect_requests() -> list[bytes]:
    return [
        raw.connect_request(),
        raw.connect_request(read_only=None),
        raw.connect_request(1, raw.session_password(1), last_zxid=-1, timeout=-1),
        raw.connect_request(0, None, read_only=True) + b"more",
    ]


def streams() -> list[bytes]:
    """What a client sends on its connection, and four-letter words."""
    connect = raw.connect_request()
    begin = raw.i32(len(connect)) + connect
    framed = b"".join(raw.i32(len(frame)) + frame for frame in request_frames()[:8])
    words = [b"ruok", b"srvr\r\n", b"stmk" + bytes(8), b"cons", b"wchp", b"\xff\xf4\xff\xfd\x06"]
    return [begin + framed, begin, begin + raw.i32(-1), raw.i32(0), b"ru", *words]


def txns() -> list[bytes]:
    """One transaction of each kind, as it is logged."""
    bodies: list[tuple[int, Record]] = [
        (OpCode.CREATE_SESSION, txn.CreateSessionTxn(10_000)),
        (OpCode.CREATE, txn.CreateTxn(b"/a", b"data", ACLS, False, 1)),
        (OpCode.CREATE, txn.CreateTxnV0(b"/old", None, ACLS, False)),
        (OpCode.CREATE2, txn.CreateTxn(b"/a/e", None, None, True, 1)),
        (OpCode.CREATE_CONTAINER, txn.CreateContainerTxn(b"/c", b"", ACLS, 3)),
        (OpCode.CREATE_TTL, txn.CreateTtlTxn(b"/t", b"x", ACLS, 4, TTL_MS)),
        (OpCode.SET_DATA, txn.SetDataTxn(b"/a", b"other", 1)),
        (OpCode.SET_ACL, txn.SetAclTxn(b"/a", ACLS, 1)),
        (
            OpCode.MULTI,
            txn.MultiTxn(
                [
                    (OpCode.CHECK, txn.CheckVersionTxn(b"/a", 2)),
                    (OpCode.CREATE, txn.CreateTxn(b"/m", b"", ACLS, False, 5)),
                    (OpCode.DELETE, txn.DeleteTxn(b"/t")),
                ]
            ),
        ),
        (OpCode.MULTI, txn.MultiTxn([(OpCode.ERROR, txn.ErrorTxn(-101))])),
        (OpCode.DELETE, txn.DeleteTxn(b"/m")),
        (OpCode.ERROR, txn.ErrorTxn(-110)),
    ]
    made = [
        txn.Txn(SESSION, 1, zxid, 1_700_000_000_000, kind, body, 7 * zxid).encode()
        for zxid, (kind, body) in enumerate(bodies, 1)
    ]
    closing = txn.CloseSessionTxn([b"/a/e"])
    made.append(
        txn.Txn(SESSION, 9, 13, 1_700_000_000_000, OpCode.CLOSE_SESSION, closing, None).encode()
    )
    return made


def logs() -> list[bytes]:
    """Files of the transaction log."""
    records = b"".join(log_format.frame(payload) for payload in txns())
    return [
        log_format.FILE_HEADER,
        log_format.FILE_HEADER + records,
        log_format.FILE_HEADER + records + bytes(200),
        log_format.FILE_HEADER + records[:-1] + b"\0",
    ]


def tree() -> DataTree:
    """Some of every kind of znode."""
    made = DataTree.pristine(extended_types=True)
    for payload in txns()[:-1]:
        apply(made, txn.Txn.decode(payload))
    made.events.clear()
    return made


def snapshots() -> list[bytes]:
    return [
        b"".join(snapshot.encode(tree())),
        b"".join(snapshot.encode(tree(), last_zxid_section=False)),
        b"".join(snapshot.encode(DataTree.pristine(digests=False))),
    ]


def snapshot_streams() -> list[bytes]:
    """What follows a SNAP packet, and the packet behind it."""
    return [
        b"".join(snapshot.encode_stream(made)) + bytes(9) for made in (tree(), DataTree.pristine())
    ] + [b"".join(snapshot.encode_stream(tree()))]


def packed(codec: SnapshotCodec) -> list[bytes]:
    """Snapshots under a codec."""
    found = []
    for plain in snapshots():
        packer = encoder(codec)
        found.append(packer.encode(plain) + packer.finish())
    return found


def texts() -> list[bytes]:
    """zoo.cfg files."""
    return [
        b"tickTime=2000\ndataDir=./data\nclientPort=2181\n4lw.commands.whitelist=*\n",
        b"server.1=127.0.0.1:2888:3888:participant;2181\nstandaloneEnabled=true\n",
        b"a\\u00e9 : b\\\n  c\n! comment\n\\=\\:= \\t\n",
        b"jute.maxbuffer=0x100\nsnapCount=#10\nmaxClientCnxns=-1\nautopurge.purgeInterval=1\n",
        b"enforce.auth.enabled=true\nenforce.auth.schemes=digest , ip\nskipACL=yes\n",
        b"tickTime=" + b"9" * 5000,
        b"clientPort=" + b"0" * 5000 + b"2181\nsnapCount=" + b"7" * 5000,
        b"connectionMaxTokens=5\nglobalOutstandingLimit=010\nminSessionTimeout=1\n",
        b"DigestAuthenticationProvider.digestAlg=SHA-256\nsnapshot.compression.method=GZ\n",
    ]


def memberships() -> list[bytes]:
    """Configurations of ensembles, as a notification carries them."""
    return [
        b"server.1=a:1:2:participant\nserver.2=b:1:2:observer;0.0.0.0:3\nversion=1f",
        b"server.1=[::1]:1:2|b:3:4;[2001:db8::1]:5\nserver.3=[fe80::1%eth0]:1:2\nversion=0",
        b"server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n"
        b"group.1=1:2\ngroup.2=3\nweight.1=2\nweight.3=0\nversion=100000002",
    ]
