"""Starts on snapshots that were renamed or copied: they hide nothing that was acknowledged."""

from __future__ import annotations

import pytest

from kraal.model.config import SnapshotCodec
from kraal.storage.recovery import recover
from kraal.tree import snapshot
from tests.storage.support import SNAPSHOT_DIR
from tests.storage.test_recovery import Disk


@pytest.mark.parametrize("taken", ["snapshot.a", "snapshot.14"])
@pytest.mark.parametrize("codec", SnapshotCodec)
def test_a_snapshot_with_the_name_of_a_later_one_hides_nothing(
    taken: str, codec: SnapshotCodec
) -> None:
    ending = f".{codec}" if codec else ""
    disk = Disk(snapshot_codec=codec)
    content = disk.fs.read(SNAPSHOT_DIR / (taken + ending))
    disk.rewrite("snapshot.1e" + ending, lambda _: content)
    recovered = disk.recover()
    assert recovered.tree.last_zxid == 30
    assert recovered.snapshot is not None
    assert recovered.snapshot.zxid == 20
    held = taken.replace("snapshot.", "0x")
    reason = f"holds the state of {held} only, not of 0x1e as its name says (it was renamed or"
    assert f"snapshot.1e{ending} is passed over: it {reason}" in recovered.warnings[0]
    # Behind all that is known it is refused, and there is nothing to lose.
    disk.rewrite("snapshot.ffffffffff" + ending, lambda _: content)
    disk.refuses(
        rf"snapshot\.ffffffffff.* holds the state of {held} only, not of 0xffffffffff .*, and "
        r"snapshot\.14.* leads to 0x1e\. A start comes to that once snapshot\.ffffffffff"
    )
    disk.remove("snapshot.ffffffffff" + ending)
    assert disk.recover().tree.last_zxid == 30


def test_a_renamed_snapshot_that_is_needed_is_refused() -> None:
    disk = Disk()
    disk.fs.rename(SNAPSHOT_DIR / "snapshot.14", SNAPSHOT_DIR / "snapshot.19")
    disk.remove("log.b")
    disk.refuses(
        r"0xb to 0x14 are missing\. If snapshot\.19 was renamed, give it back the name that it had"
    )
    disk.remove("log.15")
    disk.refuses(r"snapshot\.a .* leads to 0xa only: 0xb to 0x14 are missing\. If snapshot\.19 was")
    disk.remove("snapshot.0", "snapshot.a")
    disk.refuses(
        r"no snapshot can be used\. .*0x14 only, not of 0x19.* If snapshot\.19 was renamed"
    )


def test_a_digest_alone_does_not_prove_a_name_wrong() -> None:
    """As before 3.9, or with serializeLastProcessedZxid.enabled=false."""
    disk = Disk(serialize_last_processed_zxid=False)
    disk.fs.rename(SNAPSHOT_DIR / "snapshot.14", SNAPSHOT_DIR / "snapshot.1e")
    recovered = recover(disk.fs, disk.config, extended_types=True)
    assert recovered.tree.last_zxid == 30
    [warning] = recovered.warnings
    assert warning.startswith(
        "snapshot.1e may have been renamed or copied: its digest is that of 0x14"
    )


def test_a_new_leaders_digest_is_of_the_epoch_before() -> None:
    disk = Disk()
    stream = b"".join(snapshot.encode(disk.history.tree, last_zxid_section=False))
    disk.rewrite("snapshot.500000000", lambda _: stream)
    recovered = recover(disk.fs, disk.config, extended_types=True)
    assert recovered.tree.last_zxid == 5 << 32
    assert recovered.warnings == []
