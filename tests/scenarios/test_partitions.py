"""A network that falls apart: the minority refuses, the majority goes on, clients move."""

from __future__ import annotations

from kraal.errors import ErrorCode
from kraal.replica.status import Mode
from kraal.sim.client import Request
from kraal.wire.opcodes import OpCode
from tests.scenarios.story import Story

CREATED = 1


def test_the_minority_serves_nobody_and_its_client_goes_on_with_the_majority() -> None:
    story = Story(voters=5)
    story.start()
    story.until_led_by(5, 1, 2, 3, 4)
    client, other = story.client(5), story.client(1)
    client.create("/mine", ephemeral=True)
    client.watch("/expected")
    session_id = client.session_id
    story.separate([4, 5], [1, 2, 3], client)
    refused = client.ask(Request(OpCode.CREATE, b"/refused"))
    story.until(lambda: story.serves(4) is None and story.serves(5) is None)
    story.until(lambda: refused == [None])  # the leader of two never said that it was done
    story.until_led_by(3, 1, 2)
    assert other.read("/mine") is not None  # its session lives: its time is not over
    for server_id in (1, 2, 3):
        story.world.network.unblock(client.sim, story.server(server_id))
        story.world.network.unblock(story.server(server_id), client.sim)
    client.go_to(1, 2, 3)
    assert client.session_id == session_id
    assert client.write("/mine", "still").err == 0
    assert other.read("/refused") is None
    other.create("/expected")
    story.until(lambda: client.events() == [(CREATED, "/expected")])
    client.die()
    story.until(lambda: b"/mine" not in story.tree(1).nodes)
    story.heal()
    story.until_led_by(3, 1, 2, 4, 5)
    story.until_all_serve()


def test_what_changes_while_a_client_moves_is_told_when_it_is_back() -> None:
    story = Story(voters=3)
    story.start()
    story.until_led_by(3, 1, 2)
    client, other = story.client(1), story.client(2)
    client.watch("/expected")
    story.separate([1], [2, 3], client)
    other.create("/expected")
    story.heal()
    client.go_to(2)
    story.until(lambda: client.events() == [(CREATED, "/expected")])


def test_without_a_leader_a_server_reads_if_it_is_allowed_to() -> None:
    story = Story(voters=3, settings={"read_only_mode": True})
    story.start()
    story.until_led_by(3, 1, 2)
    story.client(3).create("/a", "old")
    story.run(100)
    story.separate([1], [2, 3])
    story.until(lambda: story.serves(1) == Mode.READ_ONLY)
    reader = story.client(1, read_only=True)
    assert reader.read_here("/a") == "old"
    assert reader.write("/a", "new").err == ErrorCode.NOT_READ_ONLY
    story.heal()
    story.until(lambda: story.serves(1) == Mode.FOLLOWER)
    story.run(100)
    reader.go_to(1)
    assert reader.write("/a", "new").err == 0
    story.until_all_serve()


def test_a_server_without_a_leader_ends_no_session_that_it_has_not_heard_of() -> None:
    story = Story(voters=3, settings={"read_only_mode": True})
    story.start()
    story.until_led_by(3, 1, 2)
    story.separate([1], [2, 3])
    client = story.client(2, read_only=True)  # server 1 does not learn of its session
    session_id = client.session_id
    story.until(lambda: story.serves(1) == Mode.READ_ONLY)
    client.go_to(1)
    assert client.session_id == session_id
    client.go_to(2)
    assert client.session_id == session_id
    assert client.create("/mine", ephemeral=True).err == 0
