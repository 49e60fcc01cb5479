"""A write that cannot be decoded never gets from a kraal follower to an original leader."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Shape
from tests.support.servers import require_reference


@pytest.mark.apache
@pytest.mark.timeout(120)
def test_the_ensemble_goes_on(tmp_path: Path) -> None:
    require_reference()
    with Ensemble(tmp_path, Shape(participants=(KRAAL, APACHE, APACHE))) as ensemble:
        kraal, second, third = ensemble.members.values()
        for member in (second, third, kraal):
            member.launch()
        ensemble.wait_serving(60)
        assert ensemble.wait_leader() is not kraal
        with raw.RawClient(kraal.client_port) as client:
            client.connect()
            for number in range(3):
                assert client.call("create", b"").err == -5
                body = raw.create_body(f"/a{number}", b"1", raw.OPEN_ACL, 0)
                assert client.call("create", body).err == 0
