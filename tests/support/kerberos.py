"""A Kerberos realm on loopback: MIT's KDC with a few principals and their keytabs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.servers import HOST, free_port

REALM = "KRAAL.TEST"
SERVER = f"zookeeper/{HOST}@{REALM}"
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
_TOOLS = ("krb5kdc", "kdb5_util", "kadmin.local")


def require_kerberos() -> None:
    """Skip the test with the reason, unless there are a KDC and the library for clients."""
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=_PATH) is None]
    if find_spec("gssapi") is None:
        missing.append("the package gssapi")
    if missing:
        pytest.skip(f"no Kerberos: {', '.join(missing)} not installed")


class Realm:
    """A KDC with the server's principal and some users; use it as `with`."""

    def __init__(self, directory: Path, users: Sequence[str]) -> None:
        self._directory = directory
        self._users = users
        self._port = free_port()
        self._kdc: subprocess.Popen[bytes] | None = None
        self.config = directory / "krb5.conf"
        """For clients, in `KRB5_CONFIG`, and for servers."""

    def keytab(self, principal: str) -> Path:
        return self._directory / f"{principal.replace('/', '_')}.keytab"

    def server_properties(self) -> dict[str, object]:
        """Properties of an Apache ZooKeeper that is `SERVER`."""
        jaas = self._directory / "jaas.conf"
        jaas.write_text(
            "Server {\n  com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true "
            f'storeKey=true\n  keyTab="{self.keytab(SERVER)}" principal="{SERVER}";\n}};\n'
        )
        return {
            "java.security.auth.login.config": jaas,
            "java.security.krb5.conf": self.config,
            "zookeeper.authProvider.sasl": (
                "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
            ),
        }

    def __enter__(self) -> Realm:
        self._write()
        self._run("kdb5_util", "create", "-s", "-P", "master", "-r", REALM)
        for principal in (SERVER, *self._users):
            self._run("kadmin.local", "-q", f"addprinc -randkey {principal}")
            self._run("kadmin.local", "-q", f"ktadd -k {self.keytab(principal)} {principal}")
        log = self._directory / "kdc.log"
        with log.open("wb") as output:
            self._kdc = subprocess.Popen(
                [self._tool("krb5kdc"), "-n", "-r", REALM],
                env=self._environment(), stdout=output, stderr=output,
            )  # fmt: skip
        while not self._listens():
            assert self._kdc.poll() is None, log.read_text()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._kdc is not None
        self._kdc.terminate()
        self._kdc.wait()

    def _listens(self) -> bool:
        try:
            socket.create_connection((HOST, self._port)).close()
        except OSError:
            return False
        return True

    def _write(self) -> None:
        self.config.write_text(
            f"[libdefaults]\n  default_realm = {REALM}\n  dns_lookup_kdc = false\n"
            "  dns_lookup_realm = false\n  rdns = false\n  dns_canonicalize_hostname = false\n"
            f"[realms]\n  {REALM} = {{\n    kdc = {HOST}:{self._port}\n  }}\n"
        )
        (self._directory / "kdc.conf").write_text(
            f"[kdcdefaults]\n  kdc_listen = {HOST}:{self._port}\n"
            f"  kdc_tcp_listen = {HOST}:{self._port}\n"
            f"[realms]\n  {REALM} = {{\n    database_name = {self._directory}/principals\n"
            f"    key_stash_file = {self._directory}/stash\n  }}\n"
        )

    def _environment(self) -> dict[str, str]:
        profile = str(self._directory / "kdc.conf")
        return {**os.environ, "KRB5_CONFIG": str(self.config), "KRB5_KDC_PROFILE": profile}

    def _run(self, tool: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._tool(tool), *arguments],
            env=self._environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def _tool(self, name: str) -> str:
        found = shutil.which(name, path=_PATH)
        assert found is not None
        return found
