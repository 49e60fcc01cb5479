"""Every bound of the server in one place; units are in the names.

Source: reference/client-protocol.md section 12.1 and reference/storage-formats.md section 0.
"""

from __future__ import annotations

MAX_BUFFER_BYTES = 1_048_575
"""Largest request frame (`jute.maxbuffer`), inclusive."""

MAX_BUFFER_USUAL_MIN_BYTES = 1024
"""A smaller `jute.maxbuffer` is most likely a mistake."""

CONNECT_REQUEST_BYTES = 45
"""Of the request that begins a session, with the flag for read-only servers."""

ACL_MAX_BYTES = MAX_BUFFER_BYTES
"""Largest ACL as it is stored; longer ones, made by `auth` entries, are refused."""

MIN_EXTRA_BYTES = 1024
"""Smallest slack that strings and buffers inside a record get over `jute.maxbuffer`."""

MAX_TTL_MS = 0xFF_FFFF_FFFF
MAX_SERVER_ID_WITH_EXTENDED_TYPES = 254
MAX_INT = 0x7FFF_FFFF

LAST_EPOCH = 0x7FFF_FFFF
EPOCH_LEAP_MAX = 1 << 24
"""How far a peer's epoch may be ahead of one's own, which is half a year of elections each second:
epochs are used up some day, and one wrong number must not do it."""

COMMIT_LOG_MIN_TXNS = 500
SNAP_RETAIN_MIN = 3
SNAP_RETAIN_MIN_BY_SIZE = 2
"""Sound snapshots that a purge keeps however large they are: the newest may be damaged some day."""
SNAP_COUNT_MIN = 2
SESSIONLESS_TIMEOUT_MS = 10_000

OUTPUT_HIGH_WATER_BYTES = 1 << 20
"""A connection with more unsent output than this is not read until it drains."""

OUTPUT_MAX_BYTES = 64 << 20
"""A connection whose unsent output (watch events nobody reads) passes this is closed."""

MULTI_READ_MAX_REPLY_BYTES = 64 << 20
"""Largest answer of one multiRead; larger ones are refused with MARSHALLING_ERROR."""

PENDING_FRAMES_MAX = 4096
"""Requests of one connection that wait behind its own write before reading pauses."""

READS_BEFORE_WRITE_MAX = 32
"""Reads of one connection that wait behind its own write before its next write must wait too:
they are answered before that one is applied, whether or not the peer takes its output."""

IDENTITIES_MAX = 1000
"""Identities of one connection; further auth packets are refused with AUTH_FAILED."""

IDENTITIES_MAX_CHARACTERS = 1 << 18
"""The same for the length of all of them: every write takes them along to the leader."""

assert OUTPUT_HIGH_WATER_BYTES < OUTPUT_MAX_BYTES
assert MAX_BUFFER_BYTES < OUTPUT_MAX_BYTES
