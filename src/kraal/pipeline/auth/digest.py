"""The `digest` scheme: user and password, kept as user and hash.

Rules: reference/client-protocol.md sections 10.2 and 10.4.
"""

from __future__ import annotations

import base64
import hashlib


def hash_function(java_name: str) -> str:
    """The hashlib name of a Java digest algorithm. ValueError when there is none."""
    name = java_name.lower().replace("/", "_")
    if not name.startswith("sha3-"):
        name = name.replace("-", "")  # SHA-1, SHA-256
    name = name.replace("-", "_")  # SHA3-256
    try:
        hashlib.new(name).digest()
    except TypeError:  # a name with a null character, or a digest of no certain length
        raise ValueError(f"unsupported hash type {java_name!r}") from None
    return name


def identity(credentials: bytes, algorithm: str) -> str:
    """`user:hash` of `user:password`; without a colon all of it is the user."""
    user = credentials.decode("utf-8", "replace").partition(":")[0]
    # The reference hashes the decoded text, so malformed bytes hash as U+FFFD.
    hashed = hashlib.new(algorithm, credentials.decode("utf-8", "replace").encode()).digest()
    return f"{user}:{base64.b64encode(hashed).decode()}"


def is_valid(id_: str) -> bool:
    """Exactly two parts once trailing empty ones are dropped."""
    return len(id_.rstrip(":").split(":")) == 2 if id_.rstrip(":") else False
