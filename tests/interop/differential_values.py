"""The values that a differential run draws from: paths, data, ACLs, versions, quota texts.

The universe of paths is small so that requests collide. What is wrong in one way or another is
listed next to what is right, and drawn less often.
"""

from __future__ import annotations

import base64
import hashlib
from random import Random

from tests.interop.differential_rules import LIMITS, QUOTA, STATS
from tests.support import raw_client as raw

MAX_TTL = 0xFF_FFFF_FFFF
QUOTA_PATHS = ("/a", "/a/b", "/b", "/never")

ODD_LEGAL_PATHS: tuple[raw.Text, ...] = (
    "/é", "/日本", "/a b", "/a/...", "/a/.x", "/a/..x", "/%2f", "/ ", "/a/\u00a0", "/a/\ud7ff",
    "/a/\uf900", "/a/\uffef", "/*", "/日本/é", "/A", "/zookeeperx",
)  # fmt: skip
BAD_PATHS: tuple[raw.Text, ...] = (
    None, "", "a", "a/b", "/a/", "/b/", "/a//b", "//", "/a/.", "/a/./b", "/..", "/a/..", "/./a",
    "/a\0b", "/\0", "a\0", "/a/\x01", "/a/\x1f", "/\n", "/a/\x7f", "/a/\x9f", "/a/\ue000",
    "/a/\uf8ff", "/a/\ufff0", "/a/\uffff", "/a/\ufffd", "/😀", "/a/😀", "/a/b/", "/ /",
    b"/\xff\xc0\x80", b"/\xed\xa0\x80", b"/a/\xc3(", b"/\xe2\x82", b"\xff", b"/\xf4\x90\x80\x80",
    b"/\xf0\x9f\x98", b"/\xc0\xaf", b"/\xe0\x80\xaf", b"/a\x80", b"/\xed\xa0\xbd\xed\xb8\x80",
    b"/\xf8\x88\x80\x80\x80", b"/\xe2(\xa1", b"/\xf0\x28\x8c\xbc", b"/\xf0\x90\x28\xbc",
)  # fmt: skip
SYSTEM_PATHS = (
    "/", "/", "/zookeeper", QUOTA, "/zookeeper/config", "/zookeeper/x", "/zookeeper/x/y",
    "/zookeeper/config/x", f"{QUOTA}/a", f"{QUOTA}/a/{LIMITS}", f"{QUOTA}/a/{STATS}",
    f"{QUOTA}/b/{STATS}", f"{QUOTA}/{STATS}", f"{QUOTA}/a/b/{LIMITS}", f"{QUOTA}/a/b/{STATS}",
)  # fmt: skip


def _digest(text: bytes) -> str:
    user = text.split(b":")[0].decode()
    return f"{user}:{base64.b64encode(hashlib.sha1(text).digest()).decode()}"


_U1, _U2 = _digest(b"u1:p1"), _digest(b"u2:p2")
GOOD_ENTRIES: tuple[raw.Acl, ...] = (
    (31, "world", "anyone"), (1, "world", "anyone"), (31, "digest", _U1), (31, "digest", _U2),
    (1, "digest", _U2), (16, "digest", _U1), (31, "auth", ""), (7, "auth", None),
    (31, "auth", "ignored"), (31, "ip", "127.0.0.1"), (31, "ip", "127.0.0.0/8"),
    (5, "ip", "0.0.0.0/0"), (31, "ip", "10.0.0.0/8"), (31, "ip", "127.000.0.+1"),
    (31, "ip", "::1"), (31, "ip", "1::/64"), (31, "digest", "a:b"), (31, "digest", ":b"),
    (31, "digest", "a:b:"), (0, "world", "anyone"), (-1, "world", "anyone"),
    (255, "world", "anyone"), (2, "world", "anyone"), (12, "world", "anyone"),
    (31, "digest", "é:x"), (31, "ip", "1:2:3:4:5:6:7:8"), (31, "ip", "127.0.0.1/32"),
)  # fmt: skip
BAD_ENTRIES: tuple[raw.Acl, ...] = (
    (31, "world", "somebody"), (31, "world", ""), (31, "world", None), (31, "World", "anyone"),
    (31, "bogus", "x"), (31, "", ""), (31, None, "anyone"), (31, None, None), (31, "super", ""),
    (31, "x509", "CN=x"), (31, "sasl", "x"), (31, "digest", "a"), (31, "digest", "a:"),
    (31, "digest", ""), (31, "digest", "a:b:c"), (31, "digest", None), (31, "digest", ":"),
    (31, "digest", "::"), (31, "digest", "a::"), (31, "digest", "a::b"),
    (31, "ip", "localhost"), (31, "ip", "300.1.1.1"), (31, "ip", "1.2.3"), (31, "ip", None),
    (31, "ip", "1.2.3.4/33"), (31, "ip", "1.2.3.4/-1"), (31, "ip", "1.2.3.4/"), (31, "ip", ""),
    (31, "ip", "1.2.3.4/x"), (31, "ip", "1::2::3"), (31, "ip", "::ffff:1.2.3.4"),
    (31, "ip", "1:2:3:4:5:6:7"), (31, "ip", "12345::"), (31, "ip", "::/129"),
    (31, "ip", "1:2:3:4:5:6:7::8"), (31, "ip", "1.2.3.4/8/8"), (31, "ip", "1.2.3.4.5"),
    (31, "ip", "1.2.-3.4"), (31, "ip", " 1.2.3.4"), (31, "ip", "/8"), (31, b"\xff", "x"),
    (31, "auth\0", "x"), (31, "ip", "::g"), (31, "ip", "::"), (31, "ip", "1.2.3.4/+8"),
)  # fmt: skip

