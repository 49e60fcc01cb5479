"""One application of `processes_under_faults`: a process that uses recipes through `kraal.sync`.

It writes a line to its journal before it begins something and one when it knows the outcome, so
that whatever ends it, the journal says what was under way.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import kraal.sync
from kraal.client import ConnectionLossError, ZooKeeperError
from kraal.recipes import ItemInDoubtError, RecipeError
from kraal.sync.recipes import BlockIds, Counter, Lock, Queue

JOB = tuple[str, Callable[[], object]]
BEGUN, DONE, DOUBT, FAILED = "begun", "done", "doubt", "failed"
EMPTY = ""
"""What a queue without items gave."""


class Resource:
    """A file that accepts who shows a newer fencing token than all before, and remembers them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, token: int, who: str) -> bool:
        with self._path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            accepted = [json.loads(line) for line in file]
            if accepted and accepted[-1][0] >= token:
                return False
            file.write(json.dumps([token, who]) + "\n")
            return True


class Worker:
    """Jobs at random, one after the other, until a file says that it is enough."""

    def __init__(self, zk: kraal.sync.Client, directory: Path, name: str) -> None:
        self._zk = zk
        self._name = name
        self._end = directory / "end"
        self._journal = os.open(
            directory / f"journal-{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND
        )
        self._resource = Resource(directory / "resource")
        self._lock = Lock(zk, "/lock", name)
        self._queue = Queue(zk, "/queue")
        self._counter = Counter(zk, "/counter")
        self._ids = BlockIds(zk, "/ids", size=5)
        self._items = 0

    def run(self, random: Random) -> None:
        jobs: list[JOB] = [
            ("lock", self._hold), ("put", self._put), ("get", self._get), ("count", self._count),
            ("id", self._ids.next),
        ]  # fmt: skip
        while not self._end.exists():
            self._do(*random.choice(jobs))

    def _do(self, kind: str, job: Callable[[], object]) -> None:
        item = f"{self._name}-{self._items}" if kind == "put" else EMPTY
        self._note(kind, BEGUN, item)
        try:
            result = job()
        except ItemInDoubtError as error:
            self._note(kind, DOUBT, error.data.decode())
        except ConnectionLossError as error:
            self._note(kind, DOUBT if error.sent else FAILED, item)
        except (ZooKeeperError, RecipeError) as error:
            self._note(kind, FAILED, repr(error))
        else:
            self._note(kind, DONE, result)

    def _hold(self) -> bool:
        with self._lock as held:
            return self._resource.write(held.token, self._name)

    def _put(self) -> str:
        item = f"{self._name}-{self._items}"
        self._items += 1
        self._queue.put(item.encode())
        return item

    def _get(self) -> str:
        return (self._queue.get_nowait() or b"").decode()

    def _count(self) -> int:
        return self._counter.add(1)

    def _note(self, *line: object) -> None:
        os.write(self._journal, json.dumps(line).encode() + b"\n")


def main(hosts: str, directory: str, name: str) -> None:
    with kraal.sync.connect(hosts, session_timeout=2.0) as zk:
        Worker(zk, Path(directory), name).run(Random(name))


if __name__ == "__main__":
    main(*sys.argv[1:])
