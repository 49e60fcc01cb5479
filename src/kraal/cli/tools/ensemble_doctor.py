"""What the members of a running ensemble say of themselves, and what is wrong with it.

Asks by four-letter words, so members may be kraal or Apache ZooKeeper; `mntr` and `ruok` are
only answered where the whitelist has them, and the examination does with `srvr` alone.
Meanings: reference/operations.md sections 2.2 and 4.2.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

from kraal.errors import ConfigError
from kraal.model.zxid import epoch, show
from kraal.storage.inspection.findings import Report, Severity

LIMIT_SECONDS = 5.0
DEFAULT_PORT = 2181
PORT_MAX = 65535
_ANSWER_MAX_BYTES = 1 << 20
_NOT_SERVING = "not currently serving"
_NOT_ALLOWED = "not in the whitelist"
_ZXID = re.compile(r"^Zxid: 0x([0-9a-f]+)$", re.MULTILINE)
_MODE = re.compile(r"^Mode: (\S+)$", re.MULTILINE)
_VERSION = re.compile(r"^Zookeeper version: ([^,-]+)", re.MULTILINE)
_FSYNC_SLOW_MS = 1000
_LAG_MAX = 10_000
_FILES_SHARE = 0.9
_HOST = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(slots=True)
class Asked:
    """One member and its answers."""

    name: str
    host: str
    port: int
    answers: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def mode(self) -> str | None:
        found = _MODE.search(self.answers.get("srvr", ""))
        return found[1] if found else None

    @property
    def zxid(self) -> int | None:
        found = _ZXID.search(self.answers.get("srvr", ""))
        return int(found[1], 16) if found else None

    @property
    def version(self) -> str | None:
        found = _VERSION.search(self.answers.get("srvr", ""))
        return found[1] if found else None

    def figure(self, name: str) -> float | None:
        """A number of `mntr`, if it was answered and has it."""
        for line in self.answers.get("mntr", "").splitlines():
            key, _, value = line.partition("\t")
            if key == f"zk_{name}":
                try:
                    return float(value)
                except ValueError:
                    return None
        return None


def members_of(target: str) -> list[Asked]:
    """`host:port,host:port`, as a connect string; a chroot at its end does not count."""
    asked = []
    for part in target.partition("/")[0].split(","):
        found = _HOST.fullmatch(part.strip())
        if found is None:
            raise ConfigError(f"{part!r} is no host:port, and no file or directory either")
        host = found["six"] or found["host"]
        port = int(found["port"] or DEFAULT_PORT)
        if not 0 < port <= PORT_MAX:
            raise ConfigError(f"{part!r}: there is no port {port}")
        asked.append(Asked(part.strip(), host, port))
    return asked


async def ask(host: str, port: int, word: str) -> str:
    """The answer to a four-letter word. Raises OSError, TimeoutError included."""
    async with asyncio.timeout(LIMIT_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(word.encode())
            answer = b""
            while len(answer) < _ANSWER_MAX_BYTES and (piece := await reader.read(1 << 16)):
                answer += piece
            return answer.decode(errors="replace")
        finally:
            writer.close()


async def _interview(member: Asked) -> None:
    try:
        for word in ("srvr", "mntr", "ruok"):
            member.answers[word] = await ask(member.host, member.port, word)
    except TimeoutError:
        member.error = f"does not answer within {LIMIT_SECONDS:.0f} s"
    except UnicodeError:
        member.error = "is no name of a host"
    except OSError as error:
        member.error = error.strerror or str(error)


async def diagnosed(target: str) -> tuple[Report, list[Asked]]:
    """Ask everybody at once and compare. ConfigError when `target` names nobody."""
    members = members_of(target)
    await asyncio.gather(*map(_interview, members))
    report = Report()
    for member in members:
        _judge(report, member)
    if len(members) > 1 or any(m.mode in ("leader", "follower", "observer") for m in members):
        _compare(report, members)
    return report, members


def _judge(report: Report, member: Asked) -> None:
    """What one member's own answers tell."""
    name = member.name
    if member.error:
        report.add(
            "unreachable", Severity.ERROR, f"{name}: {member.error}",
            remedy="is it running, does it listen there, does a firewall let you through?",
        )  # fmt: skip
        return
    srvr = member.answers["srvr"]
    if _NOT_SERVING in srvr:
        report.add(
            "not-serving", Severity.ERROR, f"{name} runs and has no leader",
            remedy="look whether a majority of the voters is there, and into its log",
        )  # fmt: skip
    elif member.mode is None:
        report.add("not-understood", Severity.ERROR, f"{name} answers {srvr[:80]!r}")
    if _NOT_ALLOWED in member.answers["mntr"]:
        report.add(
            "mntr-closed", Severity.NOTE, f"{name} does not answer mntr, so less can be said",
            remedy="4lw.commands.whitelist=srvr,mntr,ruok",
        )  # fmt: skip
    if member.mode == "read-only":
        report.add("read-only", Severity.ERROR, f"{name} serves reads only: it has no leader")
    if member.figure("kraal_disk_writes_refused"):
        report.add(
            "disk-full", Severity.ERROR, f"{name} refuses writes: its disk is full",
            remedy="make room: kraal purge, autopurge.retainBytes, or a larger disk",
        )  # fmt: skip
    if count := member.figure("digest_mismatches_count"):
        report.add(
            "digest-mismatch", Severity.ERROR,
            f"{name} saw {count:.0f} differences between its tree and the leader's",
            remedy="where kraal_tree_resyncs has not grown: stop it, move its version-2 away, start"
            " it again",
        )  # fmt: skip
    slow = member.figure("max_fsynctime")
    if slow is not None and slow > _FSYNC_SLOW_MS:
        report.add(
            "slow-disk", Severity.WARNING,
            f"{name} needed up to {slow:.0f} ms to write its log",
            remedy="give the transaction log a disk of its own (dataLogDir)",
        )  # fmt: skip
    used, most = (
        member.figure("open_file_descriptor_count"),
        member.figure("max_file_descriptor_count"),
    )
    if used is not None and most and used > _FILES_SHARE * most:
        report.add(
            "few-descriptors", Severity.WARNING,
            f"{name} uses {used:.0f} of {most:.0f} file descriptors",
            remedy="raise the limit (ulimit -n), or look who connects so often",
        )  # fmt: skip


