"""The reference's record group `proto`: requests and responses of the client protocol.

Layouts: reference/client-protocol.md sections 2.2, 2.3, 3.3 and 3.4. The hottest reads are
taken apart in `kraal.pipeline.read` without a record object.
"""

from __future__ import annotations

from kraal.wire.jute.schema import (
    AclVector,
    Bool,
    Buffer,
    Int,
    Long,
    Record,
    Text,
    UString,
    UStrings,
    record,
)


@record
class ConnectRequest(Record):
    protocol_version: Int
    last_zxid_seen: Long
    timeout_ms: Int
    session_id: Long
    password: Buffer


@record
class ConnectResponse(Record):
    protocol_version: Int
    timeout_ms: Int
    session_id: Long
    password: Buffer


@record
class CreateRequest(Record):
    path: UString
    data: Buffer
    acl: AclVector
    flags: Int


@record
class CreateTtlRequest(Record):
    path: UString
    data: Buffer
    acl: AclVector
    flags: Int
    ttl_ms: Long


@record
class DeleteRequest(Record):
    path: UString
    version: Int


@record
class DeleteContainerRequest(Record):
    path: Buffer


@record
class SetDataRequest(Record):
    path: UString
    data: Buffer
    version: Int


@record
class SetAclRequest(Record):
    path: UString
    acl: AclVector
    version: Int


@record
class CheckVersionRequest(Record):
    path: UString
    version: Int


@record
class ReconfigRequest(Record):
    joining_servers: Text
    leaving_servers: Text
    new_members: Text
    cur_config_id: Long


@record
class PathRequest(Record):
    """getACL, sync, getAllChildrenNumber and getEphemerals carry one string."""

    path: UString


@record
class PathWatchRequest(Record):
    """exists, getData and getChildren, where they are not taken apart in place."""

    path: UString
    watch: Bool


@record
class WatchModeRequest(Record):
    """addWatch (mode), checkWatches and removeWatches (watcher type)."""

    path: UString
    mode: Int


@record
class SetWatches(Record):
    relative_zxid: Long
    data_watches: UStrings
    exist_watches: UStrings
    child_watches: UStrings


@record
class SetWatches2(Record):
    relative_zxid: Long
    data_watches: UStrings
    exist_watches: UStrings
    child_watches: UStrings
    persistent_watches: UStrings
    persistent_recursive_watches: UStrings


@record
class AuthPacket(Record):
    type: Int
    scheme: Text
    auth: Buffer


@record
class SaslRequest(Record):
    token: Buffer


@record
class CreateSessionRequest(Record):
    timeout_ms: Int


@record
class WatcherEvent(Record):
    type: Int
    state: Int
    path: UString
