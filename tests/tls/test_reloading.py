"""Contexts that follow their files."""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from kraal.errors import ConfigError
from kraal.model.tls import Store
from kraal.tls.reloading import DAY_S, HOUR_S, Made, ReloadingContext, when
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
        return Made(context, tuple(load_key(context, Store("ssl.keyStore", path))))

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
    path, authority = tmp_path / "key.pem", trustme.CA()
    end = datetime.now(UTC) + timedelta(days=3, hours=1)
    write(path, authority, not_after=end)
    assert following(path).expiry_s == int(end.timestamp())
    assert f"A certificate of {path} expires in 3 days ({end:%Y-%m-%d %H:%M} UTC)" in caplog.text
    caplog.clear()
    write(path, authority, not_before=end - timedelta(days=9), not_after=end - timedelta(days=8))
    following(path)
    assert f"A certificate of {path} has expired" in caplog.text


@pytest.mark.parametrize(
    ("left_s", "text"),
    [
        (-1, "has expired on"), (0, "has expired on"), (1, "expires within the hour"),
        (HOUR_S, "expires in 1 hour "), (23 * HOUR_S, "expires in 23 hours"),
        (DAY_S + HOUR_S, "expires in 25 hours"), (2 * DAY_S, "expires in 2 days"),
    ],
)  # fmt: skip
def test_how_soon_is_said_in_hours_in_the_end(left_s: int, text: str) -> None:
    assert when(1_800_000_000 + left_s, 1_800_000_000).startswith(text)


def test_a_new_file_that_has_expired_does_not_replace_a_valid_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, authority, now = tmp_path / "key.pem", trustme.CA(), datetime.now(UTC)
    past = {"not_before": now - timedelta(days=9), "not_after": now - timedelta(days=8)}
    write(path, authority)
    contexts = following(path)
    first, expiry_s = contexts(), contexts.expiry_s
    write(path, authority, **past)
    assert contexts() is first
    assert contexts.expiry_s == expiry_s
    assert "New TLS files are not used, those before stay in use" in caplog.text
    assert f"a certificate of {path} has expired on" in caplog.text
    caplog.clear()
    assert contexts() is first
    assert caplog.text == ""  # it is said once
    write(path, authority)
    assert contexts() is not first
    # What has expired itself is replaced by whatever comes.
    write(path, authority, **past)
    contexts = following(path)
    first = contexts()
    write(path, authority, **past)
    assert contexts() is not first


def test_an_old_authority_among_others_keeps_nothing_out(tmp_path: Path) -> None:
    """Bundles of authorities hold some that have expired; of the owner's chain the first counts."""
    path, authority, now = tmp_path / "key.pem", trustme.CA(), datetime.now(UTC)
    write(path, authority)
    chain = tuple(load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Store("ssl.keyStore", path)))
    past = {"not_before": now - timedelta(days=9), "not_after": now - timedelta(days=8)}
    write(path, authority, **past)
    old = tuple(load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Store("ssl.keyStore", path)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for made, is_valid in (
        (Made(context, chain + old, chain + old), True),
        (Made(context, old, chain), False),
        (Made(context, chain, old), False),
        (Made(context, (), old + chain), True),
    ):
        assert made.end_s is not None
        assert (made.end_s > now.timestamp()) == is_valid
    assert Made(context).end_s is None
