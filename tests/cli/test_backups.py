"""What `kraal backup` and `kraal restore` refuse, and what counts for them."""

from __future__ import annotations

import json
from pathlib import Path

from kraal.model.zxid import show
from tests.cli.written import DAMAGED, OK, USAGE, WARNINGS, Written, files, json_of, kraal
from tests.storage.inspection.support import LAST_ZXID


def test_all_targets_are_looked_at_before_the_first_is_filled(
    written: Written, tmp_path: Path
) -> None:
    backup, empty, full = tmp_path / "backup", tmp_path / "empty", tmp_path / "full"
    kraal("backup", written.path, "--to", backup)
    kraal("restore", backup, "--data-dir", full)
    refused = kraal("restore", backup, "--data-dir", empty, "--data-dir", full)
    assert refused.exit_code == DAMAGED
    assert f"{full}/version-2 is not empty" in refused.stderr
    assert not empty.exists()
    twice = kraal("restore", backup, "--data-dir", empty, "--data-dir", f"{empty}/.")
    assert twice.exit_code == USAGE
    assert not empty.exists()


def test_a_damaged_backup_is_refused(written: Written, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    kraal("backup", written.path, "--to", backup)
    target = backup / "version-2" / "log.200000016"
    content = bytearray(target.read_bytes())
    content[70] ^= 1
    target.write_bytes(bytes(content))
    result = kraal("restore", backup, "--data-dir", tmp_path / "restored")
    assert result.exit_code == DAMAGED
    assert "differs from what was backed up" in result.stderr
    assert not (tmp_path / "restored" / "version-2").exists()
    (backup / "manifest.json").unlink()
    assert "is no backup" in kraal("backup", backup, "--verify").stderr


def test_damaged_logs_are_not_backed_up(written: Written, tmp_path: Path) -> None:
    written.flip("log.200000016", 60)
    result = kraal("backup", written.path, "--to", tmp_path / "backup")
    assert result.exit_code == DAMAGED
    assert "kraal doctor" in result.stderr
    assert not (tmp_path / "backup" / "manifest.json").exists()


def unpack_into(backup: Path, other: Path) -> None:
    """As `tar x` of a second archive does that has no manifest yet, or fewer files."""
    for name, content in files(other / "version-2").items():
        if not (backup / "version-2" / name).exists():
            (backup / "version-2" / name).write_bytes(content)


def test_files_of_another_backup_are_named_and_left_out(written: Written, tmp_path: Path) -> None:
    backup, other, target = tmp_path / "backup", tmp_path / "other", tmp_path / "restored"
    kraal("backup", written.path, "--to", backup)
    kraal("restore", backup, "--data-dir", other, "--above-epoch", 9)
    unpack_into(backup, other)
    verified = kraal("backup", backup, "--verify")
    assert verified.exit_code == WARNINGS
    assert "[not-in-manifest]" in verified.stdout
    assert "snapshot.a00000000" in verified.stdout
    found = json_of("backup", backup, "--verify")["findings"]
    assert {one["kind"] for one in found} == {"not-in-manifest"}
    assert kraal("doctor", backup).exit_code == WARNINGS
    dry = kraal("restore", backup, "--data-dir", target, "--dry-run")
    assert f"to {show(LAST_ZXID)}." in dry.stdout
    assert kraal("restore", backup, "--data-dir", target).exit_code == OK
    assert "snapshot.a00000000" not in files(target / "version-2")


def test_a_backup_that_ends_elsewhere_than_it_says_is_refused(
    written: Written, tmp_path: Path
) -> None:
    backup, target = tmp_path / "backup", tmp_path / "restored"
    kraal("backup", written.path, "--to", backup)
    manifest = json.loads((backup / "manifest.json").read_text())
    manifest["files"] = [one for one in manifest["files"] if one["name"] != "log.200000016"]
    (backup / "version-2" / "log.200000016").unlink()
    (backup / "manifest.json").write_text(json.dumps(manifest))
    for arguments in (
        ("backup", backup, "--verify"),
        ("restore", backup, "--data-dir", target),
        ("restore", backup, "--data-dir", target, "--dry-run"),
        ("doctor", backup),
    ):
        result = kraal(*arguments)
        assert result.exit_code == DAMAGED
        assert "not whole" in result.output
    assert not (target / "version-2").exists()


def test_an_epoch_that_none_follows_is_refused_before_anything_is_filled(
    written: Written, tmp_path: Path
) -> None:
    backup, target = tmp_path / "backup", tmp_path / "restored"
    kraal("backup", written.path, "--to", backup)
    for dry_run in ((), ("--dry-run",)):
        refused = kraal(
            "restore", backup, "--data-dir", target, "--data-dir", tmp_path / "second",
            "--above-epoch", 2**31 - 1, *dry_run,
        )  # fmt: skip
        assert refused.exit_code == DAMAGED
        assert "there is no epoch behind 2147483647" in refused.stderr
        assert not target.exists()
