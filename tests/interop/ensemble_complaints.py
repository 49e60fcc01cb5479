"""What members of an ensemble print that they should not have had to print.

Members lose each other all the time here, and say so. The patterns below are what that explains,
or what Apache ZooKeeper prints among its own kind as well; anything else is a complaint: about a
peer that says something wrong, or about an error of the server's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.ensembles import KRAAL, Ensemble

_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")
_COMPLAINT = re.compile(r" (WARN|WARNING|ERROR|CRITICAL) |\| Traceback")
_NO_NEWS = re.compile(r"^(\tat |\s*\.\.\. \d+ )")

# How a connection ends when a process dies, a link is cut, or nothing is heard for too long.
_LOST = (
    r"java\.io\.EOFException: null|java\.io\.IOException: (Connection reset by peer|Broken pipe)"
    r"|java\.net\.SocketException: (Connection reset|Connection reset by peer|Broken pipe|Socket "
    r"(is )?closed|Closed by interrupt|Connection or outbound has (been )?closed)"
    r"|java\.net\.SocketTimeoutException: (Read|[Cc]onnect) timed out"
    r"|java\.net\.ConnectException: Connection refused"
    r"|javax\.net\.ssl\.SSLHandshakeException: Remote host terminated the handshake"
)


class Harmless(NamedTuple):
    """Entries of the kinds of servers that begin with `kinds` are expected."""

    kinds: str
    pattern: str
    reason: str
    # Only where there are members of these kinds, too.
    beside: str = ""


HARMLESS: tuple[Harmless, ...] = (
    # What a loss of history, or a leader that is gone again, is called.
    Harmless(
        "kraal",
        r"kraal\.replica\.learning (The leader does not know what this server has behind"
        r"|The leader's tree as of)",
        "a minority's writes that nobody agreed on go when it comes back",
    ),
    Harmless(
        "kraal", r"kraal\.server\.member Server \d+ leads, but its quorum port",
        "it was killed or cut off after it had won",
    ),
    # Clients and start.
    Harmless("apache", r"maxCnxns is not configured", "the configuration leaves it out"),
    Harmless(
        "apache",
        rf"NIOServerCnxn - Close of session .* \| (java\.io\.IOException: ZooKeeperServer not "
        rf"running|java\.nio\.channels\.ClosedChannelException: null|{_LOST})",
        "clients try every member and drop connections",
    ),
    Harmless(
        "apache",
        r"CancelledKeyException causing close of session|Missing session 0x[0-9a-f]+ for "
        r"validation",
        "a client has left, or has come twice, before the leader said that it may",
    ),
    Harmless(
        "apache", r"NullPointerException.*ZKDatabase.removeCnxn|Error closing a command socket",
        "a four-letter word before the server is ready",
    ),
    Harmless(
        "",
        r"The server stood still for|fsync-ing the write ahead log|Too busy to snap|Writing \d+ "
        r"transactions took",
        "the disk is shared, and processes are stopped for seconds",
    ),
    # Lost peers.
    Harmless(
        "apache",
        rf"QuorumCnxManager - (Connection broken for id|Exception when using channel|Cannot open "
        rf"channel to|Ignoring exception reading or writing challenge|Failed to send last "
        rf"message).* \| ({_LOST})",
        "a member has died or is cut off",
    ),
    Harmless(
        "apache",
        r"LearnerHandler - Closing connection to peer due to transaction timeout|"
        r"QuorumCnxManager - (Interrupting SendWorker|Interrupted while waiting for message|Send "
        r"worker leaving)|PeerState set to LOOKING|GOODBYE|Ignoring unexpected exception \| "
        r"java\.lang\.InterruptedException",
        "what follows from a lost connection",
    ),
    Harmless(
        "apache",
        rf"(Exception when (following|observing) the leader|Unexpected exception in "
        rf"LearnerHandler:|Exception while sending packets in LearnerHandler|exception during "
        rf"packet send|Exception while shutting down acceptor\.|Unexpected exception, (tries|"
        rf"retries exceeded).*|Failed connect to .*) +\| "
        rf"({_LOST}|java\.io\.IOException: Failed connect to)",
        "leader and learner have lost each other",
    ),
    Harmless(
        "apache",
        rf"Severe unrecoverable error, from thread : (Follower|Observer)RequestProcessor:\d+ \| "
        rf"({_LOST})",
        "a request could not be forwarded to a leader that was lost",
    ),
    Harmless(
        "apache",
        r"Severe unrecoverable error, from thread : SyncThread:\d+ \| "
        r'java\.lang\.NullPointerException: .* because "this\.learner\.sock" is null',
        "acknowledging while the connection is taken down; Apache's own race",
    ),
    Harmless(
        "apache",
        r"Unexpected exception \| java\.lang\.InterruptedException: Timeout while waiting for "
        r"epoch from quorum|Unexpected exception in LearnerHandler\. \| java\.lang\."
        r"InterruptedException",
        "a leader of an election that the others have not followed sits out initLimit",
    ),
    Harmless(
        KRAAL,
        r"Following the leader no longer: (the connection to the leader is closed|nothing was "
        r"heard of the leader)|Closing the connection of .*: (nothing was heard|it has "
        r"acknowledged nothing)|Leading no longer: "
        r"only .* are left|(FOLLOWING|OBSERVING|LEADING) no longer \(.*\): (the connection to the "
        r"leader is closed|nothing was heard|only .* are left|the leader cannot be reached)|"
        r"has ended the connection of this server|Cannot dial (server \d+|the leader) |"
        r"leads, but its quorum port \(.*\) does not answer",
        "members have lost each other",
    ),
    Harmless(KRAAL, r"The leader's tree as of .* takes the place of", "a way to synchronise"),
    Harmless(
        KRAAL, r"LEADING no longer \(.*\): no quorum has (registered|synced) within",
        "a leader of an election that the others have not followed sits out initLimit",
    ),
    # Synchronisation.
    Harmless(
        "apache",
        r"java\.io\.IOException: Follower is ahead of the leader, leader summary",
        "a member that was away has won with the votes of a round that the others have left",
    ),
    Harmless(
        "apache",
        r"Learner - Got zxid 0x([0-9a-f]*)[0-9a-f]{8} expected 0x(?!\1[0-9a-f]{8} )",
        "the first proposal behind a synchronisation, or of an epoch",
    ),
    Harmless(
        "apache",
        r"DIFF sync got new epoch proposal|Truncating log to get in sync|Cannot send TRUNC to peer "
        r"sid: \d+ peer zxid is from different epoch|Unhandled scenario for peer sid: \d+ fall "
        r"back to use snapshot",
        "ways to synchronise",
    ),
    Harmless(
        "apache-3.8",
        r"Exception when following the leader \| java\.lang\.NullPointerException: "
        r'.*"pif" is null',
        "a COMMIT between ACK of NEWLEADER and UPTODATE for a proposal of before; fixed in 3.9",
    ),
    Harmless(
        "apache-3.8",
        r"FileTxnLog - Current zxid \d+ is <= \d+ for|\(highestZxid\) > \d+\(next log\) for type",
        "3.8 logs proposals that it has logged before, and finds them when it recovers",
    ),
    Harmless(
        "apache",
        r"Failed to register MBean|Failed to register with JMX|Could not register connection \| "
        r"javax\.management\.InstanceAlreadyExistsException",
        "the server of the last role is registered still",
    ),
    Harmless(
        "apache-3.9", r"Got EOFException while reading the last processed zxid",
        "snapshots of 3.8 do not end with it", beside="apache-3.8",
    ),
    Harmless("apache", r"Util - Last transaction was partial", "killed while it wrote its log"),
    # Recovery over a snapshot that was written while transactions were applied.
    Harmless(
        "apache",
        r"Ignoring NoNodeException .* for dead session|Digests are not matching|First digest "
        r"mismatch on txn|Message: Digests",
        "transactions applied again over a fuzzy snapshot; the logs' digests are judged elsewhere",
    ),
)  # fmt: skip


def new_complaints(ensemble: Ensemble, read: dict[Path, int]) -> list[str]:
    """Read on in every log; returns the entries that nothing explains, each in one line.

    `read` holds how much of each log was read before, and is brought up to date.
    """
    found: list[str] = []
    kinds = {kind for member in ensemble.members.values() for kind, _ in member.logs}
    for member in ensemble.members.values():
        for kind, path in member.logs:
            with path.open("rb") as log:
                log.seek(read.get(path, 0))
                content = log.read()
            # The last line may be half written.
            whole = content[: content.rfind(b"\n") + 1]
            read[path] = read.get(path, 0) + len(whole)
            text = whole.decode(errors="replace")
            found += [
                f"member {member.id} {path.name}: {line}" for line in complaints(kind, text, kinds)
            ]
    return found


def complaints(kind: str, text: str, kinds: Iterable[str]) -> list[str]:
    """The entries of a member's log that nothing explains, each in one line.

    `kinds` are those of all members that there ever were.
    """
    patterns = [
        harmless.pattern
        for harmless in HARMLESS
        if kind.startswith(harmless.kinds)
        and any(other.startswith(harmless.beside) for other in kinds)
    ]
    return [
        entry
        for entry in entries(text)
        if _COMPLAINT.search(entry) and not any(re.search(p, f"{entry} ") for p in patterns)
    ]


def entries(text: str) -> Iterator[str]:
    """Each entry of a log with what belongs to it, but without the places of stack traces."""
    lines: list[str] = []
    for line in text.splitlines():
        if _ENTRY.match(line) and lines:
            yield " | ".join(lines)
            lines = []
        if line.strip() and not _NO_NEWS.match(line):
            lines.append(line.rstrip())
    if lines:
        yield " | ".join(lines)
