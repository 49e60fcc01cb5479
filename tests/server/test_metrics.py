"""The server's figures and the catalogue name the same metrics."""

from __future__ import annotations

from kraal.admin.catalogue import CATALOGUE, Kind, Where
from kraal.pipeline.counters import Counters
from kraal.server import metrics
from kraal.tree.data_tree import DataTree
from kraal.tree.znode import EMPTY_STAT, Znode
from tests.admin.support import Source
from tests.admin.test_ensemble_words import source


def test_every_figure_is_in_the_catalogue_and_what_is_not_idle_has_one() -> None:
    numbers, summaries = set[str](), set[str]()
    for member in (Source(expiry_s=1), source("leader"), source("follower"), source("observer")):
        figures = member.figures()
        numbers |= figures.numbers.keys()
        summaries |= figures.summaries.keys()
    active = [metric for metric in CATALOGUE if not metric.is_set and not metric.is_idle]
    plain = (Kind.GAUGE, Kind.COUNTER)
    assert numbers == {metric.name for metric in active if metric.kind in plain}
    assert summaries == {metric.name for metric in active if metric.kind not in plain}


def test_the_catalogue_has_each_name_once_and_a_meaning() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(names) == len(set(names))
    assert all(metric.meaning.endswith(".") for metric in CATALOGUE)
    assert {metric.where for metric in CATALOGUE} == set(Where)


def test_a_reset_begins_anew_and_the_lifetime_goes_on() -> None:
    counters = Counters(started_ms=0)
    for _ in range(2):
        counters.read_latency.add(4)
        counters.connect_requests += 1
        counters.reset()
    counters.connect_requests += 1
    status = Source().status
    since, whole = (
        metrics.figures(status, counters, None, (), disk=(0, False), lifetime=lifetime)
        for lifetime in (False, True)
    )
    assert since.numbers["connection_request_count"] == 1
    assert whole.numbers["connection_request_count"] == 3
    assert since.summaries["readlatency"].count == 0
    assert whole.summaries["readlatency"].count == 2


def test_quotas_are_shown_by_top_level_znode() -> None:
    tree = DataTree.pristine()
    for path, limits, used in (
        (b"/app/a", b"count=5,bytes=-1=;byteHardLimit=100;countHardLimit=-1", b"count=1,bytes=9"),
        (b"/app/b", b"count=2,bytes=-1", b"count=2,bytes=1"),
    ):
        tree.quotas.add(path)
        for name, text in ((b"/zookeeper_limits", limits), (b"/zookeeper_stats", used)):
            tree.nodes[b"/zookeeper/quota" + path + name] = Znode(text, tree.acls.open, EMPTY_STAT)
    tree.quotas.count_exceeded(b"/app/a")
    assert metrics.quota_sets(tree) == {
        "quota_exceeded_error_per_namespace": {"app": 1},
        "quota_count_limit_per_namespace": {"app": 7},
        "quota_bytes_limit_per_namespace": {"app": 100},
        "quota_count_usage_per_namespace": {"app": 3},
        "quota_bytes_usage_per_namespace": {"app": 10},
    }
