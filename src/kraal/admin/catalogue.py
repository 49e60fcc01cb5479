"""Every metric by its name, kind and meaning: the reference's, then kraal's own.

`mntr`, the admin command `monitor`, the Prometheus endpoint and docs/metrics.md are made from
this table. Source: reference/operations.md section 4, in the reference's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """How a metric is shown."""

    GAUGE = auto()
    COUNTER = auto()
    BASIC = auto()
    """A summary: average, minimum, maximum, count and sum."""
    ADVANCED = auto()
    """A summary with percentiles, too."""


class Where(Enum):
    """Which servers have a gauge; all have counters and summaries."""

    ALL = auto()
    MEMBERS = auto()
    """Members of an ensemble that have a leader."""
    LEADER = auto()
    OBSERVED = auto()
    """The leader, and a follower that serves observers."""
    TLS = auto()
    """Those that speak TLS."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table."""

    name: str
    kind: Kind
    meaning: str
    is_set: bool = False
    """Whether there is one for each value of a key, such as the first element of a path."""
    where: Where = Where.ALL
    is_idle: bool = False
    """Whether it counts something that kraal has not, and stays 0."""


GAUGES = """
ephemerals_count | Ephemeral znodes.
num_alive_connections | Connections of clients.
avg_latency | Average latency of requests since the last reset, ms.
outstanding_requests | Writes in process.
znode_count | Znodes, with those of the system.
global_sessions | Sessions that the whole ensemble knows.
non_mtls_remote_conn_count | Connections from other hosts without TLS to a server that speaks TLS.
last_client_response_size | Bytes of the last response; -1 before the first.
packets_sent | Responses and events sent since the last reset.
packets_received | Requests received since the last reset.
max_client_response_size | Bytes of the largest response; -1 before the first.
connection_drop_probability | Probability that a new connection is dropped. (idle)
watch_count | Watches.
auth_failed_count | Failed TLS handshakes with clients.
min_latency | Least latency of requests since the last reset, ms.
max_file_descriptor_count | File descriptors that the process may open.
approximate_data_size | Bytes of all paths and data.
open_file_descriptor_count | File descriptors that the process has open.
local_sessions | Sessions that only this server knows.
uptime | Time since this server took its role, ms.
max_latency | Largest latency of requests since the last reset, ms.
outstanding_tls_handshake | TLS handshakes with clients under way.
min_client_response_size | Bytes of the smallest response; -1 before the first.
non_mtls_local_conn_count | Connections from this host without TLS to a server that speaks TLS.
quorum_size | Voters in the configuration. (members)
min_proposal_size | Bytes of the smallest proposal; -1 before the first. (leader)
max_proposal_size | Bytes of the largest proposal; -1 before the first. (leader)
last_proposal_size | Bytes of the last proposal; -1 before the first. (leader)
synced_followers | Followers that get proposals. (leader)
synced_non_voting_followers | Those of them that do not vote. (leader)
synced_observers | Observers that get commits. (observed)
pending_syncs | Syncs that wait for a commit. (leader)
leader_uptime | Time since this server began to lead, ms. (leader)
learners | Learners that are connected. (leader)
"""

GAUGE_SETS = """
quota_count_limit_per_namespace | Limit of znodes under a quota, by its top-level znode.
quota_bytes_limit_per_namespace | Limit of bytes under a quota, by its top-level znode.
quota_count_usage_per_namespace | Znodes under a quota, by its top-level znode.
quota_bytes_usage_per_namespace | Bytes under a quota, by its top-level znode.
"""