def _compare(report: Report, members: list[Asked]) -> None:
    """What only shows beside the others."""
    leaders = [member for member in members if member.mode == "leader"]
    serving = [member for member in members if member.zxid is not None]
    if not leaders and serving:
        report.add(
            "no-leader-seen", Severity.WARNING, "none of these servers says that it leads",
            remedy="name all members, or look whether one of them is missing here",
        )  # fmt: skip
    if len(leaders) > 1:
        names = " and ".join(member.name for member in leaders)
        report.add(
            "several-leaders", Severity.ERROR, f"{names} all lead: these are several ensembles",
            remedy="compare their server.N lines and dynamic files",
        )  # fmt: skip
    if any(member.mode == "standalone" for member in members) and len(members) > 1:
        alone = ", ".join(member.name for member in members if member.mode == "standalone")
        report.add(
            "standalone", Severity.ERROR, f"{alone} stands alone and shares no data with others",
            remedy="give it the server.N lines of all members, and its myid",
        )  # fmt: skip
    if len(leaders) == 1:
        _compare_with(report, leaders[0], members)
    versions = {member.version for member in members if member.version}
    if len(versions) > 1:
        listed = ", ".join(sorted(filter(None, versions)))
        report.add("mixed-versions", Severity.NOTE, f"the members are of versions {listed}")


def _compare_with(report: Report, leader: Asked, members: list[Asked]) -> None:
    assert leader.zxid is not None
    for member in members:
        if member is leader or member.zxid is None or member.mode == "standalone":
            continue
        if epoch(member.zxid) > epoch(leader.zxid) or (
            epoch(member.zxid) == epoch(leader.zxid) and leader.zxid - member.zxid > _LAG_MAX
        ):
            report.add(
                "far-behind", Severity.WARNING,
                f"{member.name} is at {show(member.zxid)}, the leader at {show(leader.zxid)}",
            )  # fmt: skip
    learners, synced = leader.figure("learners"), leader.figure("synced_followers")
    observers = leader.figure("synced_observers") or 0
    if learners is not None and synced is not None and synced + observers < learners:
        report.add(
            "not-in-step", Severity.WARNING,
            f"{learners - synced - observers:.0f} of {learners:.0f} learners are not in step",
        )  # fmt: skip
    quorum = leader.figure("quorum_size")
    if quorum and synced is not None and synced + 1 <= quorum // 2 + 1 and quorum > 1:
        report.add(
            "no-spare", Severity.WARNING,
            f"{synced + 1:.0f} of {quorum:.0f} voters are there: the next loss stops all writes",
            remedy="bring the missing members back",
        )  # fmt: skip
