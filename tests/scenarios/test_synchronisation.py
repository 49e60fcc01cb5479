"""How a server is brought in step: a new one, one that lags a little or far, one that is ahead."""

from __future__ import annotations

from kraal.sim.client import Request
from kraal.wire.opcodes import OpCode
from tests.scenarios.story import Story

REMEMBERED = 20
"""Transactions that a leader keeps in memory here."""


def _three_of_which_one_is_off() -> Story:
    """Server 3 leads, 1 was there from the begin, 2 was and is off."""
    # Only what is in memory serves for a learner that lags; the log on the disk does not.
    story = Story(voters=3, commit_log_count=REMEMBERED, snapshot_size_factor=-1.0)
    story.start()
    story.until_led_by(3, 1, 2)
    story.client(3).create("/first")
    story.run(100)
    story.power_off(2)
    return story


def test_a_new_server_gets_the_whole_tree() -> None:
    story = Story(voters=3, snapshot_size_factor=-1.0, commit_log_count=REMEMBERED)
    story.start(2, 3)
    story.until_led_by(3, 2)
    client = story.client(3)
    for number in range(2 * REMEMBERED):
        client.create(f"/{number}")
    story.start(1)
    story.until_all_serve()
    assert story.synchronised_by(1) == "SNAP"


def test_a_server_that_lags_a_little_gets_what_it_misses() -> None:
    story = _three_of_which_one_is_off()
    client = story.client(3)
    for number in range(REMEMBERED // 2):
        client.create(f"/{number}")
    story.start(2)
    story.until_all_serve()
    assert story.synchronised_by(2) == "DIFF"


def test_a_server_that_lags_far_gets_the_whole_tree() -> None:
    story = _three_of_which_one_is_off()
    client = story.client(3)
    for number in range(2 * REMEMBERED):
        client.create(f"/{number}")
    story.start(2)
    story.until_all_serve()
    assert story.synchronised_by(2) == "SNAP"


def test_a_server_with_writes_that_nobody_agreed_on_gives_them_up() -> None:
    story = Story(voters=3)
    story.start()
    story.until_led_by(3, 1, 2)
    client = story.client(3)
    client.create("/agreed")
    story.run(100)
    story.separate([3], [1, 2], client)
    lost = client.ask(Request(OpCode.CREATE, b"/nobody-agreed"))
    story.run(100)  # in the log of 3, and nowhere else
    story.power_off(3)
    story.heal()
    story.until_led_by(2, 1)
    assert lost == [None], "nobody acknowledged it"
    story.start(3)
    story.until_led_by(2, 3)
    assert story.synchronised_by(3) == "TRUNC"
    story.until_all_serve()
    client.go_to(3)
    assert client.read("/agreed") is not None
    assert client.read("/nobody-agreed") is None
