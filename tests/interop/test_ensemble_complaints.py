"""What servers of an ensemble print about each other is judged by what explains it."""

from __future__ import annotations

import pytest

from tests.interop.ensemble_complaints import complaints
from tests.support.ensembles import APACHE, APACHE_BEFORE, KRAAL

PRINTED = "2026-01-02 03:04:05,678 [QuorumPeer[myid=1]] WARN  Learner - {}\n"


@pytest.mark.parametrize(
    "text",
    [
        "Got zxid 0x200000001 expected 0x1", "Got zxid 0x200000001 expected 0x100000005",
        "Exception when following the leader\njava.io.EOFException: null\n\tat java.base/x(y.java)",
        "Exception when following the leader\njava.net.SocketException: Connection or outbound has "
        "been closed\n\tat java.base/sun.security.ssl.x(y.java)",
    ],
)  # fmt: skip
def test_lost_peers_are_no_complaint(text: str) -> None:
    assert complaints(APACHE, PRINTED.format(text), [APACHE]) == []


@pytest.mark.parametrize("whom", ["server 3 at member3:2", "the leader at member3:1"])
def test_a_member_that_cannot_be_dialled_is_no_complaint(whom: str) -> None:
    line = f"2026-01-02 03:04:05,678 WARN  kraal.server.x Cannot dial {whom}: Connection refused\n"
    assert complaints(KRAAL, line, [KRAAL]) == []


@pytest.mark.parametrize(
    "text",
    [
        "Got zxid 0x200000007 expected 0x200000005",
        "Exception when following the leader\njava.lang.NullPointerException: \"pif\" is null",
        "Got EOFException while reading the last processed zxid, likely due to an older snapshot.",
        "Something new",
    ],
)  # fmt: skip
def test_what_nothing_explains_is_a_complaint(text: str) -> None:
    assert len(complaints(APACHE, PRINTED.format(text), [APACHE, KRAAL])) == 1


def test_the_release_before_has_its_own_excuses() -> None:
    text = PRINTED.format(
        'Exception when following the leader\njava.lang.NullPointerException: x "pif" is null'
    )
    assert complaints(APACHE_BEFORE, text, [APACHE_BEFORE]) == []
