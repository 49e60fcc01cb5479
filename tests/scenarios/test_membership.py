"""A membership that changes while it is used."""

from __future__ import annotations

from kraal.model.ensemble import Role
from kraal.sim.world import server_line
from tests.scenarios.story import Story


def test_a_new_server_joins_and_counts() -> None:
    story = Story(voters=3, spares=1)
    story.start(1, 2, 3)
    story.until_led_by(3, 1, 2)
    client = story.client(3)
    client.create("/a", "data")
    story.start(4)
    story.until_led_by(3, 4)  # it follows already, and does not count
    assert client.reconfigure(joining=server_line(4, Role.PARTICIPANT)).err == 0
    story.until(lambda: 4 in story.server(4).peer.config.voters)
    story.power_off(1)
    assert client.create("/b").err == 0  # three of four
    story.power_off(2)
    story.until(lambda: story.serves(3) is None)  # two of four are no quorum
    story.start(1)
    story.until_led_by(4, 3, 1)
    story.until_all_serve()


def test_an_observer_that_kept_no_log_can_vote_and_starts_again() -> None:
    story = Story(voters=3, observers=1, spares=1, ensemble={"sync_enabled": False})
    story.start(1, 2, 3, 4)
    story.until_led_by(3, 1, 2, 4)
    client = story.client(3)
    client.create("/while-it-observed")
    assert client.reconfigure(joining=server_line(4, Role.PARTICIPANT)).err == 0
    story.until(lambda: story.state(4) == "FOLLOWING")
    client.create("/while-it-voted")
    story.run(200)
    story.power_off(4)
    story.start(4)  # its log has no hole
    story.until_all_serve()
    assert story.synchronised_by(4) == "DIFF"
