"""TLS between members: who is let in, how an ensemble comes to it, and what strangers send."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.server.conftest import connected, create, data_of
from tests.support.certificates import Certificates, certificates, server_settings
from tests.support.ensembles import KRAAL, Ensemble, Member, Shape
from tests.support.servers import HOST

MADE = certificates()
STORES = server_settings(MADE, "ssl.quorum.")
TLS = {"sslQuorum": "true", **STORES}


@contextmanager
def ensemble(
    directory: Path,
    settings: Mapping[str, object],
    own: Mapping[int, Mapping[str, object]] | None = None,
    *,
    members: int = 3,
) -> Iterator[Ensemble]:
    shape = Shape(participants=(KRAAL,) * members, settings=settings, own_settings=own or {})
    with Ensemble(directory, shape) as made:
        yield made


def until(member: Member, text: str) -> None:
    """Wait until its log has it."""
    end = time.monotonic() + 20
    while text not in member.log_text():
        assert time.monotonic() < end, member.log_text()[-3000:]
        time.sleep(0.02)


def ports(made: Ensemble, member: int) -> tuple[int, int]:
    """Quorum and election port."""
    lines = made.server_lines()
    found = re.search(rf"server\.{member}=[^:]+:(\d+):(\d+)", "\n".join(lines))
    assert found is not None
    return int(found[1]), int(found[2])


def speaks_tls(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=10) as sock:
        context = MADE.client(MADE.directory / "server.pem")
        with suppress(OSError), context.wrap_socket(sock, server_hostname=HOST):
            return True
    return False


def write_and_read(made: Ensemble, path: str) -> None:
    """A write through one member is seen through the others."""
    first, *others = made.living
    with connected(first.client_port) as client:
        assert create(client, path, b"here") == 0
    made.wait_in_step()
    for member in others:
        with connected(member.client_port) as client:
            assert data_of(client, path) == b"here"


def test_members_speak_tls_and_nothing_else(tmp_path: Path) -> None:
    with ensemble(tmp_path, TLS) as made:
        made.start()
        write_and_read(made, "/x")
        leader = made.wait_leader()
        quorum, election = ports(made, leader.id)
        for port, name in ((quorum, "quorum port"), (election, "election port")):
            assert speaks_tls(port)
            for junk in (
                b"\xff" * 100,
                b"GET / HTTP/1.0\r\n\r\n",
                b"\x16\x03\x01\xff\xff" + bytes(99),
            ):
                stranger = socket.create_connection((HOST, port), timeout=10)
                with stranger, suppress(OSError):
                    stranger.sendall(junk)
                    while stranger.recv(100):
                        pass
            until(leader, f"with the {name} failed: it does not speak TLS")
        # A large tree, and what is behind it, to a member that comes back with nothing.
        with connected(leader.client_port) as client:
            for at in range(30):
                assert create(client, f"/large{at}", bytes(500_000)) == 0
        follower = next(member for member in made.living if member is not leader)
        follower.stop()
        for file in follower.data.glob("*.*"):
            file.unlink()
        (follower.data.parent / "initialize").touch()
        follower.launch()
        made.wait_mode(follower, "follower")
        write_and_read(made, "/y")
        assert all("Traceback" not in member.log_text() for member in made.members.values())


def test_a_member_without_its_certificates_does_not_start(tmp_path: Path) -> None:
    with ensemble(tmp_path, {**TLS, "ssl.quorum.keyStore.location": MADE.trust}) as made:
        member = made.members[1]
        member.launch()
        assert member.server is not None
        assert member.server.process is not None
        assert member.server.process.wait(20) == 2
        until(member, f": ssl.quorum.keyStore.location={MADE.trust}: there is no private key in it")


def test_those_who_say_nothing_keep_no_member_out(tmp_path: Path) -> None:
    with ensemble(tmp_path, TLS) as made, ExitStack() as silent:
        made.start()
        for member in made.members:
            for _ in range(150):
                address = HOST, ports(made, member)[1]
                silent.enter_context(socket.create_connection(address, timeout=10))
        leader = made.wait_leader()
        until(leader, "Too many connections to the election port do not shake hands - max is 100")
        leader.stop()
        leader.launch()
        made.wait_serving()
        write_and_read(made, "/x")


def test_an_ensemble_comes_to_tls_in_three_steps(tmp_path: Path) -> None:
    """As the original's: both are accepted, then TLS is dialled, then only that is accepted."""
    with ensemble(tmp_path, {}) as made:
        made.start()
        steps = ({"portUnification": "true"}, {"portUnification": "true", "sslQuorum": "true"},
                 {"sslQuorum": "true"})  # fmt: skip
        for number, step in enumerate(steps):
            made.shape = replace(made.shape, settings={**STORES, **step})
            for member in made.members.values():
                member.stop()
                made._write_config(member)
                member.launch()
                made.wait_serving()
            write_and_read(made, f"/{number}")
            assert all(speaks_tls(ports(made, member)[1]) for member in made.members)