COUNTERS = """
watch_bytes | Bytes of watch events sent.
stale_requests_dropped | Requests dropped because their connection was gone. (idle)
throttled_ops | Requests refused with ThrottledOp.
insecure_admin_count | Plain requests to an admin port that speaks TLS, too.
connection_rejected | Connections refused by a limit.
sessionless_connections_expired | Connections closed because no session began.
dead_watchers_queued | Dead watchers queued by the optimised watch manager. (idle)
stale_requests | Requests whose connection was gone. (idle)
connection_drop_count | Connections lost without the end of their session.
response_packet_cache_hits | Responses found in the cache of getData. (idle)
bytes_received_count | Bytes received of clients.
add_dead_watcher_stall_time | Time that the optimised watch manager held up requests, ms. (idle)
request_throttle_wait_count | Times that requests of a connection waited for room.
requests_not_forwarded_to_commit_processor | Requests of learners that took a short cut. (idle)
response_packet_cache_misses | Responses not found in the cache of getData. (idle)
prep_processor_request_queued | Requests taken up for processing.
stale_replies | Replies that found no connection. (idle)
response_bytes | Bytes sent to clients.
ensemble_auth_fail | Failed authentications with the scheme `ensemble`. (idle)
diff_count | Learners brought in step by the transactions that they missed.
connection_revalidate_count | Sessions that went on with another connection.
quit_leading_due_to_disloyal_voter | Times that a leader gave up before its epoch began.
unrecoverable_error_count | Errors that end the server. (idle)
unsuccessful_handshake | Failed TLS handshakes with clients.
commit_count | Proposals committed by this leader.
outstanding_changes_queued | Changes of znodes proposed.
request_commit_queued | Committed writes applied.
ensemble_auth_skip | Authentications with the scheme `ensemble` that were skipped. (idle)
skip_learner_request_to_next_processor_count | Requests of learners that took a short cut. (idle)
proposal_count | Proposals made by this leader.
large_requests_rejected | Connections closed because large requests left no room.
outstanding_changes_removed | Changes of znodes applied or dropped.
restore_error_count | Failed restores by the admin command.
cnxn_closed_without_zk_server_running | Connections closed because there was no leader.
looking_count | Elections entered.
snapshot_rate_limited_count | Snapshots by the admin command refused by the rate limit.
learner_proposal_received_count | Proposals received of the leader.
digest_mismatches_count | Transactions behind which the tree was not what it should be.
dead_watchers_cleared | Dead watchers cleared by the optimised watch manager. (idle)
ensemble_auth_success | Authentications with the scheme `ensemble`. (idle)
learner_commit_received_count | Commits received of the leader.
snapshot_error_count | Failed snapshots by the admin command.
connection_request_count | Requests to begin a session or to go on with one.
response_packet_get_children_cache_misses | Responses not found in the cache of lists. (idle)
snap_count | Learners brought in step by the whole tree.
stale_sessions_expired | Sessions that expired.
restore_rate_limited_count | Restores by the admin command refused by the rate limit.
response_packet_get_children_cache_hits | Responses found in the cache of lists. (idle)
sync_processor_request_queued | Transactions handed to the log.
tls_handshake_exceeded | Connections refused because too many TLS handshakes were under way.
revalidate_count | Sessions of learners that the leader was asked about.
"""

COUNTER_SETS = """
quota_exceeded_error_per_namespace | Writes over a quota, by its top-level znode.
"""

BASIC = """
socket_closing_time | Time to close a connection, ms. (idle)
proposal_process_time | Time to make a proposal, ms. (idle)
leader_unavailable_time | Time from the loss of a leader until this server led, ms.
node_created_watch_count | Watchers told of a creation.
session_queues_drained | Queues of sessions emptied at once. (idle)
write_commit_proc_req_queued | Writes in the commit stage. (idle)
connection_token_deficit | Tokens that the connection throttle lacked.
read_commit_proc_req_queued | Reads in the commit stage. (idle)
node_deleted_watch_count | Watchers told of a deletion.
startup_txns_load_time | Time to replay the log at start, ms.
sync_processor_queue_size | Transactions waiting for the log when a flush begins.
follower_sync_time | Time until a follower was in step, ms.
prep_processor_queue_size | Requests waiting to be taken up. (idle)
fsynctime | Time to write and sync the log, ms.
inflight_snap_count | Learners being brought in step by the whole tree.
reads_issued_from_session_queue | Reads taken from the queue of a session. (idle)
restore_time | Time of a restore, ms.
learner_request_processor_queue_size | Requests of learners waiting. (idle)
snapshottime | Time to write a snapshot, ms.
unavailable_time | Time without a leader, ms.
startup_txns_loaded | Transactions replayed at start.
reads_after_write_in_session_queue | Reads that waited behind a write of their session. (idle)
requests_in_session_queue | Requests in the queue of a session. (idle)
write_commit_proc_issued | Writes let through the commit stage. (idle)
prep_process_time | Time to validate a request, ms. (idle)
pending_session_queue_size | Sessions with requests that wait. (idle)
time_waiting_empty_pool_in_commit_processor_read_ms | Time waited for reads to end, ms. (idle)
commit_process_time | Time of a turn of the commit stage, ms. (idle)
dbinittime | Time to load the data directory, ms.
inflight_diff_count | Learners being brought in step by transactions.
netty_queued_buffer_capacity | Bytes queued by Netty. (idle)
election_time | Time of an election, ms.
commit_commit_proc_req_queued | Commits in the commit stage. (idle)
sync_processor_batch_size | Transactions of one flush of the log.
node_children_watch_count | Watchers told of a change of children.
write_batch_time_in_commit_processor | Time of a batch of writes, ms. (idle)
read_commit_proc_issued | Reads let through the commit stage. (idle)
concurrent_request_processing_in_commit_processor | Requests served at the same time. (idle)
observer_sync_time | Time until an observer was in step, ms.
node_changed_watch_count | Watchers told of a change of data.
sync_process_time | Time of the log stage, ms.
startup_snap_load_time | Time to load the snapshot at start, ms.
"""