AUTHS: tuple[tuple[raw.Text, bytes | None], ...] = (
    ("digest", b"u1:p1"), ("digest", b"u2:p2"), ("digest", b"u1:p1"), ("digest", b"zed"),
    ("digest", b""), ("digest", b":"), ("digest", b"u1:wrong"), ("digest", "é:ö".encode()),
    ("digest", b"\xff\xfe:x"), ("ip", b""), ("ip", None), ("ip", b"1.2.3.4"),
    ("digest", b"a:b:c"),
)  # fmt: skip
BAD_AUTHS: tuple[tuple[raw.Text, bytes | None], ...] = (
    ("digest", None), ("bogus", b"x"), ("world", b"anyone"), ("auth", b""), ("super", b""),
    (None, b"x"), ("", b""), ("Digest", b"u1:p1"), ("sasl", b"x"), ("x509", b"x"),
    ("ensemble", b"x"),
)  # fmt: skip

LIMIT_TEXTS: tuple[bytes | None, ...] = (
    b"count=5,bytes=100", b"count=-1,bytes=-1", b"count=3,bytes=40=;byteHardLimit=60",
    b"count=4,bytes=10=;byteHardLimit=80;countHardLimit=6", b"countHardLimit=3", b"", b",",
    b"byteHardLimit=30", b"count=1;bytes=2;;countHardLimit=5,,byteHardLimit=200",
    b"count==5,bytes=1", b"countHardLimit=4=5=6", b"unknown=7", b"countHardLimit=0",
    b"byteHardLimit=0", b"=1,byteHardLimit=+90,",
)  # fmt: skip
BAD_LIMIT_TEXTS: tuple[bytes | None, ...] = (
    None, b"garbage", b"count=", b"count=x", b"countHardLimit=9223372036854775808", b"=",
    b"count= 1", b"\xff\xfe", b"count==,bytes=1", b",count=1", b"count=1_0", b"count=1\n",
)  # fmt: skip


def plain_path(random: Random) -> str:
    """A legal path of at most three short names."""
    depth = random.choices((1, 2, 3), (54, 34, 12))[0]
    return "".join("/" + random.choices("abc", (5, 3, 2))[0] for _ in range(depth))


def sequential_path(random: Random) -> str:
    """A name that sequential creates may have produced."""
    prefix = plain_path(random) + random.choice(("/s", "/", "", "/b"))
    return f"{prefix}{random.randrange(12):010d}"


def path(random: Random) -> raw.Text:
    """Any path: mostly plain, sometimes odd, of the system, or wrong."""
    kind = random.random()
    if kind < 0.74:
        return plain_path(random)
    if kind < 0.82:
        return sequential_path(random)
    if kind < 0.87:
        return random.choice(ODD_LEGAL_PATHS)
    if kind < 0.93:
        return random.choice(SYSTEM_PATHS)
    return bad_path(random)


def bad_path(random: Random) -> raw.Text:
    if random.random() < 0.1:
        return b"/" + random.randbytes(random.randrange(1, 6))
    return random.choice(BAD_PATHS)


def sequential_prefix(random: Random) -> raw.Text:
    kind = random.random()
    if kind < 0.85:
        return plain_path(random) + random.choice(("/s", "/", "/b", ""))
    return random.choice(
        ("/", "//", "/a//", "/a/./", "/é", "", "s", "/a/\x01", "/a/.", "/zookeeper/")
    )


def data(random: Random) -> bytes | None:
    kind = random.random()
    if kind < 0.12:
        return None
    if kind < 0.24:
        return b""
    if kind < 0.97:
        return random.randbytes(random.randrange(1, 40))
    return random.randbytes(random.choice((1000, 5000, 70_000)))


def acl(random: Random) -> raw.AclList:
    kind = random.random()
    if kind < 0.66:
        return raw.OPEN_ACL
    if kind < 0.89:
        entries = random.choices(GOOD_ENTRIES, k=random.choice((1, 1, 2, 3)))
        # Duplicates have a rule of their own.
        return entries + entries[:1] if random.random() < 0.2 else entries
    if kind < 0.93:
        return random.choice((None, ()))
    entries = [random.choice(BAD_ENTRIES), *random.choices(GOOD_ENTRIES, k=random.randrange(3))]
    random.shuffle(entries)
    return entries


def version(random: Random) -> int:
    return random.choices(
        (-1, 0, 1, 2, 3, -2, 7, 2**31 - 1, -(2**31)), (50, 22, 10, 5, 3, 4, 3, 2, 1)
    )[0]


def ttl(random: Random) -> int:
    if random.random() < 0.7:
        return random.choice((1, 1000, 60_000, 600_000, MAX_TTL))
    return random.choice((MAX_TTL + 1, 0, -1, 2**63 - 1, -(2**63)))


def create_flags(random: Random) -> int:
    return random.choices(
        (0, 1, 2, 3, 4, 5, 6, 7, -1, 8, 2**31 - 1), (46, 16, 12, 9, 5, 3, 3, 2, 2, 1, 1)
    )[0]
