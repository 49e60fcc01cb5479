"""The commands on data directories, on files that a server wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import pytest

from kraal.errors import StorageError
from kraal.model.config import SnapshotCodec, StorageConfig
from kraal.model.zxid import make, show
from kraal.storage.data_dir import lock
from kraal.storage.recovery import recover
from kraal.storage.resync import cut_log
from kraal.tree.data_tree import DataTree
from kraal.wire.records.txn import CloseSessionTxn, CreateTxn, SetDataTxn, Txn
from tests.cli.written import DAMAGED, FS, OK, USAGE, WARNINGS, Written, files, json_of, kraal
from tests.storage.inspection.support import LAST_ZXID
from tests.storage.support import described
from tests.support.servers import HOST, free_port


@pytest.fixture(params=SnapshotCodec, ids=lambda codec: codec.value or "plain")
def any_codec(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Written]:
    yield Written(tmp_path / "data", request.param)


# Logs


def test_dump_has_every_transaction(written: Written) -> None:
    lines = kraal("log", "dump", written.path).stdout.splitlines()
    assert lines[0].endswith("txnlog format version 2")
    assert lines[-1] == "EOF reached after 60 txns."
    assert [line.split(" zxid ")[1].split()[0] for line in lines[1:-1]] == [
        show(txn.zxid) for txn in written.txns
    ]
    objects = [
        json.loads(line)
        for line in kraal("log", "dump", written.path, "-o", "json").stdout.splitlines()
    ]
    assert [int(one["zxid"], 16) for one in objects] == [txn.zxid for txn in written.txns]
    few = kraal("log", "dump", written.path, "--from", "0x20000001c", "--to", LAST_ZXID - 1)
    assert few.stdout.splitlines()[-1] == "EOF reached after 2 txns."


def test_dump_goes_on_behind_damage(written: Written) -> None:
    written.flip("log.200000016", 60)
    result = kraal("log", "dump", written.version_2 / "log.200000016")
    assert result.exit_code == DAMAGED
    assert result.stdout.splitlines()[1].startswith("DAMAGED ")
    assert result.stdout.splitlines()[-1] == "EOF reached after 9 txns."


def test_verify_counts_and_finds(written: Written) -> None:
    found = json_of("log", "verify", written.path)
    assert [log["records"] for log in found["logs"]] == [16, 25, 10, 9]
    assert found["findings"] == []
    assert kraal("log", "verify", written.path).exit_code == OK
    (written.version_2 / "log.100000011").unlink()
    result = kraal("log", "verify", written.path)
    assert result.exit_code == WARNINGS
    assert "[covered-hole]" in result.stdout
    assert kraal("log", "verify", written.version_2 / "log.200000016").exit_code == OK


def test_repair_is_tried_asked_for_and_undone_by_a_rename(written: Written) -> None:
    whole = described(written.tree)
    name = "log.200000016"
    sound = (written.version_2 / name).read_bytes()
    written.flip(name, 60)
    damaged = (written.version_2 / name).read_bytes()
    before = files(written.version_2)
    dry = kraal("log", "repair", written.path, "--dry-run")
    assert dry.exit_code == DAMAGED
    assert "As it is:  a start is refused" in dry.stdout
    assert f"Afterwards: a start comes to zxid {show(LAST_ZXID)}" in dry.stdout
    assert kraal("log", "repair", written.path).exit_code == USAGE, "nobody could be asked"
    assert files(written.version_2) == before
    assert kraal("log", "repair", written.path, "--yes").exit_code == OK
    assert (written.version_2 / name).read_bytes() == sound
    assert (written.version_2 / f"before-repair-{name}").read_bytes() == damaged
    assert described(written.recovered()) == whole
    again = kraal("log", "repair", written.path, "--yes")
    assert (again.exit_code, again.stdout) == (OK, "There is nothing to mend.\n")


def test_repair_of_a_single_log_anywhere(written: Written, tmp_path: Path) -> None:
    copy = tmp_path / "log.200000016"
    sound = (written.version_2 / copy.name).read_bytes()
    copy.write_bytes(sound[:-5])
    assert kraal("log", "verify", copy).exit_code == OK, "a torn tail is no damage"
    assert kraal("log", "repair", copy, "--yes").exit_code == OK
    assert sound.startswith(copy.read_bytes())
    assert len(copy.read_bytes()) < len(sound) - 5
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "before-repair-log.200000016", "data", "log.200000016",
    ]  # fmt: skip


def test_repair_takes_damaged_records_as_they_stand_when_asked(written: Written) -> None:
    name = "log.200000016"
    for offset in (50, 51):  # two bits of the time of the first record
        written.flip(name, offset, 0x10)
    refused = kraal("log", "repair", written.path, "--yes")
    assert refused.exit_code == DAMAGED
    assert "Nothing of this can be mended." in refused.stdout
    taken = kraal("log", "repair", written.path, "--yes", "--accept-damaged")
    assert "as it stands" in taken.stdout
    assert written.recovered().last_zxid == LAST_ZXID


def test_nothing_is_repaired_under_a_running_server(written: Written) -> None:
    content = (written.version_2 / "log.200000016").read_bytes()
    (written.version_2 / "log.200000016").write_bytes(content + b"torn")
    held = lock(FS, written.config)
    try:
        result = kraal("log", "repair", written.path, "--yes")
        assert result.exit_code == DAMAGED
        assert "is in use by another server" in result.stderr
        # Looking is allowed.
        assert "[in-use]" in kraal("doctor", written.path).stdout
    finally:
        held.release()


@pytest.mark.parametrize("name", ["replaced-log.200000016", "before-repair-log.200000016", "any"])
def test_a_log_is_told_by_its_content(written: Written, name: str) -> None:
    kept = (written.version_2 / "log.200000016").rename(written.version_2 / name)
    dumped = kraal("log", "dump", kept)
    assert (dumped.exit_code, dumped.stdout.splitlines()[-1]) == (OK, "EOF reached after 9 txns.")
    assert kraal("log", "verify", kept).exit_code == OK
    for command, said in (("doctor", "kraal log verify"), ("purge", "kraal log verify")):
        refused = kraal(command, kept)
        assert refused.exit_code == USAGE
        assert said in refused.stderr
    assert "kraal log dump" in kraal("snapshot", "summary", kept).stderr


def test_what_is_neither_log_nor_configuration_is_told_without_its_bytes(tmp_path: Path) -> None:
    other = tmp_path / "rnd"
    other.write_bytes(b"\x8a\x01\xff\\u00" + bytes(range(256)))
    for command in (("log", "dump"), ("log", "verify"), ("doctor",), ("purge",)):
        refused = kraal(*command, other)
        assert refused.exit_code == USAGE
        assert "begins with 8a01ff5c" in refused.stderr
    other.write_bytes(b"dataDir=\\u\x9b31m")
    assert "encoding: \\u\\x9b31m" in kraal("log", "dump", other).stderr
    other.write_bytes(b"a=b\n" * (1 << 18) + b"dataDir=/")
    assert "is no configuration" in kraal("log", "dump", other).stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x8a\x01\xff\x5c" * 9, "is no log: it begins with 8a01ff5c"),
        (b"ZKLG" + bytes(6), "10 bytes are less than"),
        (b"", "0 bytes are less than"),
    ],
)
def test_dump_invents_no_header(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "log.5").write_bytes(content)
    for form in ("text", "json"):
        result = kraal("log", "dump", tmp_path / "log.5", "--output", form)
        assert (result.exit_code, result.stdout) == (DAMAGED, "")
        assert said in result.stderr


def test_dump_of_a_directory_names_what_is_no_log(written: Written) -> None:
    (written.version_2 / "log.200000000").write_bytes(b"no log, and longer than a header")
    (written.version_2 / "log.300000001").touch()
    result = kraal("log", "dump", written.path)
    assert result.exit_code == DAMAGED
    lines = result.stdout.splitlines()
    assert sum("log.200000000 is no log" in one for one in lines) == 1
    assert lines[-1] == "EOF reached after 60 txns."
    (written.version_2 / "log.200000000").unlink()
    assert kraal("log", "dump", written.path).exit_code == OK, "a start removes the newest"


def test_a_single_log_is_looked_at_where_a_repair_has_put_it(
    written: Written, tmp_path: Path
) -> None:
    empty = tmp_path / "log.0"
    empty.touch()
    assert kraal("log", "repair", empty, "--yes").exit_code == OK
    assert not empty.exists()
    copy = tmp_path / "log.200000017"
    copy.write_bytes((written.version_2 / "log.200000016").read_bytes() + b"torn")
    assert kraal("log", "repair", copy, "--yes").exit_code == OK
    assert (tmp_path / "log.200000016").is_file()
    assert not copy.exists()


# Snapshots


def test_a_snapshot_is_told_by_its_content(any_codec: Written, tmp_path: Path) -> None:
    newest = max(any_codec.version_2.glob("snapshot.2*"))
    expected = json_of("snapshot", "dump", newest)
    for name in (f"replaced-{newest.name}", "saved"):
        copy = tmp_path / name
        copy.write_bytes(newest.read_bytes())
        found = json_of("snapshot", "dump", copy)
        assert found["znodes"] == expected["znodes"]
        assert found["zxid"] == expected["zxid"]
        assert kraal("snapshot", "verify", copy).exit_code == OK
        told = kraal("doctor", copy)
        assert told.exit_code == USAGE
        assert "is a snapshot: kraal snapshot verify" in told.stderr
    foreign = tmp_path / "saved-too"
    foreign.write_bytes(b"PK" + bytes(9))
    assert "is no snapshot: it begins with 504b" in kraal("snapshot", "dump", foreign).stderr
    is_gzip = any_codec.config.snapshot_codec is SnapshotCodec.GZIP
    wrongly_named = tmp_path / ("snapshot.5.snappy" if is_gzip else "snapshot.5.gz")
    wrongly_named.write_bytes(newest.read_bytes())
    refused = kraal("snapshot", "verify", wrongly_named)
    assert refused.exit_code == DAMAGED
    assert "not compressed as its name says" in refused.stdout


def test_a_snapshot_may_have_no_zxid(written: Written, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    content = max(written.version_2.glob("snapshot.2*")).read_bytes()
    section = 8 + 4 + 1 + 8  # the last zxid, and its seal
    saved.write_bytes(content[:-section])
    assert json_of("snapshot", "summary", saved)["zxid"] is None
    assert "no zxid" in kraal("snapshot", "diff", saved, saved).stdout


def test_dump_of_every_codec(any_codec: Written) -> None:
    found = json_of("snapshot", "dump", any_codec.path, "--data")
    tree = cut_to_newest(any_codec)
    assert {node["path"] for node in found["znodes"]} == {
        path.decode() or "/" for path in tree.nodes if path != b"/"
    }
    assert len(found["sessions"]) == len(tree.sessions)
    text = kraal("snapshot", "dump", any_codec.path)
    assert text.stdout.startswith(f"ZNode Details (count={len(tree.nodes)}):\n----\n/\n")
    assert "Last zxid: 0x200000014" in text.stdout
    shallow = json_of("snapshot", "dump", any_codec.path, "--depth", "1")
    assert max(node["path"].rstrip("/").count("/") for node in shallow["znodes"]) == 1
    assert kraal("snapshot", "verify", any_codec.path).exit_code == OK


def cut_to_newest(written: Written) -> DataTree:
    """The tree of the newest snapshot."""
    return cut_log(FS, written.config, make(2, 20), extended_types=True).tree


def test_summary_adds_up(written: Written) -> None:
    found = json_of("snapshot", "summary", written.path)
    root = next(row for row in found["subtrees"] if row["path"] == "/")
    assert root["descendants"] == found["znodes"] - 1
    assert root["bytes"] == found["data_bytes"]
    assert "znodes: " in kraal("snapshot", "summary", written.path).stdout


def test_diff_tells_what_changed(written: Written) -> None:
    old, new = (written.version_2 / f"snapshot.20000000{digit}" for digit in ("a", "a"))
    same = kraal("snapshot", "diff", old, new)
    assert same.exit_code == OK
    new = written.version_2 / "snapshot.200000014"
    found = json_of("snapshot", "diff", old, new)
    assert kraal("snapshot", "diff", old, new).exit_code == 1
    changed = {one["path"] for one in found["differences"]}
    written_to = {
        path.decode()
        for txn in written.txns
        if make(2, 10) < txn.zxid <= make(2, 20)
        for path in _paths(txn)
    }
    assert changed <= written_to | {one.rpartition("/")[0] or "/" for one in written_to} | {"/"}
    back = json_of("snapshot", "diff", new, old)
    opposite = {"added": "removed", "removed": "added", "changed": "changed"}
    assert {one["path"]: opposite[one["what"]] for one in back["differences"]} == {
        one["path"]: one["what"] for one in found["differences"]
    }


def _paths(txn: Txn) -> set[bytes]:
    if isinstance(txn.body, CloseSessionTxn):
        return {path for path in txn.body.paths or () if path}
    bodies = [part for _, part in txn.body.ops] if hasattr(txn.body, "ops") else [txn.body]
    return {path for body in bodies if (path := getattr(body, "path", None))}


def test_verify_names_a_damaged_snapshot(written: Written) -> None:
    written.flip("snapshot.20000000a", 200)
    result = kraal("snapshot", "verify", written.path)
    assert result.exit_code == WARNINGS
    assert "snapshot.200000014: sound" in result.stdout
    one = kraal("snapshot", "verify", written.version_2 / "snapshot.20000000a")
    assert one.exit_code == DAMAGED


# History


def test_history_of_every_znode_leads_to_what_is_there(written: Written) -> None:
    result = kraal("history", "/", "-r", "--data", "--data-dir", written.path, "-o", "json")
    there: dict[str, Any] = {}
    for text in result.stdout.splitlines():
        event = json.loads(text)
        path = event["path"]
        if event["type"].startswith("delete"):
            there.pop(path)
        elif event["type"].startswith(("create", "snapshot")) or event["type"] == "setData":
            there[path] = (event["version"], event["size"])
    tree = written.tree
    expected = {
        path.decode() or "/": (node.version, len(node.data or b""))
        for path, node in tree.nodes.items()
        if path != b"/"
    }
    assert there == expected


def test_history_tells_session_and_cause(tmp_path: Path) -> None:
    written = Written(tmp_path / "data", seed=7)
    ended = [txn for txn in written.txns if isinstance(txn.body, CloseSessionTxn) and _paths(txn)]
    created = next(
        txn for txn in written.txns if isinstance(txn.body, CreateTxn) and txn.body.ephemeral
    )
    path = created.body.path.decode()  # type: ignore[attr-defined]
    events = [
        json.loads(line)
        for line in kraal(
            "history", path, "--data-dir", written.path, "-o", "json"
        ).stdout.splitlines()
    ]
    first = next(event for event in events if event["zxid"] == show(created.zxid))
    assert first["session"] == f"0x{created.client_id:x}"
    assert first["kind"] == "ephemeral"
    for txn in ended:
        for gone in _paths(txn):
            lines = kraal("history", gone.decode(), "--data-dir", written.path).stdout
            assert show(txn.zxid) in lines
            assert "closeSession" in lines or "session expired" in lines
    nothing = kraal("history", "/no/such/znode", "--data-dir", written.path)
    assert nothing.exit_code == 1
    assert kraal("history", "relative", "--data-dir", written.path).exit_code == USAGE


def test_history_at_a_zxid_shows_the_znode_as_it_was(written: Written) -> None:
    change = next(
        txn for txn in written.txns if isinstance(txn.body, SetDataTxn) and txn.zxid > make(2, 11)
    )
    body = change.body
    assert isinstance(body, SetDataTxn)
    assert body.path is not None
    before = files(written.version_2)
    path = body.path.decode()
    at = json_of("history", path, "--data-dir", written.path, "--at", show(change.zxid))
    assert (at["version"], at["mzxid"]) == (body.version, show(change.zxid))
    earlier = json_of("history", path, "--data-dir", written.path, "--at", change.zxid - 1)
    assert not earlier["exists"] or earlier["version"] == body.version - 1
    assert files(written.version_2) == before
    assert kraal("history", "/", "--data-dir", written.path, "--at", "0x3").exit_code == DAMAGED


# Doctor


def test_doctor_says_that_all_is_well(any_codec: Written) -> None:
    result = kraal("doctor", any_codec.path)
    assert result.exit_code == OK, result.output
    assert f"a start comes to zxid {show(LAST_ZXID)}" in result.stdout
    assert "All is well." in result.stdout


def test_doctor_mends_when_it_is_told_to(written: Written) -> None:
    whole = described(written.tree)
    written.flip("log.200000016", 60)
    (written.version_2 / "currentEpoch").write_bytes(b"")
    found = json_of("doctor", written.path)
    assert {one["kind"] for one in found["findings"]} == {
        "wrong-checksum", "bad-epoch", "start-refused",
    }  # fmt: skip
    asked = kraal("doctor", written.path)
    assert asked.exit_code == DAMAGED
    assert "--mend" in asked.stdout
    mended = kraal("doctor", written.path, "--mend", "--yes")
    assert mended.exit_code == OK, mended.output
    assert described(written.recovered()) == whole
    assert kraal("doctor", written.path).exit_code == OK


def test_doctor_reads_a_zoo_cfg(written: Written, tmp_path: Path) -> None:
    zoo_cfg = tmp_path / "zoo.cfg"
    zoo_cfg.write_text(f"dataDir={written.path}\nclientPort=2181\n")
    assert written.tree.ttls
    result = kraal("doctor", zoo_cfg)
    assert result.exit_code == WARNINGS
    assert "extendedTypesEnabled is off" in result.stdout
    zoo_cfg.write_text(f"dataDir={written.path}\nclientPort=2181\nextendedTypesEnabled=true\n")
    assert kraal("doctor", zoo_cfg).exit_code == OK
    zoo_cfg.write_text(f"dataDir={written.path}\nclientPort=x\n")
    wrong = kraal("doctor", zoo_cfg)
    assert wrong.exit_code == DAMAGED
    assert "[configuration]" in wrong.stdout


def test_doctor_says_what_is_no_data_directory(tmp_path: Path) -> None:
    result = kraal("doctor", tmp_path)
    assert result.exit_code == DAMAGED
    assert "no data directory" in result.stderr


@pytest.mark.parametrize("command", [("doctor",), ("log", "verify"), ("snapshot", "verify")])
def test_what_does_not_exist_is_wrong_usage(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = kraal(*command, tmp_path / "nowhere")
    assert result.exit_code == USAGE
    assert "does not exist" in result.stderr


def test_a_log_directory_that_does_not_exist_is_wrong_usage(written: Written) -> None:
    nowhere = written.path / "nowhere"
    result = kraal("doctor", written.path, "--data-log-dir", nowhere)
    assert result.exit_code == USAGE
    assert f"{nowhere} does not exist" in result.stderr


def test_doctor_says_whom_it_could_not_ask() -> None:
    nobody = kraal("doctor", f"{HOST}:{free_port()}")
    assert nobody.exit_code == USAGE
    assert "[unreachable]" in nobody.stdout
    without_port = kraal("doctor", "127.0.0.1")
    assert without_port.exit_code == USAGE
    assert "host:port, as 127.0.0.1:2181" in without_port.stderr


@pytest.mark.parametrize("name", ["log.200000016", "log.300000001", "snapshot.300000001"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_named_and_never_opened(
    written: Written, tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    other = written.version_2 / name
    other.unlink(missing_ok=True)
    make(other)
    told = kraal("doctor", written.path)
    assert (told.exit_code, "[no-file]" in told.stdout) == (DAMAGED, True)
    assert "what to do: move it away" in told.stdout
    tool = name.partition(".")[0]
    assert "[no-file]" in kraal(tool, "verify", written.path).stdout
    refused = kraal("backup", written.path, "--to", tmp_path / "backup")
    assert refused.exit_code == DAMAGED
    assert f"{other} failed: it is a directory, a pipe or a device" in refused.stderr
    with pytest.raises(StorageError, match="and no file: move it away"):
        written.recovered()


# Purge, backup, restore


def test_purge_lists_asks_and_deletes(tmp_path: Path) -> None:
    written = Written(tmp_path / "data")
    assert kraal("purge", written.path, "--yes").exit_code == OK
    left = files(written.version_2)
    assert "snapshot.0" not in left
    assert "snapshot.10000000f" in left
    bounded = ("purge", written.path, "--bytes", 1)
    listed = kraal(*bounded, "--dry-run")
    assert "Would remove: " in listed.stdout
    assert kraal(*bounded).exit_code == USAGE
    assert files(written.version_2) == left
    found = json_of(*bounded, "--yes")
    assert {Path(one).name for one in found["files"]} == left.keys() - files(
        written.version_2
    ).keys()
    assert sorted(name for name in files(written.version_2) if name.startswith("snapshot")) == [
        "snapshot.20000000a", "snapshot.200000014",
    ]  # fmt: skip
    assert described(written.recovered()) == described(written.tree)
    assert "nothing to delete" in kraal(*bounded, "--yes").stdout


def test_a_backup_is_restored_whole(any_codec: Written, tmp_path: Path) -> None:
    backup, target = tmp_path / "backup", tmp_path / "restored"
    made = kraal("backup", any_codec.path, "--to", backup)
    assert made.exit_code == OK, made.output
    assert kraal("backup", backup, "--verify").exit_code == OK
    assert kraal("doctor", backup).exit_code == OK
    again = kraal("backup", any_codec.path, "--to", backup)
    assert "is not empty" in again.stderr
    done = kraal("restore", backup, "--data-dir", target)
    assert done.exit_code == OK, done.output
    assert "EVERY member" in done.stdout
    config = StorageConfig(data_dir=PurePath(target), data_log_dir=PurePath(target))
    tree = recover(FS, config, extended_types=True).tree
    assert described(tree) == described(any_codec.tree)
    refused = kraal("restore", backup, "--data-dir", target)
    assert refused.exit_code == DAMAGED
    assert "is not empty" in refused.stderr


def test_a_restore_to_a_zxid_and_in_a_later_epoch(written: Written, tmp_path: Path) -> None:
    backup, target = tmp_path / "backup", tmp_path / "restored"
    kraal("backup", written.path, "--to", backup)
    until = make(2, 25)
    done = kraal("restore", backup, "--data-dir", target, "--to-zxid", show(until))
    assert f"to {show(until)}" in done.stdout
    config = StorageConfig(data_dir=PurePath(target), data_log_dir=PurePath(target))
    assert recover(FS, config, extended_types=True).tree.last_zxid == until
    outside = kraal("restore", backup, "--data-dir", tmp_path / "x", "--to-zxid", make(1, 3))
    assert outside.exit_code == DAMAGED
    later = tmp_path / "later"
    assert "--above-epoch" in done.stdout
    above = kraal("restore", backup, "--data-dir", later, "--above-epoch", 9)
    assert "--above-epoch" not in above.stdout
    config = StorageConfig(data_dir=PurePath(later), data_log_dir=PurePath(later))
    assert recover(FS, config, extended_types=True).tree.last_zxid == make(10, 0)


def test_a_zxid_that_was_never_reached_leaves_nothing_behind(
    written: Written, tmp_path: Path
) -> None:
    for name in ("snapshot.20000000a", "snapshot.200000014"):
        (written.version_2 / name).unlink()
    backup, target = tmp_path / "backup", tmp_path / "restored"
    assert kraal("backup", written.path, "--to", backup).exit_code == OK
    refused = kraal("restore", backup, "--data-dir", target, "--to-zxid", show(make(1, 40)))
    assert refused.exit_code == DAMAGED
    assert "cannot go back to 0x100000028" in refused.stderr
    assert not target.exists()
    done = kraal("restore", backup, "--data-dir", target, "--to-zxid", show(make(1, 20)))
    assert done.exit_code == OK, done.output
    assert sorted(files(target / "version-2")) == [
        "log.100000001",
        "log.100000011",
        "snapshot.10000000f",
    ]


def test_a_dry_run_of_a_restore_says_where_it_would_lead(written: Written, tmp_path: Path) -> None:
    backup, target = tmp_path / "backup", tmp_path / "restored"
    kraal("backup", written.path, "--to", backup)
    dry = kraal("restore", backup, "--data-dir", target, "--to-zxid", make(2, 25), "--dry-run")
    assert dry.exit_code == OK, dry.output
    assert dry.stdout == f"Would restore {target} to 0x200000019.\n"
    assert not target.exists()


def test_a_reader_that_leaves_is_no_damage(written: Written) -> None:
    command = [sys.executable, "-m", "kraal", "log", "dump", str(written.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_what_is_no_data_directory_says_what_is_meant(written: Written, tmp_path: Path) -> None:
    member, backup = tmp_path, tmp_path / "backup"
    hinted = kraal("backup", member, "--to", backup)
    assert f"{written.path} is one" in hinted.stderr
    (member / "zoo.cfg").write_text(f"dataDir={written.path}\nclientPort=0\n")
    assert kraal("backup", member, "--to", backup).exit_code == OK
    a_snapshot = kraal("log", "dump", written.version_2 / "snapshot.200000014")
    assert a_snapshot.exit_code == USAGE
    assert "is a snapshot, not a log: kraal snapshot dump" in a_snapshot.stderr


def test_history_shows_data_as_text_that_no_terminal_suffers_from(tmp_path: Path) -> None:
    data = Written(tmp_path / "data")
    found = kraal("history", "/", "--data-dir", data.path, "--recursive", "--data")
    assert found.exit_code == OK
    assert "b'" not in found.stdout and 'b"' not in found.stdout
    at = kraal("history", "/", "--data-dir", data.path, "--recursive", "--data", "--at", LAST_ZXID)
    assert at.exit_code == OK, at.output
    assert all(line.isprintable() for line in at.stdout.splitlines())


def test_a_newer_snapshot_without_content_is_told_of_once_with_a_way_out(written: Written) -> None:
    (written.version_2 / "snapshot.20000ffff").touch()
    (written.version_2 / "log.300000001").touch()
    found = kraal("doctor", written.path)
    assert found.exit_code == DAMAGED
    assert "passes it over" not in found.stdout
    assert found.stdout.count("0x20000ffff are missing") == 1
    assert "moving snapshot.20000ffff out of version-2: then a start comes to" in found.stdout
    mended = kraal("doctor", written.path, "--mend", "--yes")
    assert mended.exit_code == DAMAGED
    assert mended.stdout.count("0x20000ffff are missing") == 1
    assert not (written.version_2 / "log.300000001").exists()
    assert "Of what is said above is left: 2 findings" in mended.stdout
    (written.version_2 / "snapshot.20000ffff").unlink()
    assert kraal("doctor", written.path).exit_code == OK
