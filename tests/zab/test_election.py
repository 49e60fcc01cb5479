"""Fast leader election: the rows of section 3, one by one."""

from __future__ import annotations

import pytest

from kraal.model.ensemble import EnsembleConfig
from kraal.wire.records.election import encode_notification
from kraal.zab.election import NOBODY, Vote
from tests.zab.election_bench import (
    FIVE,
    FOLLOWING,
    LEADING,
    LOOKING,
    OBSERVING,
    THREE,
    Bench,
)
from tests.zab.election_network import configuration


class TestOwnVote:
    """Section 3.2, and the start of a round."""

    def test_a_voter_votes_for_itself_and_tells_every_other_voter(self) -> None:
        bench = Bench(config=configuration(range(1, 6), observers=[6])).start()
        assert bench.told() == dict.fromkeys((1, 2, 4, 5), Vote(3, 100, 1, 1))
        assert bench.election.state is LOOKING

    def test_notifications_carry_the_committed_configuration(self) -> None:
        bench = Bench(last_seen=configuration(range(1, 7), more="version=5")).start()
        sent = bench.take()
        assert {id_ for id_, _ in sent} == {1, 2, 4, 5, 6}
        assert {n.config for _, n in sent} == {FIVE.text().encode()}

    def test_every_start_is_a_new_round(self) -> None:
        bench = Bench().start()
        bench.start()
        assert bench.election.vote.round == 2

    def test_an_observer_proposes_nobody(self) -> None:
        bench = Bench(me=6, config=configuration(range(1, 4), observers=[6])).start()
        assert bench.told() == dict.fromkeys((1, 2, 3), Vote(NOBODY, NOBODY, 1, NOBODY))

    def test_a_joiner_proposes_nobody_with_its_zxid(self) -> None:
        bench = Bench(me=9).start()
        assert bench.told() == dict.fromkeys(range(1, 6), Vote(NOBODY, 100, 1, 1))

    def test_before_the_first_start_nothing_is_heard(self) -> None:
        bench = Bench()
        bench.hear(1, 5)
        assert bench.sent == []
        assert bench.election.deadline_ms() is None


class TestOrder:
    """Section 3.3."""

    @pytest.mark.parametrize(
        ("leader", "zxid", "epoch", "wins"),
        [
            (4, 100, 1, True),
            (2, 100, 1, False),
            (1, 101, 1, True),
            (5, 99, 1, False),
            (1, 0, 2, True),
            (5, 1 << 40, 0, False),
            (5, -2, 1, False),
            (5, 200, NOBODY, False),
        ],
    )
    def test_epoch_then_zxid_then_id(self, leader: int, zxid: int, epoch: int, wins: bool) -> None:
        bench = Bench().start()
        bench.take()
        bench.hear(1, leader, zxid=zxid, epoch=epoch)
        adopted = Vote(leader, zxid, 1, epoch)
        better = {1: bench.election.vote}  # it may not have been looking when it was told
        assert bench.told() == (dict.fromkeys((1, 2, 4, 5), adopted) if wins else better)
        assert (bench.election.vote == adopted) is wins

    def test_a_server_of_weight_0_does_not_win(self) -> None:
        config = configuration(range(1, 6), more="group.1=1:2:3\ngroup.2=4:5\nweight.5=0")
        bench = Bench(config=config).start()
        bench.hear(5, 5, zxid=1000)
        assert bench.election.vote.leader == 3
        bench.hear(4, 4)
        assert bench.election.vote.leader == 4


