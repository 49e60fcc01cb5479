"""Calls that are cut short while a function leads: it is told, and waited for."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from time import sleep
from typing import IO

import pytest

from kraal import sync
from kraal.sync.recipes import Held, LeaderElection, LostError
from kraal.testing import Server

PROGRAM = """
import signal, sys, time
from kraal import sync
from kraal.sync.recipes import LeaderElection, LostError

# What runs in the background of a shell inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def lead(leadership):
    print("leading", flush=True)
    try:
        while True:
            leadership.check()
            time.sleep(0.01)
    except LostError as error:
        print(leadership.lost.is_set(), error, flush=True)
        sys.stdin.readline()

try:
    with sync.connect(sys.argv[1]) as zk:
        LeaderElection(zk, "/election").run(lead)
finally:
    print("closed", flush=True)
"""


@pytest.fixture
def program(server: Server) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.hosts],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def test_a_leader_whose_time_is_over_is_told(zk: sync.Client) -> None:
    said: list[str] = []

    def lead(leadership: Held) -> None:
        try:
            while True:
                leadership.check()
                sleep(0.01)
        except LostError as error:
            assert leadership.lost.is_set()
            assert zk.exists(leadership.path)
            said.append(str(error))
            raise

    with pytest.raises(TimeoutError), sync.timeout(0.2):
        LeaderElection(zk, "/election").run(lead)
    assert ["cut short" in text for text in said] == [True]
    assert zk.get_children("/election") == []


def test_ctrl_c_ends_a_leader(program: subprocess.Popen[str]) -> None:
    assert pipe(program.stdout).readline() == "leading\n"
    program.send_signal(signal.SIGINT)
    assert "cut short" in pipe(program.stdout).readline()
    out, complaints = program.communicate("\n", timeout=20)
    assert out == "closed\n"
    assert complaints.count("Traceback") == 1
    assert complaints.rstrip().endswith("KeyboardInterrupt")


def test_ctrl_c_twice_does_not_wait_for_the_leader(program: subprocess.Popen[str]) -> None:
    assert pipe(program.stdout).readline() == "leading\n"
    program.send_signal(signal.SIGINT)
    assert pipe(program.stdout).readline().startswith("True ")
    program.send_signal(signal.SIGINT)
    assert pipe(program.stdout).readline() == "closed\n"
    _, complaints = program.communicate("\n", timeout=20)
    assert complaints.count("Traceback") == 1
    assert complaints.rstrip().endswith("KeyboardInterrupt")
