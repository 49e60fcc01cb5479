"""Ports for clients that speak TLS, in zoo.cfg."""

from __future__ import annotations

from pathlib import Path

import pytest

from kraal.errors import ConfigError
from kraal.model.tls import ClientAuth
from kraal.server.config.client import X509_PROVIDER
from kraal.server.config.file import load
from tests.server.config.test_file import load_text


def test_a_port_for_tls_alone_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text(f"dataDir={tmp_path}\nsecureClientPort=2281\nsecureClientPortAddress=::1")
    loaded = load(path, defines={}, environment={}, overrides={})
    config = loaded.config
    assert loaded.warnings == ()
    assert (config.client_port, config.secure_client_port) == (None, 2281)
    assert config.secure_client_host == "::1"
    assert config.client_tls is not None
    assert config.client_tls.client_auth is ClientAuth.NEED
    assert config.client_tls.protocols == ("TLSv1.3",)
    assert config.security.x509_provided


def test_without_tls_its_keys_are_not_read(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "ssl.clientAuth=maybe\nssl.keyStore.passwordPath=/missing")
    assert loaded.config.client_tls is None
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ssl.clientAuth=maybe", "ssl.clientAuth=maybe: neither none nor want nor need"),
        ("ssl.crl=true", "ssl.crl=true: kraal cannot ask for revoked certificates"),
        ("ssl.authProvider=other", "ssl.authProvider=other: kraal has no such provider"),
        ("ssl.keyStore.passwordPath=/missing", "/missing: No such file or directory"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_text(tmp_path, f"client.portUnification=true\n{text}")


def test_the_scheme_can_be_there_without_tls(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, f"authProvider.1={X509_PROVIDER}")
    assert loaded.config.security.x509_provided
    assert loaded.config.client_tls is None
    assert loaded.warnings == ()


def test_a_certificate_can_be_required(tmp_path: Path) -> None:
    enforced = "enforce.auth.enabled=true\nenforce.auth.schemes=x509\n"
    with pytest.raises(ConfigError, match="scheme x509 is not available"):
        load_text(tmp_path, enforced)
    config = load_text(tmp_path, f"{enforced}secureClientPort=0").config
    assert config.security.enforce_auth_schemes == ("x509",)