class TestLooking:
    """Section 3.4, row by row."""

    def test_a_quorum_decides_after_200_ms_of_silence(self) -> None:
        bench = Bench().start()
        bench.hear(1, 3)
        assert bench.election.deadline_ms() == 1200  # only the retransmission
        bench.now_ms = 1010
        bench.hear(2, 3)
        assert bench.election.deadline_ms() == 1210
        bench.election.tick(1209)
        assert bench.decided == []
        bench.election.tick(1210)
        assert bench.decided == [(LEADING, Vote(3, 100, 1, 1))]
        assert bench.election.electors == {1, 2, 3}
        bench.wait(100_000)
        assert len(bench.decided) == 1

    def test_votes_for_the_same_leader_with_other_data_do_not_count(self) -> None:
        bench = Bench().start()
        bench.hear(1, 3, zxid=99)
        bench.hear(2, 3, epoch=0)
        bench.wait(1000)
        assert bench.decided == []

    def test_who_is_not_the_leader_follows(self) -> None:
        bench = Bench().start()
        bench.hear(4, 4)
        bench.hear(1, 4)
        bench.wait(200)
        assert bench.decided == [(FOLLOWING, Vote(4, 100, 1, 1))]

    def test_a_better_vote_interrupts_the_wait(self) -> None:
        bench = Bench().start()
        bench.hear(1, 3)
        bench.hear(2, 3)
        bench.wait(199)
        bench.hear(4, 4)
        bench.wait(150)
        assert bench.decided == []
        bench.hear(1, 4)
        bench.wait(200)
        assert bench.decided == [(FOLLOWING, Vote(4, 100, 1, 1))]

    def test_other_votes_neither_interrupt_nor_prolong_the_wait(self) -> None:
        bench = Bench().start()
        bench.hear(1, 3)
        bench.hear(2, 3)
        bench.wait(150)
        bench.take()
        bench.hear(1, 1)  # repeated from before it changed its mind
        bench.hear(5, 5, round_=0)  # better, but of an earlier round
        assert bench.told() == {5: Vote(3, 100, 1, 1)}
        bench.hear(4, 2, round_=7)  # of a later round, but worse
        bench.wait(50)
        assert bench.decided == [(LEADING, Vote(3, 100, 1, 1))]
        assert set(bench.told()) == {4}  # who will not ask again soon

    def test_a_later_round_with_a_better_vote(self) -> None:
        bench = Bench().start()
        bench.hear(1, 3)
        bench.hear(2, 3)
        bench.take()
        bench.hear(4, 5, round_=6)
        assert bench.told() == dict.fromkeys((1, 2, 4, 5), Vote(5, 100, 6, 1))
        bench.hear(1, 5, round_=1)  # the votes of the earlier round are void
        bench.wait(190)
        bench.hear(2, 5, round_=6)
        assert bench.decided == []
        bench.wait(200)
        assert bench.decided == [(FOLLOWING, Vote(5, 100, 6, 1))]

    def test_a_later_round_with_a_worse_vote_starts_from_its_own(self) -> None:
        bench = Bench().start()
        bench.hear(5, 5)
        bench.take()
        bench.hear(1, 2, round_=6)
        assert bench.told() == dict.fromkeys((1, 2, 4, 5), Vote(3, 100, 6, 1))

    def test_an_earlier_round_is_answered_and_not_counted(self) -> None:
        bench = Bench().start()
        bench.start()
        bench.take()
        for sender in (1, 2, 4, 5):
            bench.hear(sender, 3, round_=1)
            assert bench.told() == {sender: Vote(3, 100, 2, 1)}
        bench.wait(1000)
        assert bench.decided == []

    def test_observers_strangers_and_votes_for_them_are_not_counted(self) -> None:
        bench = Bench(config=configuration(range(1, 4), observers=[6])).start()
        bench.hear(6, 3)
        bench.hear(9, 3)
        bench.hear(1, 6, zxid=1000)
        bench.hear(2, 9, zxid=1000)
        bench.hear(2, NOBODY, zxid=1000)
        bench.hear(1, 3, state=OBSERVING)
        assert bench.election.vote == Vote(3, 100, 1, 1)
        bench.wait(1000)
        assert bench.decided == []

    def test_an_untrusted_empty_database_neither_votes_nor_counts(self) -> None:
        bench = Bench(zxid=-1, epoch=-1).start()
        assert set(bench.told().values()) == {Vote(3, -1, 1, -1)}
        for sender in (1, 2, 4, 5):
            bench.hear(sender, 5)
        assert bench.election.vote.leader == 3
        bench.wait(199)
        bench.hear(5, 5, state=LEADING, round_=4)
        bench.hear(1, 5, state=FOLLOWING, round_=4)
        bench.hear(2, 5, state=FOLLOWING, round_=4)
        assert bench.decided == [(FOLLOWING, Vote(5, 100, 4, 1))]

    def test_votes_of_untrusted_empty_databases_are_ignored(self) -> None:
        bench = Bench(zxid=-1, epoch=-1, me=5)
        other = Bench(me=3, zxid=-5, epoch=-5).start()
        other.take()
        other.hear(bench.me, 5, zxid=-1, epoch=-1)
        assert other.sent == []
        assert other.election.vote.leader == 3

    def test_a_single_participant_elects_itself(self) -> None:
        bench = Bench(me=1, config=configuration([1])).start()
        bench.wait(200)
        assert bench.decided == [(LEADING, Vote(1, 100, 1, 1))]

    def test_a_quorum_of_the_last_seen_configuration_too_when_it_is_newer(self) -> None:
        last_seen = configuration(range(2, 8), more="version=5")
        bench = Bench(config=THREE, last_seen=last_seen).start()
        bench.hear(1, 3)
        bench.hear(2, 3)
        bench.wait(500)
        assert bench.decided == []  # of six, only 2 and 3
        bench.hear(6, 3)
        bench.hear(7, 3)
        bench.wait(200)
        assert bench.decided == [(LEADING, Vote(3, 100, 1, 1))]

    def test_who_votes_only_in_the_last_seen_configuration_is_joined_in_its_round(self) -> None:
        last_seen = configuration([2, 9], more="version=5")
        bench = Bench(me=2, config=configuration([2, 4]), last_seen=last_seen).start()
        bench.take()
        bench.hear(9, NOBODY, round_=7)
        assert bench.told() == dict.fromkeys((4, 9), Vote(2, 100, 7, 1))
        bench.hear(9, 2, round_=7)
        bench.hear(4, 2, round_=7)
        bench.wait(200)
        assert [state for state, _ in bench.decided] == [LEADING]

    def test_a_last_seen_configuration_that_is_not_newer_has_no_say(self) -> None:
        bench = Bench(config=THREE, last_seen=configuration(range(2, 8))).start()
        bench.hear(1, 3)
        bench.wait(200)
        assert bench.decided == [(LEADING, Vote(3, 100, 1, 1))]

    def test_groups(self) -> None:
        groups = "group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9"
        bench = Bench(config=configuration(range(1, 10), more=groups)).start()
        for sender in (1, 2, 4, 7):
            bench.hear(sender, 9)
        bench.wait(500)
        assert bench.decided == []  # five of nine, but a majority of one group only
        bench.hear(8, 9)
        bench.wait(200)
        assert [state for state, _ in bench.decided] == [FOLLOWING]

    def test_the_last_round_there_is(self) -> None:
        bench = Bench().start()
        bench.hear(1, 5, round_=(1 << 63) - 1)
        bench.start()
        assert bench.election.vote.round == NOBODY
        bench.hear(1, 5, round_=(1 << 63) - 1)
        assert bench.election.vote.leader == 5


