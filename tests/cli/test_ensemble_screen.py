"""The table of a local ensemble and its keys, without a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from kraal.cli import ensemble_screen as screen
from kraal.cli.ensemble_screen import Row, View
from kraal.local.layout import Place
from kraal.local.process import ServerProcess, State
from kraal.local.status import Figures, Seen

LEADING = Seen(
    figures=Figures(
        mode="leader", zxid=0x300000012, clients=4, average_ms=0.26, maximum_ms=7, received=9
    ),
    epoch=3,
    requests_per_s=1234.5,
)


@pytest.fixture
def processes(tmp_path: Path) -> list[ServerProcess]:
    return [
        ServerProcess(Place(id=n, directory=tmp_path, is_observer=False, client_port=3000 + n))
        for n in (1, 2, 3)
    ]


def view(rows: list[Row], *, shows_log: bool = False, events: tuple[str, ...] = ()) -> View:
    return View(
        connect_string="127.0.0.1:3001", rows=rows, selected=0, events=events, shows_log=shows_log
    )


def drawn(shown: View, height: int = 30, width: int = 110) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(screen.render(shown, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def cells(lines: list[str]) -> list[list[str]]:
    """The rows of the table below its head."""
    rows = [re.split(" *│ *", line.strip()) for line in lines if line.strip().startswith("│")]
    return [row[1:-1] for row in rows]


def test_a_row_says_what_the_server_does(processes: list[ServerProcess]) -> None:
    for process in processes[:2]:
        process.state = State.RUNNING
    lines = drawn(
        view(
            [
                Row(processes[0], LEADING),
                Row(processes[1], Seen(reason="has no leader", epoch=2)),
                Row(processes[2], LEADING),
            ]
        )
    )
    assert cells(lines) == [
        ["1", "3001", "leader", "3", "0x300000012", "4", "0.3", "1234", "", "running"],
        ["2", "3002", "-", "2", "", "", "", "", "", "has no leader"],
        ["3", "3003", "-", "3", "", "", "", "", "", "stopped"],
    ]
    assert "connect to 127.0.0.1:3001" in lines[0]
    assert "k kill" in lines[-1]
    assert "q quit" in lines[-1]


def test_the_table_fits_80_columns(processes: list[ServerProcess]) -> None:
    seen = Seen(
        figures=Figures(
            mode="follower", zxid=0x1200000345, clients=1000, average_ms=123.4, maximum_ms=4567,
            received=9,
        ),
        epoch=18,
        requests_per_s=98765.4,
    )  # fmt: skip
    for process in processes[:2]:
        process.state = State.RUNNING
    processes[2].state, processes[2].exit_code = State.FAILED, -11
    rows = [Row(processes[0], seen), Row(processes[1], Seen(reason="has no leader", epoch=2))]
    lines = drawn(view([*rows, Row(processes[2], seen)]), width=80)
    figures = ["follower", "18", "0x1200000345", "1000", "123.4", "98765", "", "running"]
    assert [row[2:] for row in cells(lines)] == [
        figures,
        ["-", "2", "", "", "", "", "", "has no leader"],
        ["-", "18", "", "", "", "", "", "signal 11"],
    ]


def test_what_ended_by_itself_says_how(processes: list[ServerProcess]) -> None:
    process = processes[0]
    process.state, process.exit_code = State.FAILED, 3
    assert screen.describe(process, Seen()) == "ended with code 3"
    process.exit_code = -9
    assert screen.describe(process, Seen()) == "ended by signal 9"


@pytest.mark.parametrize("height", [5, 14, 24, 60])
def test_events_and_logs_leave_room_for_the_table(
    processes: list[ServerProcess], height: int
) -> None:
    rows = [Row(process, Seen()) for process in processes]
    processes[0].place.log.write_text("".join(f"line {n}\n" for n in range(500)))
    least = 1 + 4 + len(rows) + 2
    for shown in (
        view(rows, shows_log=True),
        view(rows, events=tuple(f"event {n}" for n in range(9))),
    ):
        lines = drawn(shown, height)
        assert len(lines) <= max(height, least + 1)
        assert len(cells(lines)) == 3
        assert "q quit" in lines[-1]
    if height >= 14:
        assert "event 8" in lines[-3]


def test_a_log_may_contain_anything(processes: list[ServerProcess]) -> None:
    rows = [Row(process, Seen()) for process in processes]
    processes[0].place.log.write_bytes(b"\x1b[31m[red]\x07 \xff\xfe" + b"x" * 500 + b"\nlast [/]\n")
    lines = drawn(view(rows, shows_log=True))
    assert not any("\x1b" in line or "\x07" in line for line in lines)
    assert all(len(line) <= 110 for line in lines)
    assert any("[31m[red]" in line for line in lines)
    assert any(line.startswith("last [/]") for line in lines)


def test_a_missing_log_is_no_accident(processes: list[ServerProcess]) -> None:
    assert processes[0].log_tail(5) == [f"{processes[0].place.log}: No such file or directory"]


def test_log_lines_of_polls_are_left_out(processes: list[ServerProcess]) -> None:
    poll = "INFO  kraal.server.client Processing srvr command from /127.0.0.1:58772\n"
    processes[0].place.log.write_text("first\nsecond\n" + poll * 3000 + "third\n" + poll)
    assert processes[0].log_tail(3) == ["first", "second", "third"]
    assert processes[0].log_tail(2) == ["second", "third"]
    assert processes[0].log_tail(0) == []


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"k", ["k"]),
        (b"1pQ", ["1", "p", "q"]),
        (b"\x1b[A\x1b[B\x1bOAr", ["up", "down", "up", "r"]),
        (b"\x1b[Ck", ["k"]),
        (b"\x1b", []),
        (b"\xff", ["\u00ff"]),
    ],
)
def test_keys(data: bytes, keys: list[str]) -> None:
    assert screen.parse_keys(data) == keys
