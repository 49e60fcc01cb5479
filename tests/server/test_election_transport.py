"""Election connections on loopback: between ours, and with peers written out byte by byte."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from kraal.errors import ConfigError
from kraal.model.ensemble import Address, EnsembleConfig
from kraal.server import election_transport
from kraal.server.election_transport import UNIDENTIFIED_MAX, UNKNOWN_MAX
from kraal.wire.records.election import MESSAGE_MAX_BYTES
from kraal.zab.state import State
from tests.server.election_peers import (
    Foreign,
    Ours,
    dialled,
    ensemble,
    frame,
    initial,
    settings_of,
    started,
)
from tests.support.servers import HOST, free_port
from tests.support.voter import Voter

PATIENCE_SECONDS = 20.0
REFUSED = r"refused|failed"

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine in a loop of either kind, with a limit to everything it waits for."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_it(main: Coroutine[Any, Any, None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await main

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(limited())

    return run_it


class TestWhoKeepsTheConnection:
    def test_the_larger_id_dials_introduces_itself_and_keeps_it(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            ours = Ours(2, settings_of(config))
            async with started(ours), Foreign(config, 1) as peer:
                ours.send(1, b"vote")
                ours.send(1, b"newer vote")
                stream = await peer.accepted.get()
                assert await stream.says_hello() == (2, str(config.members[2].election[0]))
                assert await stream.frame() == b"newer vote"
                stream.send(frame(b"answer"))
                assert await ours.inbox.get() == (1, b"answer")
                ours.send(1, b"third")
                assert await stream.frame() == b"third"
                assert peer.accepted.empty()

        run(main())

    def test_the_smaller_id_closes_and_is_dialled_back(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            ours = Ours(2, settings_of(config))
            async with started(ours), Foreign(config, 3) as peer:
                ours.send(3, b"vote")
                stream = await peer.accepted.get()
                assert await stream.says_hello() == (2, str(config.members[2].election[0]))
                assert await stream.is_closed()
                ours.send(3, b"newer vote")
                async with dialled(ours, initial(3, str(peer.address))) as back:
                    assert await back.frame() == b"newer vote"
                    back.send(frame(b"answer"))
                    assert await ours.inbox.get() == (3, b"answer")
                assert peer.accepted.empty(), "it was told once"

        run(main())

    @pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[0:0:0:0:0:0:0:0]"])
    def test_a_smaller_id_is_dialled_back_where_it_says(self, run: Run, host: str) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            elsewhere = ensemble(1)
            is_wildcard = host != HOST
            ours = Ours(2, settings_of(config))
            async with started(ours), Foreign(config if is_wildcard else elsewhere, 1) as peer:
                async with dialled(ours, initial(1, f"{host}:{peer.address.port}")) as stream:
                    assert await stream.is_closed()
                back = await peer.accepted.get()
                assert (await back.says_hello())[0] == 2
                back.send(frame(b"vote"))
                assert await ours.inbox.get() == (1, b"vote")

        run(main())

    def test_a_smaller_id_that_asks_again_gets_a_new_connection(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            ours = Ours(2, settings_of(config))
            async with started(ours), Foreign(config, 1) as peer:
                ours.send(1, b"vote")
                first = await peer.accepted.get()
                await first.says_hello()
                assert await first.frame() == b"vote"
                async with dialled(ours, initial(1, str(peer.address))) as stream:
                    assert await stream.is_closed()
                    assert await first.is_closed()
                second = await peer.accepted.get()
                await second.says_hello()
                assert await second.frame() == b"vote", "the last one is sent again"

        run(main())

    def test_a_newer_connection_of_a_larger_id_replaces_the_older(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            ours = Ours(2, settings_of(config))
            hello = initial(3, str(config.members[3].election[0]))
            async with started(ours), dialled(ours, hello) as first:
                first.send(frame(b"one"))
                assert await ours.inbox.get() == (3, b"one")
                ours.send(3, b"vote")
                assert await first.frame() == b"vote"
                async with dialled(ours, hello) as second:
                    assert await second.frame() == b"vote"
                    assert await first.is_closed()
                    second.send(frame(b"two"))
                    assert await ours.inbox.get() == (3, b"two")

        run(main())

    def test_a_dial_that_failed_is_made_up_by_the_next_notification(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            ours = Ours(2, settings_of(config))
            async with started(ours):
                ours.send(1, b"vote")
                while ours._dials:
                    await asyncio.sleep(0.001)
                async with Foreign(config, 1) as peer:
                    ours.send(1, b"newer vote")
                    stream = await peer.accepted.get()
                    await stream.says_hello()
                    assert await stream.frame() == b"newer vote"

        run(main())

    def test_the_last_seen_configuration_is_dialled_too(self, run: Run) -> None:
        async def main() -> None:
            config, proposed = ensemble(2), ensemble(1)
            ours = Ours(2, settings_of(config, last_seen=proposed))
            async with started(ours), Foreign(proposed, 1) as peer:
                ours.send(1, b"vote")
                stream = await peer.accepted.get()
                await stream.says_hello()
                assert await stream.frame() == b"vote"

        run(main())

    def test_multi_address_introduces_itself_with_all_of_them(self, run: Run) -> None:
        async def main() -> None:
            port = free_port()
            line = f"server.2=127.0.0.1:{free_port()}:{port}|127.0.0.2:{free_port()}:{port}"
            config = EnsembleConfig.parse(
                f"server.1={HOST}:{free_port()}:{free_port()}\n{line}", multi_address=True
            )
            ours = Ours(2, settings_of(config, multi_address=True))
            async with started(ours), Foreign(config, 1) as peer:
                ours.send(1, b"vote")
                stream = await peer.accepted.get()
                assert await stream.says_hello() == (2, f"127.0.0.1:{port}|127.0.0.2:{port}")
                async with dialled(ours, initial(3, "zk3:1"), "127.0.0.2") as second:
                    second.send(frame(b"hello"))
                    assert await ours.inbox.get() == (3, b"hello")

        run(main())


class TestFrames:
    def test_a_split_initial_message_is_accepted(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            ours = Ours(2, settings_of(config))
            async with started(ours), dialled(ours) as stream:
                for byte in initial(3, "zk3:32023") + frame(b"vote"):
                    stream.send(bytes([byte]))
                    await stream.writer.drain()
                    await asyncio.sleep(0)
                assert await ours.inbox.get() == (3, b"vote")

        run(main())

    def test_the_form_of_3_4_and_frames_in_one_segment(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            ours = Ours(2, settings_of(config))
            first = struct.pack(">q", 3) + frame(b"one") + frame(b"two")
            async with started(ours), dialled(ours, first):
                assert await ours.inbox.get() == (3, b"one")
                assert await ours.inbox.get() == (3, b"two")

        run(main())

    def test_the_longest_notification(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            one, two = Ours(1, settings_of(config)), Ours(2, settings_of(config))
            async with started(one, two):
                longest = bytes(range(256)) * (MESSAGE_MAX_BYTES // 256)
                one.send(2, longest)
                assert await two.inbox.get() == (1, longest)

        run(main())

    @pytest.mark.parametrize(
        "data",
        [
            struct.pack(">q", -1),
            struct.pack(">qqi", -65536, 3, 0),
            struct.pack(">qqi", -65536, 3, 2049),
            b"GET / HTTP/1.1\r\n\r\n" * 200,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 200,
            initial(3, "no address"),
            initial((1 << 63) - 1, "zk3:1"),
            initial(-5, "zk3:1"),
            initial(2, "zk2:1"),
            initial(3, "zk3:1") + struct.pack(">i", 0),
            initial(3, "zk3:1") + struct.pack(">i", -1),
            initial(3, "zk3:1") + struct.pack(">i", MESSAGE_MAX_BYTES + 1),
        ],
    )
    def test_garbage_is_closed_and_nobody_else_notices(self, run: Run, data: bytes) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            ours = Ours(2, settings_of(config))
            async with started(ours):
                async with dialled(ours, data) as stream:
                    # "GET / HT" is an id; the rest of it is a frame too long.
                    assert await stream.is_closed()
                async with dialled(ours, initial(3, "zk3:1") + frame(b"vote")):
                    assert await ours.inbox.get() == (3, b"vote")
                assert ours.inbox.empty()

        run(main())

    def test_a_peer_that_does_not_read_costs_its_newest_notification_only(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            ours = Ours(2, settings_of(config))
            async with started(ours), dialled(ours, initial(3, "zk3:1") + frame(b"!")) as stream:
                await ours.inbox.get()
                for number in range(300):
                    ours.send(3, struct.pack(">i", number) * 25_000)
                    await asyncio.sleep(0)
                seen = -1
                numbers = []
                while seen < 299:
                    (seen,) = struct.unpack_from(">i", await stream.frame())
                    numbers.append(seen)
                assert numbers == sorted(set(numbers))
                assert len(numbers) < 250, "older ones were replaced"

        run(main())


class TestStrangers:
    def test_silent_connections_do_not_block_others(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            one, two = Ours(1, settings_of(config)), Ours(2, settings_of(config))
            async with started(one, two), AsyncExitStack() as stack:
                silent = [
                    await stack.enter_async_context(dialled(two))
                    for _ in range(UNIDENTIFIED_MAX + 20)
                ]
                one.send(2, b"vote")
                assert await two.inbox.get() == (1, b"vote")
                two.send(1, b"answer")
                assert await one.inbox.get() == (2, b"answer")
                for stream in silent[:20]:
                    assert await stream.is_closed(), "there is a bound, and the first ones go"

        run(main())

    def test_who_stays_silent_is_closed(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            ours = Ours(2, settings_of(config, quorum_cnxn_timeout_ms=50))
            async with started(ours), dialled(ours, initial(3, "zk3:1")[:-1]) as stream:
                assert await stream.is_closed()

        run(main())

    def test_joiners_are_heard_and_answered_but_not_dialled(self, run: Run) -> None:
        async def main() -> None:
            config, joiner = ensemble(2, 3), ensemble(1, 9)
            ours = Ours(2, settings_of(config))
            async with started(ours), Foreign(joiner, 9) as larger, Foreign(joiner, 1) as smaller:
                ours.send(9, b"dropped")
                async with dialled(ours, initial(9, str(larger.address))) as stream:
                    stream.send(frame(b"question"))
                    assert await ours.inbox.get() == (9, b"question")
                    ours.send(9, b"answer")
                    assert await stream.frame() == b"answer"
                async with dialled(ours, initial(1, str(smaller.address))) as stream:
                    assert await stream.is_closed()
                back = await smaller.accepted.get()
                await back.says_hello()
                ours.send(1, b"answer")
                assert await back.frame() == b"answer"
                async with dialled(ours, initial(1, "0.0.0.0:1")) as stream:
                    assert await stream.is_closed()
                assert larger.accepted.empty()
                assert smaller.accepted.empty()

        run(main())

    def test_there_is_a_bound_to_joiners_but_members_are_always_welcome(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            ours = Ours(2, settings_of(config))
            async with started(ours), AsyncExitStack() as stack:
                for id_ in range(100, 100 + UNKNOWN_MAX):
                    hello = initial(id_, "zk:1") + frame(b"question")
                    await stack.enter_async_context(dialled(ours, hello))
                    assert await ours.inbox.get() == (id_, b"question")
                async with dialled(ours, initial(99, "zk:1")) as stream:
                    assert await stream.is_closed()
                async with dialled(ours, initial(3, "zk3:1") + frame(b"vote")):
                    assert await ours.inbox.get() == (3, b"vote")

        run(main())


class TestPort:
    def test_a_port_that_is_taken(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            ours = Ours(2, settings_of(config, election_port_bind_retry=1))
            with socket.socket() as taken:
                taken.bind(config.members[2].election[0])
                taken.listen()
                with pytest.raises(OSError, match="in use"):
                    await ours.start()
            await ours.start()
            await ours.stop()

        run(main())

    @pytest.mark.parametrize("attempts", [3, 0])
    def test_a_port_that_becomes_free(
        self, run: Run, attempts: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(election_transport, "BIND_RETRY_SECONDS", 0.05)

        async def main() -> None:
            config = ensemble(1, 2)
            ours = Ours(2, settings_of(config, election_port_bind_retry=attempts))
            with socket.socket() as taken:
                taken.bind(config.members[2].election[0])
                taken.listen()
                asyncio.get_running_loop().call_later(0.07, taken.close)
                await ours.start()
            async with started(Ours(1, settings_of(config))):
                await ours.stop()

        run(main())

    def test_an_own_name_that_resolves_late(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As in Kubernetes, where the name of a pod is known after its start."""
        monkeypatch.setattr(election_transport, "BIND_RETRY_SECONDS", 0.01)
        unresolved = [socket.gaierror(socket.EAI_NONAME, "Name or service not known")] * 5

        async def resolve(address: Address) -> str:
            if unresolved:
                raise unresolved.pop()
            return address.host

        monkeypatch.setattr(election_transport, "resolve", resolve)

        async def main() -> None:
            ours = Ours(2, settings_of(ensemble(1, 2), election_port_bind_retry=1))
            await ours.start()
            await ours.stop()

        run(main())
        assert caplog.text.count("cannot be resolved yet: [Errno -2] Name or service not") == 5

    def test_a_member_that_cannot_be_resolved_is_named_once(
        self, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def main() -> None:
            text = f"server.1=nosuch.invalid:2888:{free_port()}\nserver.2={HOST}:1:{free_port()}"
            ours = Ours(2, settings_of(EnsembleConfig.parse(text)))
            async with started(ours):
                for _ in range(3):
                    ours.send(1, b"vote")
                    while ours._dials:
                        await asyncio.sleep(0.001)

        run(main())
        warnings = [one for one in caplog.records if one.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "Cannot dial server 1 at nosuch.invalid:" in caplog.text

    def test_all_addresses_or_the_own_one_only(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            ours = Ours(2, settings_of(config))
            async with started(ours):
                with pytest.raises(OSError, match=REFUSED):
                    async with dialled(ours, host="127.0.0.2"):
                        pass
            ours = Ours(2, settings_of(config, quorum_listen_on_all_ips=True))
            hello = initial(3, "zk3:1") + frame(b"vote")
            async with started(ours), dialled(ours, hello, "127.0.0.2"):
                assert await ours.inbox.get() == (3, b"vote")

        run(main())

    def test_a_server_that_is_no_member(self, run: Run) -> None:
        async def main() -> None:
            with pytest.raises(ConfigError):
                await Ours(9, settings_of(ensemble(1, 2))).start()

        run(main())

    def test_stopping_closes_the_port_and_every_connection(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3, 4)
            ours = Ours(2, settings_of(config))
            await ours.start()
            hello = initial(3, "zk3:1") + frame(b"vote")
            async with dialled(ours, hello) as stream, dialled(ours) as silent:
                assert await ours.inbox.get() == (3, b"vote")
                ours.send(4, b"nobody is there")
                await ours.stop()
                ours.send(3, b"too late")
                assert await stream.is_closed()
                assert await silent.is_closed()
            with pytest.raises(OSError, match=REFUSED):
                async with dialled(ours):
                    pass

        run(main())

    def test_stopping_at_every_moment_of_a_dial(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            async with Foreign(config, 1):
                for turns in range(100):
                    ours = Ours(2, settings_of(config))
                    await ours.start()
                    ours.send(1, b"vote")
                    for _ in range(turns % 20):
                        await asyncio.sleep(0)
                    await ours.stop()

        run(main())


class TestReconfiguration:
    def test_another_version_of_the_same_members_changes_nothing(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            ours = Ours(2, settings_of(config))
            async with started(ours), dialled(ours, initial(3, "zk3:1")) as stream:
                stream.send(frame(b"one"))
                await ours.inbox.get()
                ours.reconfigure(config.with_version(5), None)
                stream.send(frame(b"two"))
                assert await ours.inbox.get() == (3, b"two")

        run(main())

    def test_other_members_close_every_connection(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2, 3)
            others = replace(config, members={**config.members, **ensemble(4).members}, version=5)
            ours = Ours(2, settings_of(config))
            async with started(ours), Foreign(config, 1) as first, Foreign(others, 4) as fourth:
                async with dialled(ours, initial(3, "zk3:1") + frame(b"one")) as stream:
                    await ours.inbox.get()
                    ours.send(3, b"vote")
                    ours.send(1, b"on its way")
                    ours.reconfigure(others, None)
                    assert await stream.frame() == b"vote"
                    assert await stream.is_closed()
                ours.send(4, b"to the new one")
                assert await (await fourth.accepted.get()).says_hello()
                async with dialled(ours, initial(3, "zk3:1") + frame(b"two")) as stream:
                    assert await ours.inbox.get() == (3, b"two")
                    ours.send(3, b"new vote")
                    assert await stream.frame() == b"new vote", "the old one is forgotten"
                ours.send(1, b"new vote")
                redialled = await first.accepted.get()
                await redialled.says_hello()
                assert await redialled.frame() == b"new vote"

        run(main())

    def test_within_a_notification(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            others = replace(config, members={**config.members, **ensemble(4).members}, version=5)
            heard: list[bytes] = []

            def received(_server_id: int, message: bytes) -> None:
                heard.append(message)
                ours.reconfigure(others, None)

            ours = Ours(2, settings_of(config))
            ours._received = received
            async with started(ours):
                hello = initial(3, "zk3:1") + frame(b"newer") + frame(b"lost with the connection")
                async with dialled(ours, hello) as stream:
                    assert await stream.is_closed()
            assert heard == [b"newer"]

        run(main())

    def test_an_own_address_that_changes(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(2, 3)
            moved = replace(config, members={**config.members, **ensemble(2).members}, version=5)
            ours = Ours(2, settings_of(config))
            async with started(ours):
                ours.reconfigure(moved, None)
                while not ours._listening:
                    await asyncio.sleep(0.001)
                async with dialled(ours, initial(3, "zk3:1") + frame(b"vote")):
                    assert await ours.inbox.get() == (3, b"vote")
                with pytest.raises(OSError, match=REFUSED):
                    await asyncio.open_connection(*config.members[2].election[0])

        run(main())


class TestElections:
    def test_three_of_ours_elect_the_largest_and_a_late_one_is_told(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2, 3, 4)
            voters = {id_: Voter(id_, settings_of(config)) for id_ in config.members}
            async with started(*(voters[id_] for id_ in (2, 1, 3))):
                assert await voters[1].decision() == (State.FOLLOWING, 3)
                assert await voters[2].decision() == (State.FOLLOWING, 3)
                assert await voters[3].decision() == (State.LEADING, 3)
                async with started(voters[4]):
                    assert await voters[4].decision() == (State.FOLLOWING, 3)

        run(main())

    def test_a_server_that_was_away_finds_the_others_again(self, run: Run) -> None:
        async def main() -> None:
            config = ensemble(1, 2)
            one = Voter(1, settings_of(config))
            async with started(one):
                for _ in range(3):
                    async with started(two := Voter(2, settings_of(config))):
                        assert await one.decision() == (State.FOLLOWING, 2)
                        assert await two.decision() == (State.LEADING, 2)
                    one.look()

        run(main())
