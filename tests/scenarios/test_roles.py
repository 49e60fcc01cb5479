"""Followers and observers: writes and reads on each of them."""

from __future__ import annotations

from kraal.sim.client import Request
from kraal.wire.opcodes import OpCode
from tests.scenarios.story import Story


def test_writes_through_a_follower_and_an_observer_are_everywhere() -> None:
    story = Story(voters=3, observers=1)
    story.start()
    story.until_led_by(3, 1, 2, 4)
    assert story.state(4) == "OBSERVING"
    follower, observer = story.client(1), story.client(4)
    assert follower.create("/a", "from a follower").err == 0
    assert observer.create("/b", "from an observer").err == 0
    for client in (follower, observer, story.client(2), story.client(3)):
        assert client.read("/a") == "from a follower"
        assert client.read("/b") == "from an observer"
    story.until_all_serve()


def test_a_write_is_read_at_once_by_its_own_client() -> None:
    story = Story(voters=3, observers=1)
    story.start()
    story.until_led_by(3, 1, 2, 4)
    for server_id in range(1, 5):
        client = story.client(server_id)
        # Both are sent before the write is answered.
        client.ask(Request(OpCode.CREATE, b"/%d" % server_id, b"mine"))
        assert client.read_here(f"/{server_id}") == "mine"


def test_an_observers_death_changes_neither_quorum_nor_commits() -> None:
    story = Story(voters=3, observers=2)
    story.start()
    story.until_led_by(3, 1, 2, 4, 5)
    client = story.client(1)
    story.power_off(4, 5)
    assert client.create("/a").err == 0
    story.power_off(2)  # one of three voters less: still a quorum
    assert client.create("/b").err == 0
    assert story.leader() == 3
    story.start(4)
    story.until_led_by(3, 1, 4)
    story.power_off(1)  # with one voter and an observer there is none
    story.until(lambda: story.serves(3) is None and story.serves(4) is None)


def test_observers_alone_never_lead() -> None:
    story = Story(voters=3, observers=2)
    story.start(1, 4, 5)
    story.run(10_000)
    assert story.leader() is None
    assert {story.state(server_id) for server_id in (1, 4, 5)} == {"LOOKING"}
