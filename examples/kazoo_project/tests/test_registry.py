import time

from registry import Registry

from kraal.testing.kazoo import KazooTestCase


class RegistryTests(KazooTestCase):
    def wait_for(self, registry: Registry, instances: list[str]) -> None:
        deadline = time.monotonic() + 10
        while registry.instances != instances:
            assert time.monotonic() < deadline, registry.instances
            time.sleep(0.01)

    def test_instances_see_each_other(self) -> None:
        other_client = self._get_client()
        other_client.start()
        one, other = Registry(self.client, "web"), Registry(other_client, "web")
        one.register("a", "10.0.0.1:80")
        other.register("b", "10.0.0.2:80")
        self.wait_for(one, ["a", "b"])
        self.assertEqual(one.address("b"), "10.0.0.2:80")
        other_client.stop()
        self.wait_for(one, ["a"])

    def test_a_lost_connection_is_no_loss(self) -> None:
        registry = Registry(self.client, "web")
        registry.register("a", "10.0.0.1:80")
        self.lose_connection(self.client.handler.event_object)
        self.wait_for(registry, ["a"])

    def test_an_expired_session_registers_again(self) -> None:
        registry = Registry(self.client, "web")
        registry.register("a", "10.0.0.1:80")
        before = self.client.client_id
        self.expire_session(self.client.handler.event_object)
        self.assertNotEqual(self.client.client_id, before)
        self.wait_for(registry, ["a"])

    def test_a_server_that_is_restarted(self) -> None:
        registry = Registry(self.client, "web")
        registry.register("a", "10.0.0.1:80")
        self.cluster[0].stop()
        self.cluster[0].run()
        self.wait_for(registry, ["a"])
        self.assertEqual(registry.address("a"), "10.0.0.1:80")
