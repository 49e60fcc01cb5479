"""The test suites of kazoo and aiozk pass against kraal, and the parts that run them work."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.interop import suites
from tests.interop.suites import SUITES, Expectation, Outcome, Report, Suite, Target

MAIN_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"

# What a client cannot do without: under a minute, against one server, no Java.
CORE = (
    "kazoo.tests.test_client::TestAuthentication",
    "kazoo.tests.test_client::TestConnection",
    "kazoo.tests.test_client::TestClient",
    "kazoo.tests.test_client::TestClientTransactions",
    "kazoo.tests.test_client::TestNonChrootClient",
    "--deselect=kazoo/tests/test_client.py::TestClient::test_update_host_list",
    "--maxfail=3",  # without a server each test tries for half a minute
)


def require_venv(suite: Suite) -> None:
    """Skip when the packages of the suite cannot be installed; in CI that is a failure."""
    try:
        suites.ensure_venv(suite)
    except suites.VenvError as error:
        if os.environ.get("CI"):
            pytest.fail(f"the suite of {suite.name} is required in CI: {error}")
        pytest.skip(f"no environment for the suite of {suite.name}: {error}")


@pytest.mark.timeout(suites.INSTALL_TIMEOUT_S + 300)
def test_core_of_kazoo_passes_against_kraal(tmp_path: Path) -> None:
    require_venv(SUITES["kazoo"])
    report = suites.run_suite(SUITES["kazoo"], Target(), tmp_path, CORE)
    assert report.good, str(report)
    assert len(report.names("passed")) == len(report.outcomes) == 96, str(report)


@pytest.mark.soak
@pytest.mark.timeout(suites.INSTALL_TIMEOUT_S + suites.SUITE_TIMEOUT_S)
@pytest.mark.parametrize("name", sorted(SUITES))
def test_suite_passes_against_kraal(name: str, tmp_path: Path) -> None:
    require_venv(SUITES[name])
    report = suites.run_suite(SUITES[name], Target(), tmp_path)
    print(report)
    assert report.good, str(report)


@pytest.mark.parametrize(("ci", "outcome"), [("", "Skipped"), ("true", "Failed")])
def test_missing_environment_is_skipped_but_not_in_ci(
    ci: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(suite: Suite) -> Path:
        raise suites.VenvError("no network")

    monkeypatch.setattr(suites, "ensure_venv", fail)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(BaseException, match="no network") as caught:
        require_venv(SUITES["kazoo"])
    assert type(caught.value).__name__ == outcome


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """Stands for Python: prints its process id, PYTHONPATH and arguments, one a line."""
    path = tmp_path / "interpreter"
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$$" "$PYTHONPATH" "$@"\n')
    path.chmod(0o755)
    return path


def test_stand_in_becomes_the_server(interpreter: Path, tmp_path: Path) -> None:
    config = str(tmp_path / "with space" / "zoo.cfg")
    environment = {
        "PATH": f"{suites.HERE}:{os.environ['PATH']}",
        "KRAAL_PYTHON": str(interpreter),
        "KRAAL_SRC": "/kraal/src",
    }
    command = [
        "java", "-cp", "some jars/*:conf", "-Xmx1G", "-Dfile.encoding=UTF-8",
        "-Dzookeeper.log.dir=/tmp/log", "-Dreadonlymode.enabled=true", "-Djute.maxbuffer=4 000",
        "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:D/In=", "-Dempty",
        MAIN_CLASS, config,
    ]  # fmt: skip
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert output.splitlines() == [
        str(process.pid), "/kraal/src", "-m", "kraal", "serve", config,
        "-D", "readonlymode.enabled=true", "-D", "jute.maxbuffer=4 000",
        "-D", "zookeeper.DigestAuthenticationProvider.superDigest=super:D/In=", "-D", "empty=",
    ]  # fmt: skip


def test_stand_in_appends_the_server_output_to_a_file(interpreter: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("before\n")
    environment = {"KRAAL_PYTHON": str(interpreter), "KRAAL_LOG": str(log), "PYTHONPATH": "/other"}
    stand_in = str(suites.HERE / "java")
    done = subprocess.run(
        [stand_in, MAIN_CLASS, "zoo.cfg"], env=environment, capture_output=True, check=True
    )
    assert done.stdout == b""
    assert log.read_text().splitlines()[2:] == ["/other", "-m", "kraal", "serve", "zoo.cfg"]


def test_stand_in_leaves_other_programs_to_the_real_java(interpreter: Path, tmp_path: Path) -> None:
    real = tmp_path / "bin" / "java"
    real.parent.mkdir()
    interpreter.rename(real)
    command = ["java", "-cp", MAIN_CLASS, "-Dx=y z", "org.apache.zookeeper.ZooKeeperMain", "ls"]
    environment = {"PATH": f"{suites.HERE}:/nowhere:{real.parent}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[2:] == command[1:]


def test_stand_in_does_not_call_itself_for_want_of_a_real_java() -> None:
    done = subprocess.run(
        [suites.HERE / "java", "-version"], env={"PATH": str(suites.HERE)},
        capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    assert done.returncode == 127
    assert "no other java" in done.stderr


def test_report_tells_expected_from_unexpected() -> None:
    outcomes: dict[str, Outcome] = {
        "a": "passed", "b": "failed", "c": "failed", "d": "skipped", "e": "passed", "f": "passed",
    }  # fmt: skip
    expected = {
        "b": Expectation("failed", "TLS"),
        "d": Expectation("failed", "SASL"),
        "e": Expectation("failed", "SASL"),
        "f": Expectation("any", "unsteady"),
    }
    report = Report(outcomes, expected)
    assert report.unexpected() == ["c", "d"]
    assert report.outgrown() == ["e"]
    assert not report.good
    assert not Report({"a": "passed"}, {}, ["one test ran, the list was made for 2"]).good
    assert Report({"a": "passed", "b": "failed"}, expected).good


def test_lists_are_checked_against_the_suite() -> None:
    expected = {"m.test_a::b": Expectation("left out", "?"), "m.test_a::c": Expectation("any", "?")}
    outcomes: dict[str, Outcome] = {"m.test_a::c": "failed", "m.test_a::d": "passed"}
    assert list(suites.mismatches(outcomes, 3, expected)) == []
    assert list(suites.mismatches(outcomes, 4, expected)) == [
        "2 tests ran, the list was made for 3"
    ]
    assert list(suites.mismatches({"m.test_a::d": "passed"}, 2, expected)) == [
        "the suite has no such test: m.test_a::c"
    ]


def test_names_are_turned_into_node_ids() -> None:
    assert suites.node_id("a.b.test_c.D::test_e") == "a/b/test_c.py::D::test_e"
    assert suites.node_id("a.test_c::test_e[1]") == "a/test_c.py::test_e[1]"


def test_outcomes_are_read_from_junit(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(
        '<testsuites><testsuite><testcase classname="m.C" name="a"/>'
        '<testcase classname="m.C" name="b"><failure/></testcase>'
        '<testcase classname="m.C" name="b"><error/></testcase>'
        '<testcase classname="m" name="c[1]"><skipped/></testcase>'
        '<testcase classname="m" name="d"/><testcase classname="m" name="d"><error/></testcase>'
        "</testsuite></testsuites>"
    )
    assert suites.read_outcomes(junit) == {
        "m.C::a": "passed", "m.C::b": "failed", "m::c[1]": "skipped", "m::d": "failed",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(SUITES))
@pytest.mark.parametrize("target", [Target("apache", 1), Target("apache", 3), Target("kraal", 1)])
def test_lists_are_well_formed(name: str, target: Target) -> None:
    count, expected = suites.read_expected(suites.LISTS / f"{name}.toml", target)
    assert count > len(expected)
    for test, expectation in expected.items():
        assert test.startswith(SUITES[name].package + "."), test
        assert expectation.outcome in ("failed", "skipped", "any", "left out"), test
        assert expectation.reason, test
