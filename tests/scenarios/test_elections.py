"""Who leads: five servers that start one after the other, and five whose leader dies."""

from __future__ import annotations

from kraal.sim.client import Request
from kraal.wire.opcodes import OpCode
from tests.scenarios.story import Client, Story


def test_five_servers_start_one_after_the_other() -> None:
    story = Story(voters=5)
    story.start(1)
    story.run(2000)
    assert story.state(1) == "LOOKING"
    story.start(2)
    story.run(2000)
    assert (story.state(1), story.state(2)) == ("LOOKING", "LOOKING")
    story.start(3)  # with the third there is a majority, and the highest id leads it
    story.until_led_by(3, 1, 2)
    assert story.state(1) == story.state(2) == "FOLLOWING"
    story.start(4)  # a higher id is no reason to leave a leader
    story.until_led_by(3, 4)
    story.start(5)
    story.until_led_by(3, 5)
    assert [story.state(server_id) for server_id in range(1, 6)] == [
        "FOLLOWING", "FOLLOWING", "LEADING", "FOLLOWING", "FOLLOWING",
    ]  # fmt: skip
    story.until_all_serve()


class Interrupted(Story):
    """Leader 3 of five dies while 1, 2, 4 and 5 have 123, 124, 169 and 188 of its writes."""

    def __init__(self) -> None:
        super().__init__(voters=5)
        self.start(1, 2, 3)
        self.until_led_by(3, 1, 2)
        self.start(4, 5)
        self.until_led_by(3, 4, 5)
        self.writer = self.client(3)
        for server_id, counter in ((1, 123), (2, 124), (4, 169), (5, 188)):
            self._write_up_to(self.writer, counter)
            self.until(lambda id_=server_id, end=counter: self.counter(id_) == end)  # type: ignore[misc]
            self.deafen(server_id, to=3)
        self.power_off(3)
        self.separate([3], [1, 2, 4, 5])
        self.heal()  # what 3 said and nobody heard is lost
        assert [self.counter(server_id) for server_id in (1, 2, 4, 5)] == [123, 124, 169, 188]

    def _write_up_to(self, client: Client, counter: int) -> None:
        """The write with counter n makes the znode /n."""
        while (last := self.counter(3)) < counter:
            client.ask(Request(OpCode.CREATE, b"/%d" % (last + 1)))
            self.until(lambda before=last: self.counter(3) > before)  # type: ignore[misc]


def test_of_four_who_look_together_the_one_who_has_most_leads() -> None:
    story = Interrupted()
    committed = story.world.checks.history.tip & 0xFFFF_FFFF
    assert committed == 169  # three of five have it: 3, 4 and 5
    story.until_led_by(5, 1, 2, 4)
    story.until_all_serve()
    assert b"/188" in story.tree(1).nodes  # only 3 and 5 had logged it: now it is everywhere
    story.start(3)
    story.until_all_serve()


def test_when_three_agree_before_the_fourth_is_heard_its_own_writes_are_dropped() -> None:
    story = Interrupted()
    story.separate([5], [1, 2, 4])
    story.until_led_by(4, 1, 2)
    story.heal()
    story.until_led_by(4, 1, 2, 5)
    story.until_all_serve()
    for server_id in (1, 2, 4, 5):
        assert b"/169" in story.tree(server_id).nodes  # was acknowledged
        assert b"/170" not in story.tree(server_id).nodes  # a minority alone had logged it
    story.start(3)  # the dead leader knew of it, too
    story.until_all_serve()
    assert b"/170" not in story.tree(3).nodes
