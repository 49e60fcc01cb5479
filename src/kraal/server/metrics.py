"""The server's metrics by their reference names, gathered when somebody asks.

Source: reference/operations.md sections 4.2 to 4.4.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from kraal.admin import java_text
from kraal.model.path import first_element
from kraal.model.zxid import counter
from kraal.pipeline.counters import Counters, Counts
from kraal.pipeline.summary import Summary, merged
from kraal.replica.leading import Leading
from kraal.replica.replica import Replica
from kraal.replica.status import Distribution, Figures, LeaderStatus, Mode, ServerStatus
from kraal.tree import quota
from kraal.tree.data_tree import DataTree

_NOTHING = Distribution()
LAST_COUNTER = 0xFFFF_FFFF
_COUNTS = {
    "watch_bytes": "watch_bytes",
    "throttled_ops": "requests_throttled",
    "unsuccessful_handshake": "handshakes_failed",
    "auth_failed_count": "handshakes_failed",
    "tls_handshake_exceeded": "handshakes_exceeded",
    "non_mtls_local_conn_count": "plain_local_connections",
    "non_mtls_remote_conn_count": "plain_remote_connections",
    "insecure_admin_count": "insecure_admin_requests",
    "connection_rejected": "connections_rejected",
    "sessionless_connections_expired": "sessionless_expired",
    "connection_drop_count": "connections_dropped",
    "bytes_received_count": "bytes_received",
    "request_throttle_wait_count": "requests_stalled",
    "response_bytes": "bytes_sent",
    "diff_count": "diffs_sent",
    "connection_revalidate_count": "connections_revalidated",
    "commit_count": "commits",
    "outstanding_changes_queued": "changes_installed",
    "outstanding_changes_removed": "changes_installed",
    "proposal_count": "proposals",
    "large_requests_rejected": "large_requests_rejected",
    "restore_error_count": "restore_errors",
    "cnxn_closed_without_zk_server_running": "closed_without_server",
    "looking_count": "elections",
    "snapshot_rate_limited_count": "snapshots_rate_limited",
    "learner_proposal_received_count": "proposals_received",
    "digest_mismatches_count": "digest_mismatches",
    "learner_commit_received_count": "commits_received",
    "snapshot_error_count": "snapshot_errors",
    "connection_request_count": "connect_requests",
    "snap_count": "snapshots_sent",
    "stale_sessions_expired": "sessions_expired",
    "restore_rate_limited_count": "restores_rate_limited",
    "revalidate_count": "sessions_revalidated",
    "quit_leading_due_to_disloyal_voter": "disloyal_voters",
    "kraal_tree_resyncs": "tree_resyncs",
    "kraal_too_long_requests": "requests_too_long",
    "kraal_near_limit_requests": "near_limit_writes",
    "kraal_near_limit_answers": "near_limit_answers",
    "kraal_watches_refused": "watches_refused",
}
"""Counters: the reference's name and ours."""

_SUMMARIES = {
    "leader_unavailable_time": "leader_unavailable_time",
    "startup_txns_load_time": "replay_time",
    "follower_sync_time": "follower_sync_time",
    "fsynctime": "fsync",
    "inflight_snap_count": "snapshots_under_way",
    "restore_time": "restore_time",
    "snapshottime": "snapshot_time",
    "unavailable_time": "unavailable_time",
    "startup_txns_loaded": "replayed",
    "dbinittime": "recovery_time",
    "inflight_diff_count": "diffs_under_way",
    "election_time": "election_time",
    "sync_processor_batch_size": "sync_batches",
    "sync_processor_queue_size": "sync_batches",
    "connection_token_deficit": "token_deficit",
    "local_write_committed_time_ms": "update_latency",
    "observer_sync_time": "observer_sync_time",
    "sync_process_time": "fsync",
    "startup_snap_load_time": "snapshot_load_time",
    "jvm_pause_time_ms": "pauses",
    "updatelatency": "update_latency",
    "readlatency": "read_latency",
    "proposal_latency": "proposal_latency",
    "sync_processor_queue_and_flush_time_ms": "wait_and_sync",
    "propagation_latency": "propagation",
    "sync_processor_queue_time_ms": "sync_waits",
    "sync_processor_queue_flush_time_ms": "fsync",
}
"""Summaries: the reference's name and ours."""


