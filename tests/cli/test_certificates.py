"""What `kraal doctor` says of certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.cli.written import DAMAGED, OK, WARNINGS, Written, kraal


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "written")


def test_doctor_looks_at_the_certificates_of_a_zoo_cfg(written: Written, tmp_path: Path) -> None:
    store, zoo_cfg = tmp_path / "key.pem", tmp_path / "zoo.cfg"
    zoo_cfg.write_text(
        f"dataDir={written.path}\nclientPort=2181\nextendedTypesEnabled=true\nsnapCount=x\n"
        f"admin.forceHttps=true\nssl.quorum.keyStore.location={store}\n"
    )
    now = datetime.now(UTC)
    for days, code, text in (
        (300, OK, "a certificate expires on"),
        (9, WARNINGS, "a certificate expires on"),
        (-1, WARNINGS, "a certificate has expired on"),
    ):
        end = now + timedelta(days=days)
        issued = trustme.CA().issue_cert("h", not_before=now - timedelta(days=9), not_after=end)
        issued.private_key_and_cert_chain_pem.write_to_path(store)
        result = kraal("doctor", zoo_cfg)
        assert result.exit_code == code, result.output
        assert f"{store}: {text} {end:%Y-%m-%d}" in result.stdout.replace("\n", " ")
        assert "line 4: snapCount=x: not a number" in result.stdout.replace("\n", " ")
    store.unlink()
    result = kraal("doctor", zoo_cfg)
    assert result.exit_code == WARNINGS
    assert "No such file or directory" in result.stdout.replace("\n", " ")


@pytest.mark.parametrize("prefix", ["ssl", "ssl.quorum"])
def test_doctor_looks_at_the_certificates_without_which_nothing_starts(
    written: Written, tmp_path: Path, prefix: str
) -> None:
    store, zoo_cfg = tmp_path / "key.pem", tmp_path / "zoo.cfg"
    (written.path / "myid").write_text("1")
    zoo_cfg.write_text(
        f"dataDir={written.path}\nextendedTypesEnabled=true\nsecureClientPort=2281\n"
        f"ssl.clientAuth=none\nssl.quorum.clientAuth=none\nsslQuorum=true\ninitLimit=10\n"
        f"syncLimit=5\nserver.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n"
        f"ssl.keyStore.location={store}\nssl.quorum.keyStore.location={store}\n"
        f"{prefix}.keyStore.location={tmp_path / 'missing'}\n"
    )
    trustme.CA().issue_cert("h").private_key_and_cert_chain_pem.write_to_path(store)
    result = kraal("doctor", zoo_cfg)
    shown = " ".join(result.stdout.split())
    assert result.exit_code == DAMAGED, result.output
    assert f"{tmp_path / 'missing'}: No such file or directory" in shown
    assert "until then the server does not start" in shown
    assert f"{store}: a certificate expires on" in shown
