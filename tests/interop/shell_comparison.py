"""Run lines by Apache's zkCli and by `kraal shell` on one server, and compare what they say.

`python -m tests.interop.shell_comparison` prints the figures and whatever differs.

Between the lines of a script stand marks, so that the answers can be told apart. The events of
watches come from another thread in zkCli: they are compared by themselves, but for that of its
own end, which it may outrun. Times, zxids and versions of znodes that the other shell has changed
as well are made equal.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kraal.shell.registry import COMMANDS
from tests.interop import shell_scripts as scripts
from tests.support import servers
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Shape
from tests.support.servers import HOST, KRAAL_PATH, Server, reference_classpath

MARK = "/mark"
MARK_DATA = "=-=-="
TIMEOUT = 110

_NORMAL = (
    (re.compile(r"(cZxid|mZxid|pZxid) = 0x[0-9a-f]+"), r"\1 = 0x…"),
    (re.compile(r"(ctime|mtime) = \w{3} \w{3} \d\d \d\d:\d\d:\d\d \w+ \d{4}"), r"\1 = …"),
    (re.compile(r"(zxid): [1-9]\d*"), r"\1: …"),
    (re.compile(r"version=[0-9a-f]+"), "version=…"),
    (re.compile(r"^[0-9a-f]+ (?=127\.0\.0\.1:\d)", re.M), "… "),
    (re.compile(r"org\.apache\.commons\.cli\.\w+: "), ""),
    (re.compile(r"(?<=CLI version: ).*"), "…"),
    (re.compile(r"JLine support is disabled\n"), ""),
    (re.compile(r"ephemeralOwner = 0x[1-9a-f]\w+"), "ephemeralOwner = 0x…"),
)
_SERVERS = re.compile(r"(?<=… )127[^\n]+")
"""Addresses for clients, which zkCli has in no order."""
_EVENT = re.compile(r"\nWATCHER::\n|\n(WatchedEvent .*)\n")
_OUR_OWN = re.compile(
    rf"^\t({'|'.join(each.name for each in COMMANDS.values() if each.own)}) .*\n", re.M
)


class Said(NamedTuple):
    """What a process has written, and its exit code."""

    code: int
    out: str
    err: str


def zkcli(port: int, words: Sequence[str], lines: str = "", properties: Sequence[str] = ()) -> Said:
    """Apache's shell, without its line editor, which would print prompts into a pipe."""
    directory, _, own = reference_classpath().partition("/*:")
    jars = [str(jar) for jar in Path(directory).glob("*.jar") if "jline" not in jar.name]
    command = [
        "java", "-cp", ":".join([*jars, own]), "-Dreference.level=OFF", "-Dfile.encoding=UTF-8",
        "-XX:TieredStopAtLevel=1", *properties, "org.apache.zookeeper.ZooKeeperMain",
    ]  # fmt: skip
    return _run([*command, "-server", f"{HOST}:{port}", *words], lines)


def kraal_shell(port: int, words: Sequence[str], lines: str = "") -> Said:
    """Our shell, as a process."""
    command = [sys.executable, "-m", "kraal", "shell"]
    return _run([*command, "-server", f"{HOST}:{port}", *words], lines)


def _run(command: Sequence[str], lines: str) -> Said:
    done = subprocess.run(
        command, input=lines.encode(), capture_output=True, check=False, timeout=TIMEOUT,
        env={**os.environ, **KRAAL_PATH},
    )  # fmt: skip
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass(frozen=True)
class Row:
    """What both have said to one line, made equal where it may differ."""

    line: str
    theirs: tuple[str, str]
    ours: tuple[str, str]

    @property
    def is_equal(self) -> bool:
        return self.theirs == self.ours

    def __str__(self) -> str:
        shown = "".join(
            f"  {name}: zkCli {theirs!r}\n  {' ' * len(name)}  kraal {ours!r}\n"
            for name, theirs, ours in zip(("out", "err"), self.theirs, self.ours, strict=True)
            if theirs != ours
        )
        return f"{self.line}\n{shown}"


@dataclass(frozen=True)
class Comparison:
    """One script by both."""

    rows: list[Row]
    their_events: list[str]
    our_events: list[str]

    @property
    def different(self) -> list[Row]:
        return [row for row in self.rows if not row.is_equal]

    @property
    def unexpected(self) -> list[Row]:
        """Rows that differ and should not, or should and do not."""
        return [row for row in self.rows if row.is_equal == (row.line in scripts.DIFFERENCES)]