def figures(
    status: ServerStatus,
    counters: Counters,
    replica: Replica | None,
    learner_ids: Iterable[int],
    *,
    disk: tuple[int, bool],
    certificate_expiry_s: int | None = None,
    lifetime: bool,
) -> Figures:
    """All metrics of a server that has this status.

    `disk` is how many bytes are free, and whether writes are refused for its sake;
    `certificate_expiry_s` is when the first TLS certificate in use expires.
    """
    parts: Sequence[Counts] = (counters.before, counters) if lifetime else (counters,)
    tree = replica.tree if replica is not None else DataTree()
    ensemble = status.ensemble
    leads = isinstance(replica, Leading)
    load = counters.load
    reads = (load.reads_before, load.reads) if lifetime else (load.reads,)
    writes = (load.writes_before, load.writes) if lifetime else (load.writes,)
    batches, acks = _summary("sync_batches", parts), [part.ack_latency for part in parts]
    numbers: dict[str, int | float] = {
        **_gauges(status, counters),
        **_process_gauges(),
        "kraal_zxid_counter_remaining": LAST_COUNTER - counter(max(status.last_zxid, 0)),
        "kraal_disk_free_bytes": disk[0],
        "kraal_disk_writes_refused": int(disk[1]),
        **{name: _count(ours, parts) for name, ours in _COUNTS.items()},
        "prep_processor_request_queued": counters.received if leads else 0,
        "request_commit_queued": _count("commits", parts) or _count("commits_received", parts),
        "sync_processor_request_queued": sum(each.total for each in batches),
    }
    if certificate_expiry_s is not None:
        numbers["kraal_certificate_expiry_time_seconds"] = certificate_expiry_s
    if ensemble is not None and ensemble.peer_state is not None:
        numbers["quorum_size"] = len(ensemble.config.voters)
        if ensemble.synced_observers is not None:
            numbers["synced_observers"] = ensemble.synced_observers
        if ensemble.leader is not None:
            numbers |= _leader_gauges(ensemble.leader)
    return Figures(
        numbers=numbers,
        sets=quota_sets(tree),
        summaries=Distributions(
            {
                **{name: _summary(ours, parts) for name, ours in _SUMMARIES.items()},
                **{
                    f"node_{kind}_watch_count": [part.watches_fired[kind] for part in parts]
                    for kind in counters.watches_fired
                },
                **_quorum_summaries(status, parts),
            }
        ),
        summary_sets={
            "read_per_namespace": _together(reads),
            "write_per_namespace": _together(writes),
            "ack_latency": _together(
                [{str(server_id): each for server_id, each in table.items()} for table in acks]
            ),
            "learner_handler_qp_size": {str(sid): Distribution() for sid in learner_ids},
            "learner_handler_qp_time_ms": {str(sid): Distribution() for sid in learner_ids},
        },
    )


def _count(name: str, parts: Sequence[Counts]) -> int:
    numbers: list[int] = [getattr(part, name) for part in parts]
    return sum(numbers)


def _summary(name: str, parts: Sequence[Counts]) -> list[Summary]:
    return [getattr(part, name) for part in parts]


def _quorum_summaries(status: ServerStatus, parts: Sequence[Counts]) -> dict[str, list[Summary]]:
    """What only members of an ensemble count."""
    if status.ensemble is None:
        return {}
    acknowledged = {"proposal_ack_creation_latency": _summary("wait_and_sync", parts)}
    if status.mode is Mode.LEADER:
        return acknowledged | {"quorum_ack_latency": _summary("quorum_latency", parts)}
    return acknowledged | {"commit_propagation_latency": _summary("propagation", parts)}


