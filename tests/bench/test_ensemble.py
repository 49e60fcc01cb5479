"""The parts of the benchmark that only ensembles have: steady clients, selection, report."""

from __future__ import annotations

import re

import pytest

from bench.__main__ import make_ensemble_plan, parse_arguments
from bench.ensemble import cases, report
from bench.ensemble.clients import Client, Clients, ClientsError, longest_pause, set_data
from bench.ensemble.runner import Plan
from bench.runner import Sample
from tests.bench.responder import Responder, responder
from tests.bench.test_report import cells

PATIENCE_S = 20.0


def write_to(*servers: Responder, acknowledged: int) -> Client:
    """One client writes until so many writes are acknowledged."""
    client = Client([server.port for server in servers], set_data("/x"), pace_s=0.001)
    clients = Clients([client])
    clients.start()
    try:
        while len(client.acked) < acknowledged:
            assert clients.wait(client.acked[-1] if client.acked else 0.0, PATIENCE_S)
    finally:
        clients.finish()
    return client


def test_a_client_goes_on_with_its_session_at_the_next_server() -> None:
    with responder("close", at=5) as one, responder("close", at=5) as two:
        client = write_to(one, two, acknowledged=10)
    assert client.expired == 0
    assert one.hellos.count(0) + two.hellos.count(0) == 1
    assert abs(len(one.hellos) - len(two.hellos)) <= 1
    assert client.attempts >= 3


def test_a_client_whose_session_is_lost_takes_a_new_one() -> None:
    with responder("close", at=5) as server:
        server.session = 0
        client = write_to(server, acknowledged=9)
    assert client.expired >= 2
    assert server.hellos[:4] == [0, 1, 0, 1]


def test_an_answer_that_a_write_cannot_get_is_an_error() -> None:
    with responder("error", at=3) as server, pytest.raises(ClientsError, match="error -101"):
        write_to(server, acknowledged=100)


def test_the_longest_pause_is_that_around_or_after_the_kill() -> None:
    acked = [0.0, 5.0, 6.0, 9.0, 9.5, 11.0]
    assert longest_pause(acked, since=6.5) == 3.0
    assert longest_pause(acked, since=9.2) == 1.5
    assert longest_pause(acked, since=11.0) == 0.0


def test_only_takes_groups_and_patterns() -> None:
    selection = cases.select("reads,failover,^write-9")
    assert selection.names == ["read-48x1", "read-9x100", "write-9x100", "failover"]
    assert selection.modes == ["read", "write"]
    assert cases.select().names[-4:] == ["cold-start", "memory", "failover", "lag"]
    with pytest.raises(re.error):
        cases.select("reads,(")


def load_sample(server: str, per_second: float) -> Sample:
    figures = {
        "per_second": per_second, "p50_us": 1.0, "p99_us": 2.0, "p999_us": 3.0,
        "server_cores": 1.5, "leader_cores": 0.5, "loader_cores": 0.25, "other_cores": 0.0,
        "server_us": 1.5e6 / per_second,
    }  # fmt: skip
    return Sample(server, "write-9x100", 1, figures)


def pauses(server: str, *values: float) -> list[Sample]:
    return [Sample(server, "failover", 1, {"pause_ms": value}) for value in values]


def test_report_shows_medians_worst_and_ratios() -> None:
    samples = [
        load_sample("apache", 20_000), load_sample("kraal", 30_000),
        *pauses("apache", 400, 500, 900), *pauses("kraal", 300, 250, 450),
        Sample("kraal", "lag", 1, {"seconds": 1.5}),
    ]  # fmt: skip
    text = report.render(Plan(cases.select()), samples, ["round 1 apache, lag: no leader"])
    row = cells(text, "write 9×100")
    assert (row[0], row[3], row[-1]) == ("20 000", "30 000", "1.50")
    assert cells(text.partition("cores used by")[2], "write 9×100") == [
        "0.50", "0.50", "0.25", "75", "0.50", "0.50", "0.25", "50", "0.67",
    ]  # fmt: skip
    pause = "leader killed: longest pause of a client, median (ms)"
    assert cells(text, pause) == ["500", "300", "0.60"]
    assert cells(text, "the same, worst (ms)") == ["900", "450", "0.50"]
    behind = "a follower 500 000 writes behind, start to in step (s)"
    assert cells(text, behind) == ["–", "1.50", "–"]
    assert "NOT MEASURED: round 1 apache, lag: no leader" in text


@pytest.mark.parametrize("arguments", [["--profile"], ["--kills", "0"], ["--only", "nothing"]])
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--ensemble", *arguments])


def test_runs_fit_their_time() -> None:
    assert make_ensemble_plan(parse_arguments(["--ensemble"])).estimate() < 25 * 60
    assert make_ensemble_plan(parse_arguments(["--ensemble", "--quick"])).estimate() < 5 * 60