class TestRetransmission:
    """Section 3.5."""

    def test_the_intervals_double_up_to_the_longest(self) -> None:
        bench = Bench().start()
        bench.take()
        times: list[int] = []
        while len(times) < 12:
            due = bench.election.deadline_ms()
            assert due is not None
            bench.now_ms = due
            bench.election.tick(due)
            assert set(bench.told()) == {1, 2, 4, 5}
            times.append(due)
        gaps = [after - before for before, after in zip([1000, *times], times, strict=False)]
        assert gaps[:5] == [200, 400, 800, 1600, 3200]
        assert gaps[-2:] == [60_000, 60_000]

    def test_traffic_does_not_put_it_off_and_a_new_round_begins_anew(self) -> None:
        bench = Bench().start()
        bench.wait(199)
        bench.hear(1, 1)
        bench.take()
        bench.wait(1)
        assert set(bench.told()) == {1, 2, 4, 5}
        bench.start()
        assert bench.election.deadline_ms() == bench.now_ms + 200


class TestVotesOfSettledServers:
    """Section 3.6."""

    @pytest.mark.parametrize("round_", [1, 7, 0, -1])
    def test_a_majority_with_the_leader_itself(self, round_: int) -> None:
        bench = Bench().start()
        bench.hear(1, 2, state=FOLLOWING, round_=round_, epoch=4)
        bench.hear(4, 2, state=FOLLOWING, round_=round_, epoch=4)
        bench.hear(5, 2, state=FOLLOWING, round_=round_, epoch=4)
        assert bench.decided == []
        bench.hear(2, 2, state=LEADING, round_=round_, epoch=4)
        assert bench.decided == [(FOLLOWING, Vote(2, 100, round_, 4))]
        bench.start()
        assert bench.election.vote.round == round_ + 1

    def test_rounds_and_zxids_need_not_agree(self) -> None:
        bench = Bench().start()
        bench.hear(1, 2, state=FOLLOWING, round_=8, zxid=5)
        bench.hear(2, 2, state=LEADING, round_=-1, zxid=7)
        bench.hear(4, 2, state=FOLLOWING, round_=9, zxid=6)
        assert bench.decided == [(FOLLOWING, Vote(2, 6, 9, 1))]

    def test_epochs_must_agree(self) -> None:
        bench = Bench().start()
        bench.hear(1, 2, state=FOLLOWING, round_=8, epoch=1)
        bench.hear(2, 2, state=LEADING, round_=8, epoch=2)
        bench.hear(4, 2, state=FOLLOWING, round_=8, epoch=2)
        assert bench.decided == []
        bench.hear(1, 2, state=FOLLOWING, round_=8, epoch=2)
        assert bench.decided == [(FOLLOWING, Vote(2, 100, 8, 2))]

    def test_within_the_own_round_only_the_leader_counts(self) -> None:
        bench = Bench().start()
        bench.hear(1, 2, state=FOLLOWING, epoch=1)
        bench.hear(2, 2, state=LEADING, epoch=2)
        bench.hear(4, 2, state=FOLLOWING, epoch=3)
        assert bench.decided == [(FOLLOWING, Vote(2, 100, 1, 3))]

    def test_votes_of_an_earlier_round_are_void(self) -> None:
        bench = Bench().start()
        bench.hear(1, 2, state=FOLLOWING, epoch=1)
        bench.hear(2, 2, state=LEADING, epoch=2)
        bench.hear(5, 1, round_=6)
        bench.hear(4, 2, state=FOLLOWING, round_=6, epoch=3)
        assert bench.decided == []

    def test_votes_of_the_own_round_count_with_those_of_looking_servers(self) -> None:
        bench = Bench().start()
        bench.hear(2, 2, zxid=200)
        bench.hear(4, 2, zxid=200, state=FOLLOWING)
        bench.hear(2, 2, zxid=200, state=LEADING)
        assert bench.decided == [(FOLLOWING, Vote(2, 200, 1, 1))]

    def test_old_versions_are_compared_by_leader_only(self) -> None:
        bench = Bench().start()
        for sender, state, epoch in ((1, FOLLOWING, 5), (2, LEADING, 6)):
            old = encode_notification(state, 2, 100, 8, epoch, b"")[:40]
            bench.election.received(bench.now_ms, sender, old)
        bench.hear(4, 2, state=FOLLOWING, round_=8, epoch=7)
        assert [vote.leader for _, vote in bench.decided] == [2]

    def test_others_make_it_leader_only_in_its_own_round(self) -> None:
        bench = Bench().start()
        for sender in (1, 2, 4):
            bench.hear(sender, 3, state=FOLLOWING, round_=2)
        assert bench.decided == []
        for sender in (1, 2, 4):
            bench.hear(sender, 3, state=FOLLOWING, round_=1)
        assert [state for state, _ in bench.decided] == [LEADING]

    def test_a_configuration_that_nobody_else_knows_does_not_keep_from_following(self) -> None:
        lost = configuration([1, 3], more="version=5")
        bench = Bench(me=1, config=THREE, last_seen=lost).start()
        bench.hear(3, 2, state=FOLLOWING, round_=4)
        bench.hear(2, 2, state=LEADING, round_=4)
        assert [(state, vote.leader) for state, vote in bench.decided] == [(FOLLOWING, 2)]

    def test_a_leader_that_others_only_remember_is_not_followed(self) -> None:
        bench = Bench().start()
        for sender in (1, 4, 5):
            bench.hear(sender, 2, state=FOLLOWING, round_=8)
        bench.hear(2, 2, round_=1)
        bench.wait(1000)
        assert bench.decided == []

    def test_an_observer_observes(self) -> None:
        bench = Bench(me=6, config=configuration(range(1, 4), observers=[6])).start()
        bench.hear(1, 2, state=FOLLOWING)
        bench.hear(2, 2, state=LEADING)
        assert bench.decided == [(OBSERVING, Vote(2, 100, 1, 1))]

    def test_an_observer_hears_an_election(self) -> None:
        bench = Bench(me=6, config=configuration(range(1, 4), observers=[6])).start()
        bench.hear(1, 2, round_=4)
        bench.hear(2, 2, round_=4)
        bench.wait(200)
        assert bench.decided == [(OBSERVING, Vote(2, 100, 4, 1))]

    def test_a_joiner_follows(self) -> None:
        bench = Bench(me=9).start()
        bench.hear(1, 2, state=FOLLOWING, round_=3)
        bench.hear(4, 2, state=FOLLOWING, round_=3)
        bench.hear(2, 2, state=LEADING, round_=3)
        assert bench.decided == [(FOLLOWING, Vote(2, 100, 3, 1))]


