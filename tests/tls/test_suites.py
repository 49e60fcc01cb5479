"""Versions and cipher suites by the names of ZooKeeper's settings."""

from __future__ import annotations

import ssl

import pytest

from kraal.errors import ConfigError
from kraal.tls.suites import openssl_name, restrict

# The defaults of ZooKeeper 3.9.5.
GCM = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
CBC = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"
V1_3 = "TLS_AES_256_GCM_SHA384"


def restricted(protocols: list[str], suites: list[str]) -> tuple[str, str, set[str]]:
    """Lowest and highest version, and the suites of TLS 1.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    restrict(context, protocols, suites)
    older = {one["name"] for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"}
    return context.minimum_version.name, context.maximum_version.name, older


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        (GCM, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (CBC, "ECDHE-RSA-AES128-SHA256"),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"),
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", "DHE-RSA-AES256-SHA256"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
    ],
)
def test_names(name: str, spelled: str) -> None:
    assert openssl_name(name) == spelled
    assert restricted([], [name])[2] == {spelled}


def test_versions_follow_the_protocols_and_the_suites() -> None:
    assert restricted([], [])[:2] == ("TLSv1_2", "TLSv1_3")
    assert restricted(["TLSv1.3"], [])[:2] == ("TLSv1_3", "TLSv1_3")
    assert restricted(["TLSv1.2", "TLSv1.3"], [GCM, CBC, V1_3])[:2] == ("TLSv1_2", "TLSv1_3")
    assert restricted([], [GCM])[:2] == ("TLSv1_2", "TLSv1_2")
    assert restricted([], [V1_3])[:2] == ("TLSv1_3", "TLSv1_3")


@pytest.mark.parametrize(
    ("protocols", "suites", "reason"),
    [
        (["TLSv9"], [], "TLSv9 is none of the protocols"),
        ([], ["TLS_ECDHE_RSA_WITH_NOTHING"], "no cipher suite TLS_ECDHE_RSA_WITH_NOTHING"),
        ([], [GCM, "TLS_NOTHING"], "no cipher suite TLS_NOTHING"),
        (["TLSv1.2"], [V1_3], "none of the cipher suites belongs to one of the protocols"),
        (["TLSv1.3"], [GCM], "none of the cipher suites belongs to one of the protocols"),
    ],
)
def test_what_is_wrong_is_named(protocols: list[str], suites: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        restricted(protocols, suites)