ADVANCED = """
prep_processor_queue_time_ms | Time that a request waited to be taken up. (idle)
jvm_pause_time_ms | Turns of the event loop that came late, by how much.
close_session_prep_time | Time to validate the end of a session. (idle)
read_commitproc_time_ms | Time of a read in the commit stage. (idle)
updatelatency | Latency of writes, ms.
local_write_committed_time_ms | Time of a write of this server's client until its commit, ms.
request_throttle_queue_time_ms | Time of a request in the throttle. (idle)
readlatency | Latency of reads, ms.
quorum_ack_latency | From a proposal until a quorum has acknowledged it, ms.
om_commit_process_time_ms | Time of an observer master for a commit. (idle)
read_final_proc_time_ms | Time to answer a read. (idle)
commit_propagation_latency | From the leader's clock at a transaction to its commit here, ms.
dead_watchers_cleaner_latency | Time to clear dead watchers. (idle)
write_final_proc_time_ms | Time to apply a write. (idle)
proposal_ack_creation_latency | From a transaction's arrival until it is acknowledged, ms.
proposal_latency | From the leader's clock at a transaction to its proposal here, ms.
om_proposal_process_time_ms | Time of an observer master for a proposal. (idle)
sync_processor_queue_and_flush_time_ms | Time of a transaction in the log stage.
propagation_latency | From the leader's clock at a transaction to its effect here, ms.
server_write_committed_time_ms | Time of another server's write until its commit. (idle)
sync_processor_queue_time_ms | Time that a transaction waited for the log.
sync_processor_queue_flush_time_ms | Time of a flush of the log.
write_commitproc_time_ms | Time of a write in the commit stage. (idle)
"""

BASIC_SETS = """
learner_handler_qp_size | Packets queued for a learner, by its id. (idle)
read_per_namespace | Bytes read, by the first element of the path.
write_per_namespace | Bytes written, by the first element of the path.
"""

ADVANCED_SETS = """
learner_handler_qp_time_ms | Time that packets waited for a learner, by its id. (idle)
ack_latency | From a proposal to the acknowledgement of a server, by its id; of some proposals.
"""

KRAALS_OWN = """
kraal_disk_free_bytes | Bytes free where the data is; the least of both directories.
kraal_zxid_counter_remaining | Transactions that the present epoch has room for.
kraal_certificate_expiry_time_seconds | When the first certificate expires, s since 1970. (tls)
kraal_disk_writes_refused | 1 while writes are refused for want of room, or of the log; else 0.
"""
"""Gauges that the reference has not."""

KRAALS_OWN_COUNTERS = """
kraal_near_limit_requests | Writes that are larger than four fifths of `jute.maxbuffer`.
kraal_too_long_requests | Requests refused because they are longer than `jute.maxbuffer`.
kraal_tree_resyncs | Times that this member's tree differed and gave way to the leader's.
kraal_watches_refused | Requests for more watches than `maxWatchesPerSession`.
kraal_near_limit_answers | Answers that are larger than four fifths of `jute.maxbuffer`.
"""

KRAAL_PREFIX = "kraal_"

_WHERE = {
    "(members)": Where.MEMBERS,
    "(leader)": Where.LEADER,
    "(observed)": Where.OBSERVED,
    "(tls)": Where.TLS,
}


def _rows(table: str, kind: Kind, *, is_set: bool = False) -> list[Metric]:
    rows = []
    for line in table.strip().splitlines():
        name, _, meaning = line.partition(" | ")
        where, is_idle = Where.ALL, meaning.endswith(" (idle)")
        meaning = meaning.removesuffix(" (idle)")
        for mark, which in _WHERE.items():
            if meaning.endswith(mark):
                meaning, where = meaning.removesuffix(f" {mark}"), which
        rows.append(Metric(name, kind, meaning, is_set, where, is_idle))
    return rows


CATALOGUE: tuple[Metric, ...] = (
    *_rows(GAUGES, Kind.GAUGE),
    *_rows(GAUGE_SETS, Kind.GAUGE, is_set=True),
    *_rows(COUNTERS, Kind.COUNTER),
    *_rows(COUNTER_SETS, Kind.COUNTER, is_set=True),
    *_rows(BASIC, Kind.BASIC),
    *_rows(ADVANCED, Kind.ADVANCED),
    *_rows(BASIC_SETS, Kind.BASIC, is_set=True),
    *_rows(ADVANCED_SETS, Kind.ADVANCED, is_set=True),
    *_rows(KRAALS_OWN, Kind.GAUGE),
    *_rows(KRAALS_OWN_COUNTERS, Kind.COUNTER),
)
