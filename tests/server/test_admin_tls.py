"""HTTPS on the admin port, alone and together with HTTP, and what strangers send there."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from kraal.cli.main import main
from tests.server.conftest import assert_alive, running
from tests.support.servers import HOST, free_port

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key and its certificate, which vouches for itself, in one file."""
    directory = tmp_path_factory.mktemp("pem")
    key, certificate = directory / "key", directory / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    store = directory / "store.pem"
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    return store


def context(pem: Path, *, with_certificate: bool = False) -> ssl.SSLContext:
    trusting = ssl.create_default_context(cafile=str(pem))
    if with_certificate:
        trusting.load_cert_chain(pem)
    return trusting


def get(url: str, tls: ssl.SSLContext | None = None) -> tuple[int, str | None]:
    with urllib.request.urlopen(url, timeout=10, context=tls) as response:
        return response.status, response.headers["strict-transport-security"]


def settings(pem: Path, port: int, **more: object) -> dict[str, object]:
    return {
        "admin__enableServer": "true",
        "admin__serverAddress": HOST,
        "admin__serverPort": port,
        "ssl__quorum__keyStore__location": pem,
        "ssl__quorum__trustStore__location": pem,
        **more,
    }


def test_https_alone(tmp_path: Path, pem: Path) -> None:
    port = free_port()
    with running(tmp_path, **settings(pem, port, admin__forceHttps="true")):
        assert get(f"https://{HOST}:{port}/livez", context(pem)) == (
            200, "max-age=86400; includeSubDomains",
        )  # fmt: skip
        with pytest.raises(OSError):
            get(f"http://{HOST}:{port}/livez")


def test_https_with_certificates_of_clients(tmp_path: Path, pem: Path) -> None:
    port, url = (chosen := free_port()), f"https://{HOST}:{chosen}/livez"
    more = {"admin__forceHttps": "true", "admin__needClientAuth": "true"}
    with running(tmp_path, **settings(pem, port, **more)):
        assert get(url, context(pem, with_certificate=True))[0] == 200
        with pytest.raises(OSError):
            get(url, context(pem))


def test_both_on_one_port(tmp_path: Path, pem: Path) -> None:
    port = free_port()
    with running(tmp_path, **settings(pem, port, admin__portUnification="true")) as server:
        assert get(f"https://{HOST}:{port}/livez", context(pem))[0] == 200
        assert get(f"http://{HOST}:{port}/livez") == (200, None)
        with urllib.request.urlopen(f"http://{HOST}:{port}/commands/monitor") as answer:
            assert b'"insecure_admin_count" : 2' in answer.read()
        with socket.create_connection((HOST, port)):
            pass  # says nothing
        assert_alive(server)


def test_files_that_are_not_there_close_the_port_only(tmp_path: Path, pem: Path) -> None:
    port = free_port()
    missing = tmp_path / "missing.pem"
    with running(tmp_path, **settings(missing, port, admin__forceHttps="true")) as server:
        assert "The admin server is not served: its TLS files" in server.log_path.read_text()
    neither = tmp_path / "store.jks"
    neither.write_bytes(b"neither")
    with running(tmp_path, **settings(neither, port, admin__forceHttps="true")) as server:
        assert "store.jks: neither PEM nor PKCS12 nor JKS" in server.log_path.read_text()


def wait_for(text: str, path: Path) -> None:
    deadline = time.monotonic() + 20
    while text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("mode", ["forceHttps", "portUnification"])
def test_new_certificates_are_taken_up_without_a_restart(tmp_path: Path, mode: str) -> None:
    port, url = (chosen := free_port()), f"https://{HOST}:{chosen}/commands/monitor"
    store, beside, trust = tmp_path / "key.pem", tmp_path / "beside", tmp_path / "trust.pem"
    authorities = [trustme.CA(), trustme.CA()]

    def renew(authority: trustme.CA, not_after: datetime) -> None:
        issued = authority.issue_cert(HOST, not_after=not_after)
        issued.private_key_and_cert_chain_pem.write_to_path(beside)
        beside.replace(store)
        authority.cert_pem.write_to_path(beside)
        beside.replace(trust)

    def trusting(authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(context)
        authority.issue_cert("client@example.org").configure_cert(context)
        return context

    def expiry(authority: trustme.CA) -> float:
        with urllib.request.urlopen(url, timeout=10, context=trusting(authority)) as response:
            found = json.load(response)["kraal_certificate_expiry_time_seconds"]
            assert isinstance(found, int)
            return found

    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=40)
    renew(authorities[0], not_after=end)
    more = {f"admin__{mode}": "true", "admin__needClientAuth": "true"}
    given = {**settings(store, port, **more), "ssl__quorum__trustStore__location": trust}
    with running(tmp_path, **given) as server:
        assert expiry(authorities[0]) == end.timestamp()
        renew(authorities[1], not_after=end + timedelta(days=1))
        assert expiry(authorities[1]) == end.timestamp() + 24 * 3600
        for _ in range(2):
            with pytest.raises(OSError):
                expiry(authorities[0])  # neither side trusts the other any more
        store.write_bytes(b"-----BEGIN nonsense")
        # Without anybody who connects.
        wait_for("New TLS files are not used, those before stay in use", server.log_path)
        assert expiry(authorities[1]) == end.timestamp() + 24 * 3600


@pytest.mark.parametrize("unified", ["false", "true"])
def test_strangers_on_the_port_harm_nobody(tmp_path: Path, pem: Path, unified: str) -> None:
    port = free_port()
    long_line = b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"
    strange = [
        b"\x00" * 100, b"\x16\x03\x01\x00\x05nonsense" * 20, b"GET / HTTP/9.9\r\n\r\n", long_line,
        b"POST /commands/restore HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /commands/restore HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /commands/\xff%00%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"ruok", b"GET",
        b"GET /commands/wchp?limit=99999999999999999999999 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /commands/sessions?session=0xzz HTTP/1.1\r\nHost: x\r\n\r\n",
    ]  # fmt: skip
    with running(tmp_path, **settings(pem, port, admin__portUnification=unified)) as server:
        for data in strange:
            with socket.create_connection((HOST, port), timeout=10) as stranger:
                stranger.sendall(data)
                stranger.shutdown(socket.SHUT_WR)
                try:
                    while stranger.recv(65536):
                        pass
                except ConnectionError:
                    pass
        assert get(f"http://{HOST}:{port}/livez")[0] == 200
        assert_alive(server)


def test_a_tool_that_names_it_wrongly_is_told_what_is_meant(pem: Path, tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, **settings(pem, port, admin__forceHttps="true")):

        def said(server: str) -> str:
            command = ["backup", server, "--to", str(tmp_path / "backup")]
            return CliRunner().invoke(main, command).stderr

        assert f"name it https://{HOST}:{port}" in said(f"{HOST}:{port}")
        assert "--ca says who may have signed" in said(f"https://{HOST}:{port}")
