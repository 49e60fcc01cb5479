"""The power fails everywhere at once, and comes back."""

from __future__ import annotations

from kraal.sim.client import Request
from kraal.wire.opcodes import OpCode
from tests.scenarios.story import Story


def test_everything_acknowledged_is_there_after_a_power_failure() -> None:
    story = Story(voters=3, observers=1, snap_count=10)
    story.start()
    story.until_led_by(3, 1, 2, 4)
    client = story.client(2)
    client.create("/mine", ephemeral=True)
    for number in range(50):
        assert client.create(f"/{number}", "data").err == 0
    unknown = client.ask(Request(OpCode.CREATE, b"/unknown"))
    story.power_off(1, 2, 3, 4)
    assert unknown in ([], [None])
    session_id = client.session_id
    story.start()
    client.go_to(1)
    assert client.session_id == session_id  # sessions are replicated, and begin anew
    for number in range(50):
        assert client.read_here(f"/{number}") == "data"
    assert client.read_here("/mine") is not None
    client.die()
    story.until(lambda: b"/mine" not in story.tree(3).nodes)
    story.until_all_serve()


def test_power_failures_in_the_midst_of_writes_lose_nothing_that_was_acknowledged() -> None:
    story = Story(voters=3, snap_count=10)
    story.start()
    client = story.client(1)
    acknowledged = 0
    for turn in range(10):
        client.go_to(turn % 3 + 1)
        answers = client.ask(Request(OpCode.CREATE, b"/%d" % turn))
        story.run(turn)  # some milliseconds into it
        story.power_off(1, 2, 3)
        story.run(100)
        acknowledged += any(reply is not None for reply in answers)
        story.start()
    story.until_all_serve()  # and the history has each of them
    assert 0 < acknowledged <= len(story.world.checks.history.tree.nodes)