def led_by_2(config: EnsembleConfig = FIVE) -> Bench:
    """Server 3, which follows 2 since round 5 and is now in epoch 9."""
    bench = Bench(config=config).start()
    for sender, state in ((1, FOLLOWING), (4, FOLLOWING), (2, LEADING)):
        bench.hear(sender, 2, state=state, round_=5)
    assert bench.election.state is FOLLOWING
    bench.election.synced(9)
    bench.take()
    return bench


class TestAnswers:
    """Section 3.7."""

    def test_a_settled_server_answers_voters_that_look(self) -> None:
        bench = led_by_2()
        bench.hear(5, 5, zxid=1000, round_=77)
        ((receiver, answer),) = bench.take()
        assert receiver == 5
        assert answer == (FOLLOWING, 2, 100, 5, 9, 2, FIVE.text().encode())

    @pytest.mark.parametrize("state", [FOLLOWING, LEADING, OBSERVING, 4, -1])
    def test_and_no_others(self, state: int) -> None:
        bench = led_by_2()
        bench.hear(5, 5, state=state, round_=77)
        assert bench.sent == []
        assert bench.election.state is FOLLOWING

    @pytest.mark.parametrize("state", [LOOKING, FOLLOWING, 9])
    def test_non_voters_are_answered_in_any_state(self, state: int) -> None:
        bench = led_by_2()
        bench.hear(9, NOBODY, state=state)
        assert bench.told() == {9: Vote(2, 100, 5, 9)}
        looking = Bench().start()
        looking.take()
        looking.hear(9, NOBODY, state=state, round_=5)
        assert looking.told() == {9: Vote(3, 100, 1, 1)}

    def test_non_voters_that_asked_too_early_are_told_the_decision(self) -> None:
        bench = Bench().start()
        bench.hear(9, NOBODY)
        bench.hear(1, 3)
        bench.hear(2, 3)
        bench.take()
        bench.wait(200)
        assert bench.decided
        assert bench.told() == {9: Vote(3, 100, 1, 1)}

    def test_the_same_answer_to_the_same_question_waits(self) -> None:
        bench = led_by_2()
        for _ in range(5):
            bench.hear(9, NOBODY)
        assert set(bench.told()) == {9}
        bench.hear(9, NOBODY, round_=2)
        assert set(bench.told()) == {9}
        bench.wait(100)
        bench.hear(9, NOBODY, round_=2)
        assert set(bench.told()) == {9}

    def test_two_that_take_each_other_for_non_voters_fall_silent(self) -> None:
        one = Bench(me=1, config=configuration([1, 3])).start()
        two = Bench(me=2, config=configuration([2, 3])).start()
        one.take()
        two.take()
        one.hear(2, 2)
        answers = 0
        while one.sent or two.sent:
            for source, target in ((one, two), (two, one)):
                for _, said in source.take():
                    answers += 1
                    assert said.config is not None
                    target.election.received(
                        target.now_ms,
                        source.me,
                        encode_notification(*said[:5], said.config),
                    )
        assert answers < 10

    def test_malformed_notifications_are_ignored(self) -> None:
        for bench in (led_by_2(), Bench().start()):
            bench.take()
            for sender in (5, 9):
                for message in (b"", bytes(27), bytes(36), bytes(39) + b"\2\x7f\xff\xff\xff"):
                    bench.election.received(bench.now_ms, sender, message)
            garbled = encode_notification(LOOKING, 5, 1000, 1, 1, b"")[:-1]
            bench.election.received(bench.now_ms, 5, garbled)
            assert bench.sent == []

    def test_a_role_without_an_election_shows_its_round(self) -> None:
        bench = led_by_2()
        bench.election.settle(FOLLOWING, Vote(4, 77, -1, -1))
        bench.hear(5, 5)
        assert bench.told() == {5: Vote(4, 77, -1, -1)}
        bench.election.synced(10)
        bench.hear(5, 5)
        assert bench.told() == {5: Vote(4, 77, -1, 10)}
        assert bench.election.deadline_ms() is None

    def test_a_leader_hears_of_voters_that_look(self) -> None:
        bench = Bench().start()
        seen: list[int] = []
        bench.election.looking_seen = seen.append
        bench.hear(1, 3)
        bench.hear(2, 3)
        bench.wait(200)
        bench.hear(2, 2, round_=2)
        bench.hear(4, 3, state=FOLLOWING)
        assert seen == [2]


