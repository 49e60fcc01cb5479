"""Differential test: the same random requests to two servers must have the same effects.

Run `python -m tests.interop.differential --seed 1 --requests 10000` to compare Apache ZooKeeper
with kraal. Every reply, zxid, Stat, error code and watch event is compared, in order, and at the
end the whole tree. The first difference is printed with the steps before it and the command that
replays it. With `--ensemble` each side is an ensemble of three members and an observer, and the
sessions are spread over its members: see `differential_ensemble`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from tests.interop.differential_ensemble import two_ensembles
from tests.interop.differential_generator import Generator, Variant
from tests.interop.differential_rules import Plain
from tests.interop.differential_shrink import shrink
from tests.interop.differential_side import Coverage, Outcome, Pausing, Side
from tests.interop.differential_steps import Step
from tests.support import servers
from tests.support.ensembles import known_kind

SHOWN_STEPS = 20
KINDS = ("apache", "kraal")
# Not to be reaped at a time that differs: containers and TTL nodes outlive the run.
_NO_REAPER = {"znode.container.checkIntervalMs": 86_400_000}


@dataclass
class Difference:
    """Where two servers first disagreed; `number` counts steps of the full script."""

    number: int
    step: str
    left: Outcome
    right: Outcome
    recent: list[str] = field(default_factory=list)


@dataclass
class Result:
    """How a run ended, and what it covered on the left server."""

    differences: list[Difference]
    steps: int
    requests: int
    seconds: float
    coverage: Coverage
    operations: Counter[str]
    directory: Path | None = None

    @property
    def difference(self) -> Difference | None:
        return self.differences[0] if self.differences else None


def make_server(kind: str, directory: Path, variant: Variant) -> servers.Server:
    settings = {**variant.settings(), "forceSync": "no"}
    if kind == "apache":
        return servers.apache(directory, settings=settings, properties=_NO_REAPER)
    return servers.kraal(directory, settings={**settings, **_NO_REAPER})


@contextmanager
def two_sides(
    kinds: Sequence[str], variant: Variant, directory: Path
) -> Iterator[tuple[Side, Side]]:
    """Two fresh servers with their data and logs below `directory`."""
    with ExitStack() as stack:
        sides = []
        for place, kind in zip(("left", "right"), kinds, strict=True):
            server = stack.enter_context(make_server(kind, directory / place, variant))
            side = Side(server.port)
            stack.callback(side.close)
            sides.append(side)
        yield sides[0], sides[1]


def members_of(kind: str) -> list[str]:
    """The members of an ensemble: four of one kind, or a list of four kinds."""
    kinds = kind.split(",")
    return [known_kind(name) for name in (kinds * 4 if len(kinds) == 1 else kinds)]


def together(left: Pausing, right: Pausing) -> tuple[Outcome, Outcome]:
    """Run a step on both servers at once: each works while the other is sent to or read."""
    outcomes: dict[int, Outcome] = {}
    running = {0: left, 1: right}
    while running:
        for number, steps in list(running.items()):
            try:
                next(steps)
            except StopIteration as end:
                outcomes[number] = end.value
                del running[number]
    return outcomes[0], outcomes[1]


def compare(
    script: Sequence[tuple[int, Step]],
    left: Side,
    right: Side,
    *,
    progress: bool = False,
    limit: int = 1,
) -> Result:
    """Run numbered steps on both sides, then compare the trees; stop at `limit` differences."""
    began = reported = time.monotonic()
    operations: Counter[str] = Counter()
    requests = done = 0
    found: list[Difference] = []
    for done, (number, step) in enumerate(script, start=1):
        outcomes = together(left.run(step), right.run(step))
        requests += step.requests
        operations.update(str(call.op) for call in step.calls)
        if outcomes[0] != outcomes[1]:
            recent = [f"{n}: {s}" for n, s in script[max(0, done - SHOWN_STEPS) : done]]
            found.append(Difference(number, str(step), *outcomes, recent))
            if len(found) == limit:
                break
        if progress and time.monotonic() - reported > 5:
            reported = time.monotonic()
            print(f"  {done} steps, {requests} requests, {reported - began:.0f} s", flush=True)
    else:
        dumps = together(left.dump(), right.dump())
        if dumps[0] != dumps[1]:
            last = script[-1][0] if script else 0
            found.append(Difference(last, "dump of the tree", *dumps))
    seconds = time.monotonic() - began
    return Result(found, done, requests, seconds, left.coverage, operations)


def run(
    seed: int,
    requests: int,
    kinds: Sequence[str] = KINDS,
    *,
    only: Sequence[int] | None = None,
    progress: bool = False,
    keep: bool = False,
    limit: int = 1,
    ensemble: bool = False,
) -> Result:
    """Compare two fresh servers, or ensembles, on the script of a seed or some of its steps.

    With `keep` the data and logs of servers that differ stay where `Result.directory` says.
    """
    script = list(enumerate(Generator(seed, requests, ensemble), start=1))
    if only is not None:
        script = [script[number - 1] for number in only]
    directory = Path(tempfile.mkdtemp(prefix="differential-"))
    variant = Variant.of(seed)
    if ensemble:
        fresh = two_ensembles([members_of(kind) for kind in kinds], variant, directory)
    else:
        fresh = two_sides(kinds, variant, directory)
    with fresh as (left, right):
        result = compare(script, left, right, progress=progress, limit=limit)
    if keep and result.difference is not None:
        result.directory = directory
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return result


# ---- Reports ------------------------------------------------------------------------------


def describe(difference: Difference, kinds: Sequence[str], command: str = "") -> str:
    """The difference, line by line only where the servers disagree, and how it came about."""
    lines = [f"DIFFERENCE at step {difference.number}: {difference.step}", ""]
    titles = tuple(f"{side} ({kind})" for side, kind in zip(("left", "right"), kinds, strict=True))
    absent: tuple[str, list[Plain]] = ("absent", [])
    for left, right in zip_longest(difference.left, difference.right, fillvalue=absent):
        if left == right:
            continue
        lines.append(f"  {left[0]}" if left[0] == right[0] else f"  {left[0]} / {right[0]}")
        for one, other in zip_longest(left[1], right[1]):
            if one == other:
                lines.append(f"      both           {_short(one)}")
            else:
                lines.append(f"    ! {titles[0]:15}{_short(one)}")
                lines.append(f"    ! {titles[1]:15}{_short(other)}")
    if command:
        lines += ["", "last steps:", *(f"  {step}" for step in difference.recent), ""]
        lines.append(f"replay: {command}")
    return "\n".join(lines)


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 2000 else f"{text[:1990]}… ({len(text)} characters)"


def report(result: Result) -> str:
    """What a run has covered."""
    coverage = result.coverage
    lines = ["requests: " + _counts(result.operations), "replies by operation and error:"]
    for op in sorted({op for op, _ in coverage.replies}):
        errors = {err: n for (name, err), n in coverage.replies.items() if name == op}
        lines.append(f"  {op:22}" + _counts(errors))
    lines.append("parts of multis by result type and error:")
    for kind in sorted({kind for kind, _ in coverage.parts}):
        errors = {err: n for (name, err), n in coverage.parts.items() if name == kind and n}
        lines.append(f"  {kind:<22}" + _counts(errors))
    lines.append("events: " + _counts(coverage.events))
    lines.append("connects: " + _counts({" ".join(k): n for k, n in coverage.connects.items()}))
    rate = result.requests / result.seconds if result.seconds else 0
    lines.append(
        f"{result.steps} steps, {result.requests} requests in {result.seconds:.1f} s "
        f"({rate:.0f}/s): {'DIFFERENT' if result.difference else 'no difference'}"
    )
    return "\n".join(lines)


def _counts(counts: Counter[str] | dict[str, int] | dict[int, int]) -> str:
    return " ".join(f"{key}:{n}" for key, n in sorted(counts.items(), key=str))


def command_line(
    seed: int,
    requests: int,
    kinds: Sequence[str],
    only: Sequence[int] = (),
    *,
    ensemble: bool = False,
) -> str:
    """The command that runs the same steps again."""
    words = f"python -m tests.interop.differential --seed {seed} --requests {requests}"
    if tuple(kinds) != KINDS:
        words += f" --left {kinds[0]} --right {kinds[1]}"
    if ensemble:
        words += " --ensemble"
    if only:
        words += f" --only {','.join(str(number) for number in only)}"
    return words


def _numbers(text: str) -> list[int]:
    """Step numbers as `3,7,20-25`."""
    numbers: list[int] = []
    for item in text.split(","):
        first, _, last = item.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _shrunk(
    result: Result, seed: int, requests: int, kinds: Sequence[str], *, ensemble: bool
) -> str:
    """Search a smaller script with a difference and describe that."""
    assert result.difference is not None
    last = result.difference.number

    def differs(numbers: Sequence[int]) -> bool:
        found = run(seed, requests, kinds, only=numbers, ensemble=ensemble)
        return found.difference is not None

    numbers = shrink(list(range(1, last + 1)), differs, print)
    smaller = run(seed, requests, kinds, only=numbers, ensemble=ensemble)
    command = command_line(seed, requests, kinds, numbers, ensemble=ensemble)
    if smaller.difference is None:
        return f"the shrunk script shows no difference any more: {command}"
    return "SHRUNK\n" + describe(smaller.difference, kinds, command)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interop.differential")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--left", default="apache", help="apache or kraal")
    parser.add_argument("--right", default="kraal", help="apache or kraal")
    parser.add_argument(
        "--ensemble", action="store_true",
        help="ensembles of four; a side may then be a list of kinds, the last one an observer",
    )  # fmt: skip
    parser.add_argument("--only", type=_numbers, help="run only these steps, as 3,7,20-25")
    parser.add_argument(
        "--differences", type=int, default=1, metavar="N",
        help="go on until N differences are found; later ones may follow from the first",
    )  # fmt: skip
    parser.add_argument("--shrink", action="store_true", help="look for a smaller script")
    options = parser.parse_args(arguments)
    kinds = (options.left, options.right)
    for kind in kinds:
        if len(members_of(kind)) != 4 or (not options.ensemble and kind not in KINDS):
            parser.error(f"not possible here: {kind}")
    print(f"seed {options.seed}: {Variant.of(options.seed)}", flush=True)
    result = run(
        options.seed, options.requests, kinds,
        only=options.only, progress=True, keep=True, limit=options.differences,
        ensemble=options.ensemble,
    )  # fmt: skip
    print(report(result))
    if result.difference is None:
        return 0
    only = options.only or ()
    command = command_line(options.seed, options.requests, kinds, only, ensemble=options.ensemble)
    print(describe(result.difference, kinds, command))
    for difference in result.differences[1:]:
        print(describe(difference, kinds))
    print(f"data and logs: {result.directory}", flush=True)
    if options.shrink and not only:
        print(_shrunk(result, options.seed, options.requests, kinds, ensemble=options.ensemble))
    return 1


if __name__ == "__main__":
    sys.exit(main())
