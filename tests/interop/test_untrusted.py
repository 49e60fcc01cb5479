"""A voter whose empty database is not trusted joins what is there, with Apache on either end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, KRAAL, Ensemble, EnsembleError, Shape
from tests.support.servers import require_reference


@pytest.mark.apache
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("others", "joiner"), [(APACHE, KRAAL), (KRAAL, APACHE)], ids=["kraal joins", "Apache joins"]
)
def test_it_elects_nobody_and_gets_the_whole_tree(tmp_path: Path, others: str, joiner: str) -> None:
    require_reference()
    shape = Shape(
        participants=(joiner, others, others),
        own_settings={1: {"db.autocreate": "false"}},
    )
    with Ensemble(tmp_path, shape) as ensemble:
        untrusted, second, third = ensemble.members.values()
        untrusted.launch()
        second.launch()
        # Two of three, but one of them does not count: nothing may come of it.
        untrusted_votes = untrusted.directory / "data" / "version-2" / "acceptedEpoch"
        ensemble.wait("the first vote", untrusted_votes.exists)
        assert untrusted_votes.read_text() == "-1"
        with pytest.raises(EnsembleError, match="no service"):
            ensemble.wait_serving(5, [second])
        third.launch()
        ensemble.wait_serving(60)
        with raw.RawClient(third.client_port) as client:
            client.connect()
            assert client.call("create", raw.create_body("/a", b"1", raw.OPEN_ACL, 0)).err == 0
        with raw.RawClient(untrusted.client_port) as client:
            client.connect()
            assert client.call("sync", raw.ustring("/")).err == 0
            assert client.call("getData", raw.path_and_watch("/a", False)).value[0] == b"1"  # type: ignore[index]
        assert ensemble.wait_leader() is not untrusted
        # Now it counts.
        third.kill()
        ensemble.wait_serving(60)
        zxid = ensemble.wait_in_step()
        untrusted.kill()
        untrusted.launch()
        ensemble.wait_serving(60)
        assert untrusted.zxid() >= zxid