def test_a_member_with_a_strangers_certificate_stays_outside(tmp_path: Path) -> None:
    strangers = Certificates(tmp_path)
    own = {
        3: {
            "ssl.quorum.keyStore.location": strangers.issue("server", HOST),
            "ssl.quorum.trustStore.location": strangers.trust,
        }
    }
    with ensemble(tmp_path / "ensemble", TLS, own) as made:
        for member in made.members.values():
            member.launch()
        inside = [made.members[1], made.members[2]]
        made.wait_serving(members=inside)
        until(made.members[3], "its certificate is refused: ")
        assert made.members[3].mode() == ""
        with connected(inside[0].client_port) as client:
            assert create(client, "/x") == 0


@pytest.mark.parametrize("refused", [1, 3])
def test_who_is_refused_is_told_so_by_its_own_log(tmp_path: Path, refused: int) -> None:
    stranger = Certificates(tmp_path).issue("server", HOST)
    own = {refused: {"ssl.quorum.keyStore.location": stranger}}
    with ensemble(tmp_path / "ensemble", TLS, own) as made:
        for member in made.members.values():
            member.launch()
        until(made.members[refused], "says nothing: it refuses")


@pytest.mark.parametrize("plain", [1, 3])
def test_a_member_with_another_ssl_quorum_is_told_of(tmp_path: Path, plain: int) -> None:
    """Both in its own log and in that of the others, whoever dials whom."""
    with ensemble(tmp_path, TLS, {plain: {"sslQuorum": "false"}}) as made:
        odd, others = made.members[plain], [m for m in made.members.values() if m.id != plain]
        odd.launch()  # first: who has a leader dials nobody
        until(odd, "looking for a leader")
        for member in others:
            member.launch()
        made.wait_serving(members=others)
        with connected(others[0].client_port) as client:
            assert create(client, "/x") == 0
        if plain == 1:  # the others dial it
            until(odd, f"of {HOST}:")
            until(odd, "it speaks TLS, and this server does not: sslQuorum must be the same")
            until(others[0], "it closed the connection before a TLS handshake; if it speaks none:")
        else:
            until(odd, "has another sslQuorum")
        for each in others:
            until(each, "with the election port failed: it does not speak TLS, as sslQuorum=true"
                  " demands here")  # fmt: skip
        assert all("frame length" not in each.log_text() for each in made.members.values())


def test_tls_at_a_plain_quorum_port_is_told_of(tmp_path: Path) -> None:
    with ensemble(tmp_path, {}) as made:
        made.start()
        leader = made.wait_leader()
        for port, name in zip(
            ports(made, leader.id), ("connection", "election connection"), strict=True
        ):
            for _ in range(5):
                assert not speaks_tls(port)
            until(leader, f"Closing the {name} of {HOST}:")
        lines = [line for line in leader.log_text().splitlines() if "it speaks TLS, and" in line]
        assert len(lines) < 10  # one a second


def test_a_certificate_must_name_a_host_of_the_server_lines(tmp_path: Path) -> None:
    elsewhere = MADE.issue("quorum-elsewhere", "elsewhere.invalid")
    own = {3: {"ssl.quorum.keyStore.location": elsewhere}}
    with ensemble(tmp_path, TLS, own) as made:
        made.members[3].launch()
        until(made.members[3], "looking for a leader")
        for each in (1, 2):
            made.members[each].launch()
        made.wait_serving(members=[made.members[1], made.members[2]])
        until(made.members[1], "its certificate is of elsewhere.invalid, and no server line names")
        until(made.members[1], f"its certificate is of elsewhere.invalid, and not of {HOST}")
        assert made.members[3].mode() == ""
    trusting = {**TLS, "ssl.quorum.hostnameVerification": "false"}
    with ensemble(tmp_path / "unverified", trusting, own) as made:
        made.start()
        write_and_read(made, "/x")


def test_a_renewed_certificate_is_taken_up(tmp_path: Path) -> None:
    made_here = Certificates(tmp_path)
    store = made_here.issue("server", HOST)
    settings = {"sslQuorum": "true", **server_settings(made_here, "ssl.quorum.")}
    with ensemble(tmp_path / "ensemble", settings) as made:
        made.start()
        leader = made.wait_leader()
        made_here.issue("server", HOST)
        until(leader, f"New TLS files are in use: {store}, {made_here.trust}")
        follower = next(member for member in made.living if member is not leader)
        follower.stop()
        follower.launch()
        made.wait_serving()
        write_and_read(made, "/x")
