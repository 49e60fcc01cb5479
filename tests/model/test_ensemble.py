"""Members, quorums and the text of an ensemble's configuration."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from kraal.errors import ConfigError
from kraal.model.ensemble import Address, EnsembleConfig, Member, Role, readable

THREE = (
    "server.1=zk1:32011:32021:participant\n"
    "server.2=zk2:32012:32022:participant\n"
    "server.3=zk3:32013:32023:participant\n"
    "version=0"
)
"""From a captured notification (reference/quorum-protocol.md section 10)."""


def of(*lines: str, multi_address: bool = False) -> EnsembleConfig:
    return EnsembleConfig.parse("\n".join(lines), multi_address=multi_address)


def majority(voters: int, *more: str) -> EnsembleConfig:
    return of(*(f"server.{at}=h{at}:1:2" for at in range(1, voters + 1)), *more)


class TestText:
    def test_what_was_captured_reads_back(self) -> None:
        assert EnsembleConfig.parse(THREE).text() == THREE

    def test_members_are_what_the_lines_say(self) -> None:
        config = of("server.1=a:1:2;5", "server.2=b:3:4:OBSERVER;h:6", "version=1f")
        assert dict(config.members) == {
            1: Member(
                id=1,
                quorum=(Address("a", 1),),
                election=(Address("a", 2),),
                client=Address("0.0.0.0", 5),
            ),
            2: Member(
                id=2,
                quorum=(Address("b", 3),),
                election=(Address("b", 4),),
                role=Role.OBSERVER,
                client=Address("h", 6),
            ),
        }
        assert (set(config.voters), set(config.observers)) == ({1}, {2})
        assert config.version == 0x1F

    # What Apache 3.9.5 makes of the same line.
    @pytest.mark.parametrize(
        ("line", "canonical"),
        [
            ("a:1:2", "a:1:2:participant"),
            ("A.B:1:2:Observer;", "A.B:1:2:observer"),
            ("a:1:2;5", "a:1:2:participant;0.0.0.0:5"),
            ("a:+1:02", "a:1:2:participant"),
            ("a:0:2", "a:0:2:participant"),
            ("a:1:2:", "a:1:2:participant"),
            ("a:1:2|", "a:1:2:participant"),
            ("a:1:2;;", "a:1:2:participant"),
            ("a:1:2;5;", "a:1:2:participant;0.0.0.0:5"),
            ("z:1:2|a:3:4", "a:3:4|z:1:2:participant"),
            ("a:3:4|a:3:4", "a:3:4:participant"),
            ("a:1:2|z:3:4:observer", "a:1:2|z:3:4:observer"),
            (
                "[::1]:1:2;[2001:db8::1]:5",
                "[0:0:0:0:0:0:0:1]:1:2:participant;[2001:db8:0:0:0:0:0:1]:5",
            ),
            ("[::ffff:1.2.3.4]:1:2;5", "1.2.3.4:1:2:participant;0.0.0.0:5"),
        ],
    )
    def test_is_canonical(self, line: str, canonical: str) -> None:
        config = of(f"server.9={line}", "server.1=v:1:2", multi_address=True)
        assert config.text() == f"server.1=v:1:2:participant\nserver.9={canonical}\nversion=0"
        assert EnsembleConfig.parse(config.text(), multi_address=True) == config

    @pytest.mark.parametrize(
        ("line", "canonical", "plain", "secure"),
        [
            ("a:1:2;5;6", "a:1:2:participant;0.0.0.0:5;0.0.0.0:6", "0.0.0.0:5", "0.0.0.0:6"),
            ("a:1:2:observer;;b:6", "a:1:2:observer;;b:6", "None", "b:6"),
            ("a:1:2; c:5 ; [::1]:6 ;", "a:1:2:participant;c:5;[0:0:0:0:0:0:0:1]:6",
             "c:5", "[0:0:0:0:0:0:0:1]:6"),
        ],
    )  # fmt: skip
    def test_a_line_may_name_the_port_for_tls(
        self, line: str, canonical: str, plain: str, secure: str
    ) -> None:
        """ZooKeeper 3.9 refuses such a line."""
        member = Member.parse(1, line)
        assert member.text() == canonical
        assert Member.parse(1, canonical) == member
        assert (str(member.client), str(member.secure_client)) == (plain, secure)

    def test_of_a_hierarchy_names_every_weight(self) -> None:
        observer = "server.4=o:1:2:observer"
        config = majority(3, observer, "group.1=3:1:2:4", "weight.4=5", "weight.2=0")
        assert config.text().splitlines()[-6:] == [
            "group.1=1:2:3:4", "weight.1=1", "weight.2=0", "weight.3=1", "weight.4=5", "version=0",
        ]  # fmt: skip
        assert EnsembleConfig.parse(config.text()) == config

    def test_another_version_keeps_the_members(self) -> None:
        config = majority(3).with_version(0x1_0000_0002)
        assert config.text() == majority(3).text().replace("version=0", "version=100000002")
        assert config.voters == {1, 2, 3}

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ("", "names no server"),
            ("version=0", "names no server"),
            ("server.1=a:1:2:observer", "Observers w/o participants is an invalid configuration"),
            ("clientPort=1\nserver.1=a:1:2", "Unrecognised parameter: clientPort"),
            ("server=a:1:2", "Unrecognised parameter: server"),
            ("server.1=a:1:2\nserver.01=b:1:2", "server 1 is set twice"),
            ("server.x=a:1:2", 'server.x=a:1:2: For input string: "x"'),
            ("server.-1=a:1:2", "a server id is not negative"),
            ("server.9223372036854775807=a:1:2", "a server id is not negative"),
            ("server.9223372036854775808=a:1:2", "For input string"),
            ("server.1=a:1", "does not have the form server_config"),
            ("server.1=a:1:2:participant:x", "does not have the form server_config"),
            ("server.1=a:1:2||b:1:2", "does not have the form server_config"),
            ("server.1=", "does not have the form server_config"),
            ("server.1=a:1:2;5;6;7", "does not have the form"),
            ("server.1=a:1:2;5;b", "Address unresolved: b"),
            ("server.1=a:1:1", "Client and election port must be different!"),
            ("server.1=a:1:65536", "port out of range:65536"),
            ("server.1=a:-1:2", "port out of range:-1"),
            ("server.1=a:1:2;h:x", "Address unresolved: x"),
            ("server.1=a:1:2:boss", "Unrecognised peertype: boss"),
            (
                "server.1=a:1:2:participant|b:1:2:observer",
                "Multiple addresses should have similar roles: PARTICIPANT vs OBSERVER",
            ),
            ("server.1=a\\u000ab:1:2", "is no host name"),
            ("server.1=a\\\\b:1:2", "is no host name"),
            ("server.1=[::1:1:2", "does not have the form"),
            ("server.1=\\u12", "Malformed"),
            ("version=G\nserver.1=a:1:2", 'For input string: "G"'),
            ("version=-1\nserver.1=a:1:2", 'For input string: "-1"'),
            ("version=8000000000000000\nserver.1=a:1:2", "For input string"),
            ("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1", "Server 2is not in a group"),
            ("server.1=a:1:2\nweight.1=1", "Server 1is not in a group"),
            ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", "Server 1is in multiple groups"),
            ("server.1=a:1:2\ngroup.1=1:1", "Server 1is in multiple groups"),
            ("server.1=a:1:2\ngroup.1=1:9", "Server 9 is in a group but is no participant"),
            ("server.1=a:1:2\ngroup.1=", 'For input string: ""'),
            ("server.1=a:1:2\ngroup1=1", 'For input string: ""'),
            ("server.1=a:1:2\ngroup.1=1\nweight.1=-1", "the weight of server 1 is negative"),
            ("server.1=a:1:2\ngroup.1=1\nweight.1=x", 'For input string: "x"'),
        ],
    )
    def test_what_is_wrong_is_refused(self, lines: str, message: str) -> None:
        with pytest.raises(ConfigError) as refused:
            of(lines, multi_address=True)
        assert message in str(refused.value)

    def test_several_addresses_need_the_feature(self) -> None:
        with pytest.raises(ConfigError, match="multiple addresses were specified for sid 1"):
            of("server.1=a:1:2|b:1:2")


HIERARCHIES = [
    (
        "group.1=1:2:3\ngroup.2=4:5\ngroup.3=6:7\nweight.2=0\nweight.4=3",
        0xFFA0FFA0A000A000A000A000A000A000,
    ),
    (
        "group.1=1:2:3:4\ngroup.2=5:6\ngroup.3=7\nweight.7=0",
        0xE880000000000000E880000000000000,
    ),
    ("group.1=1:2:3:4:5:6:7\nweight.1=5", 0xEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA8),
]
"""Seven servers, and for each set of them (as bits, server 1 the lowest) whether it is a quorum
to Apache 3.9.5."""


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("zk1", "zk1:2181"), ("127.0.0.1", "127.0.0.1:2181"), ("0:0:0:0:0:0:0:1", "[::1]:2181"),
        ("::", "[::]:2181"), ("fe80:0:0:0:0:0:0:1%eth0", "[fe80::1%eth0]:2181"),
    ],
)  # fmt: skip
def test_addresses_are_shown_as_people_write_them(host: str, shown: str) -> None:
    assert readable(host, 2181) == shown


class TestQuorum:
    @pytest.mark.parametrize("voters", range(1, 8))
    def test_of_a_majority_is_more_than_half_of_the_voters(self, voters: int) -> None:
        config = majority(voters, "server.20=o:1:2:observer")
        for size in range(voters + 1):
            for ids in combinations(range(1, voters + 1), size):
                assert config.contains_quorum(ids) == (2 * size > voters)
                assert config.contains_quorum([*ids, 20, 21, 22, 23]) == (2 * size > voters)

    @pytest.mark.parametrize(("groups", "quorums"), HIERARCHIES)
    def test_of_a_hierarchy_is_apache_s(self, groups: str, quorums: int) -> None:
        config = majority(7, groups)
        for bits in range(128):
            ids = [at + 1 for at in range(7) if bits >> at & 1]
            assert config.contains_quorum(ids) == bool(quorums >> bits & 1), ids

    def test_observers_in_a_group_weigh_but_never_answer(self) -> None:
        config = of("server.1=a:1:2", "server.2=b:1:2:observer", "group.1=1:2", "weight.2=1")
        assert not config.contains_quorum([1])
        assert not config.contains_quorum([1, 2])

    def test_weights_of_a_hierarchy(self) -> None:
        config = majority(3, "server.4=o:1:2:observer", "group.1=1:2:3", "weight.2=0", "weight.3=7")
        assert [config.weight(at) for at in (1, 2, 3, 4, 9)] == [1, 0, 7, 0, 0]

    def test_everybody_weighs_one_in_a_majority(self) -> None:
        assert [majority(2).weight(at) for at in (1, 2, 9)] == [1, 1, 1]


class TestQuorumZxid:
    @pytest.mark.parametrize(
        ("acked", "zxid"),
        [
            ({}, -1),
            ({1: 5}, -1),
            ({1: 5, 2: 3}, 3),
            ({1: 5, 2: 3, 3: 4}, 4),
            ({1: 5, 9: 5, 10: 5}, -1),
            ({1: 0, 2: 0}, 0),
        ],
    )
    def test_of_three(self, acked: dict[int, int], zxid: int) -> None:
        assert majority(3).quorum_zxid(acked) == zxid

    @pytest.mark.parametrize("groups", ["", *(groups for groups, _ in HIERARCHIES)])
    def test_is_the_largest_that_a_quorum_has_reached(self, groups: str) -> None:
        config = majority(7, *filter(None, [groups]))
        rng = Random(7)
        for _ in range(300):
            some = rng.sample(range(1, 10), rng.randint(0, 9))
            acked = {server_id: rng.randrange(6) for server_id in some}
            reached = [
                zxid
                for zxid in range(6)
                if config.contains_quorum([id_ for id_, at in acked.items() if at >= zxid])
            ]
            assert config.quorum_zxid(acked) == max(reached, default=-1), acked


class TestSameMembers:
    @pytest.mark.parametrize(
        ("other", "same"),
        [
            (["server.1=a:1:2", "server.2=b:1:2"], True),
            (["server.2=b:1:2:participant", "server.1=a:1:2", "version=5"], True),
            (["server.1=a:1:2", "server.2=c:1:2"], False),
            (["server.1=a:1:2", "server.2=c:1:2", "version=3"], True),
            (["server.1=a:1:2", "server.2=b:1:3"], False),
            (["server.1=a:1:2", "server.2=b:1:2:observer"], False),
            (["server.1=a:1:2", "server.2=b:1:2;7"], False),
            (["server.1=a:1:2"], False),
            (["server.1=a:1:2", "server.2=b:1:2", "group.1=1:2", "version=3"], False),
        ],
    )
    def test_as_the_reference_compares(self, other: list[str], same: bool) -> None:
        config = of("server.1=a:1:2", "server.2=b:1:2", "version=3")
        assert config.same_members(of(*other)) == same
        assert of(*other).same_members(config) == same

    def test_weights_count(self) -> None:
        lines = ("server.1=a:1:2", "server.2=b:1:2", "group.1=1:2")
        weighted = of(*lines, "weight.1=1", "version=1")
        assert of(*lines).same_members(weighted)
        assert not of(*lines, "weight.1=2").same_members(weighted)
