"""Contexts that follow their files."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest
import trustme

from kraal.errors import ConfigError
from kraal.model.tls import Store
from kraal.tls.reloading import Made, ReloadingContext
from kraal.tls.stores import load_key


def write(path: Path, authority: trustme.CA, **more: object) -> None:
    """As a careful tool does it: beside, then renamed."""
    issued = authority.issue_cert("localhost", **more)  # type: ignore[arg-type]
    beside = path.with_name("beside")
    issued.private_key_and_cert_chain_pem.write_to_path(beside)
    beside.replace(path)


def following(path: Path) -> ReloadingContext:
    def make() -> Made:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return Made(context, tuple(load_key(context, Store(path))))

    return ReloadingContext(make, [path])


def test_a_file_that_changes_is_taken_up(tmp_path: Path) -> None:
    path, authority = tmp_path / "key.pem", trustme.CA()
    write(path, authority)
    contexts = following(path)
    first = contexts()
    assert contexts() is first
    write(path, authority)
    second = contexts()
    assert second is not first
    assert contexts() is second


def test_a_symbolic_link_that_is_moved_counts(tmp_path: Path) -> None:
    """So does Kubernetes change the files of a secret."""
    authority, link = trustme.CA(), tmp_path / "now"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "key.pem", authority)
    link.symlink_to("one")
    contexts = following(link / "key.pem")
    first = contexts()
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(link)
    assert contexts() is not first


def test_a_broken_file_changes_nothing_until_it_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, authority = tmp_path / "key.pem", trustme.CA()
    write(path, authority)
    contexts = following(path)
    first, expiry_s = contexts(), contexts.expiry_s
    whole = path.read_bytes()
    for broken in (whole[:100], b"", None):
        caplog.clear()
        path.unlink()
        if broken is not None:
            path.write_bytes(broken)
        assert contexts() is first
        assert "New TLS files are not used, those before stay in use" in caplog.text
        assert str(path) in caplog.text
        caplog.clear()
        assert contexts() is first
        assert caplog.text == ""  # it is said once
        assert contexts.expiry_s == expiry_s
    with caplog.at_level(logging.INFO):
        write(path, authority)
        assert contexts() is not first
    assert f"New TLS files are in use: {path}" in caplog.text


def test_what_is_broken_from_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        following(tmp_path / "missing")


def test_certificates_that_expire_soon_are_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from datetime import UTC, datetime, timedelta

    path, authority = tmp_path / "key.pem", trustme.CA()
    end = datetime.now(UTC) + timedelta(days=3, hours=1)
    write(path, authority, not_after=end)
    assert following(path).expiry_s == int(end.timestamp())
    assert f"A certificate of {path} expires in 3 days" in caplog.text
    caplog.clear()
    write(path, authority, not_before=end - timedelta(days=9), not_after=end - timedelta(days=8))
    following(path)
    assert f"A certificate of {path} has expired" in caplog.text