class TestConfigurations:
    """What notifications carry (section 3.7)."""

    newer = configuration(range(1, 5), more="version=100000002")

    def test_a_newer_one_is_offered_and_adopting_it_begins_another_election(self) -> None:
        bench = Bench()

        def adopt(config: EnsembleConfig) -> None:
            bench.election.config = config
            bench.start()

        bench.election.config_seen = adopt
        bench.start()
        bench.take()
        bench.hear(5, 5, config=self.newer.text().encode())
        assert bench.told() == dict.fromkeys((1, 2, 4), Vote(3, 100, 2, 1))
        assert bench.election.config == self.newer

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"\xff\xfe",
            b"server.foo=1",
            FIVE.text().encode(),
            b"version=0",
            b"server.1=zk1:1:2",
        ],
    )
    def test_others_are_not_and_the_vote_counts(self, text: bytes) -> None:
        bench = Bench().start()
        seen: list[EnsembleConfig] = []
        bench.election.config_seen = seen.append
        bench.hear(5, 5, config=text)
        bench.hear(5, 5, config=text)
        assert seen == []
        assert bench.election.vote.leader == 5

    def test_one_that_is_not_adopted_does_not_stop_the_vote(self) -> None:
        bench = Bench().start()
        seen: list[EnsembleConfig] = []
        bench.election.config_seen = seen.append
        bench.hear(5, 5, config=self.newer.text().encode())
        assert seen == [self.newer]
        assert bench.election.vote.leader == 5

    def test_a_settled_server_does_not_care(self) -> None:
        bench = led_by_2()
        seen: list[EnsembleConfig] = []
        bench.election.config_seen = seen.append
        bench.hear(5, 5, config=self.newer.text().encode())
        assert seen == []
        assert bench.told() == {5: Vote(2, 100, 5, 9)}
