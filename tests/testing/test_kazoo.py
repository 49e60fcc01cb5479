"""kazoo's test harness on kraal's servers."""

from __future__ import annotations

import pytest

from kraal.testing import UnavailableError
from kraal.testing.kazoo import KazooTestCase
from tests.testing.support import states_of


class TestAlone(KazooTestCase):
    """One server in this process."""

    def test_a_client_has_a_chroot_of_its_own(self) -> None:
        assert self.client.get_children("/") == []
        self.client.create("/a", b"data")
        other = self._get_nonchroot_client()
        other.start()
        assert other.get(f"{self.client.chroot}/a")[0] == b"data"
        assert len(self.cluster) == 1
        assert self.cluster[0].address == self.servers

    def test_a_session_that_expires_is_gone_at_the_server(self) -> None:
        states, before = states_of(self.client), self.client.client_id
        self.client.create("/mine", ephemeral=True)
        self.expire_session(self.client.handler.event_object)
        assert states == ["SUSPENDED", "LOST", "CONNECTED"]
        assert self.client.client_id != before
        assert self.client.exists("/mine") is None

    def test_a_lost_connection_comes_back(self) -> None:
        states = states_of(self.client)
        self.client.create("/mine", ephemeral=True)
        self.lose_connection(self.client.handler.event_object)
        assert states == ["SUSPENDED", "CONNECTED"]
        assert self.client.exists("/mine") is not None

    def test_there_is_no_tls(self) -> None:
        with pytest.raises(UnavailableError, match="no TLS port"):
            self.setup_zookeeper(use_ssl=True)

    @classmethod
    def tearDownClass(cls) -> None:
        cls().cluster.terminate()


class TestEnsemble(KazooTestCase):
    """Three server processes."""

    cluster_size = 3

    def test_one_of_three_may_be_stopped(self) -> None:
        self.client.create("/a", b"data")
        assert [member.running for member in self.cluster] == [True] * 3
        self.cluster[0].stop()
        assert not self.cluster[0].running
        assert self.client.retry(self.client.get, "/a")[0] == b"data"
        self.cluster[0].run()
        self.expire_session(self.client.handler.event_object)
        self.lose_connection(self.client.handler.event_object)

    def test_all_may_be_stopped_and_run_again_one_by_one(self) -> None:
        self.client.create("/a", b"data")
        self.cluster.stop()
        for member in self.cluster:
            member.run()
            assert member.running
        assert self.client.retry(self.client.get, "/a")[0] == b"data"

    @classmethod
    def tearDownClass(cls) -> None:
        cls().cluster.terminate()