def compare(port: int, script: str) -> Comparison:
    """Run a script by zkCli and then by kraal shell; each must leave nothing behind."""
    lines = script.strip().splitlines()
    text = "\n".join([f"create {MARK} {MARK_DATA}", *_marked(lines), f"delete {MARK}", "quit", ""])
    theirs = zkcli(port, (), text)
    ours = kraal_shell(port, (), text)
    their_events, their_answers = _answers(theirs)
    our_events, our_answers = _answers(ours)
    assert len(their_answers) == len(lines), f"zkCli ended early: {theirs.err[-3000:]}"
    assert len(our_answers) == len(lines), f"kraal shell ended early: {ours.err[-3000:]}"
    rows = [Row(*each) for each in zip(lines, their_answers, our_answers, strict=True)]
    return Comparison(rows, their_events, our_events)


def _marked(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield from (f"get {MARK}", f"get {MARK}/none", line)
    yield from (f"get {MARK}", f"get {MARK}/none")


def _answers(said: Said) -> tuple[list[str], list[tuple[str, str]]]:
    """The events, and what was written to standard output and error for each line."""
    outs = _EVENT.sub("", said.out).split(f"{MARK_DATA}\n")[1:-1]
    errs = said.err.split(f"Node does not exist: {MARK}/none\n")[1:-1]
    assert len(outs) == len(errs), f"{said.out[-2000:]}{said.err[-2000:]}"
    answers = [(normal(out), normal(err)) for out, err in zip(outs, errs, strict=True)]
    return _events(said.out), answers


def _events(text: str) -> list[str]:
    found = (match[1] for match in _EVENT.finditer(text))
    return [normal(event) for event in found if event and "state:Closed" not in event]


def normal(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, replacement in _NORMAL:
        text = pattern.sub(replacement, text)
    text = _SERVERS.sub(lambda found: ",".join(sorted(found[0].split(","))), text)
    return _OUR_OWN.sub("", text)


def compare_whole(port: int, script: str) -> list[str]:
    """What differs when a script without marks is run by both, from its first word to its last."""
    theirs, ours = zkcli(port, (), script), kraal_shell(port, (), script)
    return _differences(theirs, ours)


def compare_one_shots(port: int) -> list[str]:
    """What differs in the answers and exit codes of commands on the command line."""
    theirs = [zkcli(port, words) for words in scripts.ONE_SHOTS]
    ours = [kraal_shell(port, words) for words in scripts.ONE_SHOTS]
    return [
        f"{' '.join(words)}: {difference}"
        for words, their, our in zip(scripts.ONE_SHOTS, theirs, ours, strict=True)
        for difference in _differences(their, our, with_events=words not in scripts.OFFLINE)
    ]


def _differences(theirs: Said, ours: Said, *, with_events: bool = True) -> list[str]:
    pairs = [("code", str(theirs.code), str(ours.code))]
    for name, their, our in zip(("out", "err"), theirs[1:], ours[1:], strict=True):
        if with_events:
            pairs.append((f"events on {name}", str(_events(their)), str(_events(our))))
        pairs.append((name, normal(_EVENT.sub("", their)), normal(_EVENT.sub("", our))))
    return [f"{what}:\n  zkCli {a!r}\n  kraal {b!r}" for what, a, b in pairs if a != b]


KINDS: Mapping[str, Callable[[Path], Server]] = {"kraal": servers.kraal, "apache": servers.apache}
ALONE: Mapping[str, str] = {"standaloneEnabled": "false", "skipACL": "yes"}
"""Settings of an ensemble of one."""


def ensemble_of_one(directory: Path, kind: str) -> Ensemble:
    """A server whose membership everybody may change."""
    return Ensemble(directory, Shape(participants=(kind,), dynamic=True, settings=ALONE))


def main() -> int:
    found: list[Comparison] = []
    wrong: list[str] = []
    for name, start in KINDS.items():
        with start(Path(tempfile.mkdtemp(prefix="shells-"))) as running:
            found.append(compare(running.port, scripts.STANDALONE))
            wrong += [f"{name}: {each}" for each in compare_whole(running.port, scripts.SESSION)]
            wrong += [f"{name}: {each}" for each in compare_one_shots(running.port)]
        kind = KRAAL if name == "kraal" else APACHE
        with ensemble_of_one(Path(tempfile.mkdtemp(prefix="shells-")), kind) as ensemble:
            ensemble.start()
            found.append(compare(ensemble.members[1].client_port, scripts.ENSEMBLE))
    for each in found:
        wrong += map(str, each.unexpected)
        if each.their_events != each.our_events:
            wrong.append(f"events:\n  zkCli {each.their_events}\n  kraal {each.our_events}")
    rows = [row for each in found for row in each.rows]
    equal = sum(row.is_equal for row in rows)
    print(*wrong, sep="\n")
    print(f"{len(rows)} lines, {equal} equal; {len(wrong)} things that should be otherwise")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