def _gauges(status: ServerStatus, counters: Counters) -> dict[str, int | float]:
    sizes = counters.response_sizes
    return {
        "ephemerals_count": status.ephemerals_count,
        "num_alive_connections": status.connections,
        "avg_latency": java_text.average(status.latency.average_ms),
        "min_latency": status.latency.minimum_ms,
        "max_latency": status.latency.maximum_ms,
        "outstanding_requests": status.outstanding,
        "znode_count": status.node_count,
        "global_sessions": status.session_count,
        "local_sessions": status.local_session_count,
        "packets_sent": status.sent,
        "packets_received": status.received,
        "watch_count": status.watch_count,
        "approximate_data_size": status.approximate_data_bytes,
        "uptime": status.uptime_ms,
        "outstanding_tls_handshake": status.handshakes,
        "last_client_response_size": sizes.last,
        "max_client_response_size": sizes.maximum,
        "min_client_response_size": sizes.minimum,
    }


def _leader_gauges(leader: LeaderStatus) -> dict[str, int]:
    return {
        "learners": leader.learners,
        "synced_followers": leader.synced_followers,
        "synced_non_voting_followers": leader.synced_non_voting_followers,
        "synced_observers": leader.synced_observers,
        "pending_syncs": leader.pending_syncs,
        "leader_uptime": leader.uptime_ms,
        "last_proposal_size": leader.last_proposal_bytes,
        "min_proposal_size": leader.min_proposal_bytes,
        "max_proposal_size": leader.max_proposal_bytes,
    }


def _process_gauges() -> dict[str, int]:
    """What the reference asks its virtual machine, here of the operating system."""
    return {
        "open_file_descriptor_count": _open_descriptors(),
        "max_file_descriptor_count": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def _open_descriptors() -> int:
    """Newer kernels say the number as the directory's size; listing costs with each of them."""
    try:
        if size := Path("/proc/self/fd").stat().st_size:
            return size
    except OSError:
        pass
    return sum(1 for _ in Path("/dev/fd").iterdir())


def quota_sets(tree: DataTree) -> dict[str, dict[str, int]]:
    """Limits, usage and refusals by the top-level znode; -1 is no limit.

    Several quotas below one are added up.
    """
    names = (
        "quota_count_limit_per_namespace", "quota_bytes_limit_per_namespace",
        "quota_count_usage_per_namespace", "quota_bytes_usage_per_namespace",
    )  # fmt: skip
    sets: dict[str, dict[str, int]] = {name: {} for name in names}
    for path in tree.quotas.paths:
        key = first_element(path).decode("utf-8", "replace")
        limits = tree.nodes.get(quota.limits_path(path))
        used = tree.nodes.get(quota.stats_path(path))
        values = (
            *quota.shown_limits(limits.data if limits is not None else None),
            *quota.shown_usage(used.data if used is not None else None),
        )
        for name, value in zip(names, values, strict=True):
            before = sets[name].get(key, -1)
            sets[name][key] = value if before < 0 else before + max(value, 0)
    sets["quota_exceeded_error_per_namespace"] = {
        top.decode("utf-8", "replace"): count for top, count in tree.quotas.exceeded.items()
    }
    return sets


def distribution(summary: Summary) -> Distribution:
    """The figures of a summary, as they are now."""
    buckets = tuple(summary.buckets())
    if not buckets:
        return _NOTHING
    return Distribution(
        minimum=summary.minimum,
        maximum=summary.maximum,
        total=summary.total,
        count=summary.count,
        buckets=buckets,
    )


class Distributions(Mapping[str, Distribution]):
    """By name, each of the values of all its summaries; worked out when somebody looks.

    There are hundreds, and whoever prints them all has other things to do in between.
    """

    def __init__(self, summaries: Mapping[str, Sequence[Summary]]) -> None:
        self._summaries = summaries

    def __getitem__(self, name: str) -> Distribution:
        return distribution(merged(*self._summaries[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._summaries)

    def __len__(self) -> int:
        return len(self._summaries)


def _together(tables: Sequence[Mapping[str, Summary]]) -> Distributions:
    """What any of the tables has of a name."""
    names = dict.fromkeys(name for table in tables for name in table)
    return Distributions(
        {name: [table[name] for table in tables if name in table] for name in names}
    )
