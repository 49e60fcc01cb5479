"""Certificates for tests, made once: an authority, servers, clients, and strangers.

Keys are PKCS#8, which is what Java reads in PEM.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

PASSWORD = "changeit"
ALICE = "CN=alice,OU=dev,O=Acme\\, Inc"


@dataclass(frozen=True)
class Certificates:
    """Files in PEM, and contexts for clients."""

    directory: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def issue(
        self, name: str, *hosts: str, not_after: datetime | None = None, **subject: str
    ) -> Path:
        """A store with a private key and its certificate, `<name>.pem`."""
        issued = self.authority.issue_cert(
            *hosts,
            not_after=not_after,
            common_name=subject.get("CN"),
            organization_name=subject.get("O"),
            organization_unit_name=subject.get("OU"),
        )
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        beside, path = self.directory / f"{name}.beside", self.directory / f"{name}.pem"
        beside.write_bytes(text + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        beside.replace(path)
        return path

    @property
    def trust(self) -> Path:
        """The authority's certificate."""
        path = self.directory / "authority.pem"
        if not path.exists():
            self.authority.cert_pem.write_to_path(path)
        return path

    def client(self, certificate: Path | None = None) -> ssl.SSLContext:
        """For who trusts the authority, and perhaps has a certificate."""
        context = ssl.create_default_context(cafile=str(self.trust))
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    def jks(self, pem: Path) -> Path:
        """The same store for Java, made by keytool."""
        target, between = pem.with_suffix(".jks"), pem.with_suffix(".p12")
        if target.exists() and target.stat().st_mtime >= pem.stat().st_mtime:
            return target
        if shutil.which("keytool") is None or shutil.which("openssl") is None:
            pytest.skip("keytool or openssl is not installed")
        if pem == self.trust:
            _run("keytool -importcert -alias ca -noprompt -storetype JKS",
                 "-file", pem, "-keystore", target, "-storepass", PASSWORD)  # fmt: skip
        else:
            _run("openssl pkcs12 -export", "-in", pem, "-out", between,
                 "-passout", f"pass:{PASSWORD}")  # fmt: skip
            _run("keytool -importkeystore -noprompt -deststoretype JKS",
                 "-srckeystore", between, "-srcstorepass", PASSWORD,
                 "-destkeystore", target, "-deststorepass", PASSWORD)  # fmt: skip
        return target


def _run(command: str, *arguments: object) -> None:
    subprocess.run([*command.split(), *map(str, arguments)], check=True, capture_output=True)


@cache
def certificates() -> Certificates:
    """Those of the whole run: `server.pem` of localhost, and `alice.pem`."""
    made = Certificates(Path(tempfile.mkdtemp(prefix="certificates-")))
    made.issue("server", "localhost", "127.0.0.1")
    made.issue("alice", "alice.example", CN="alice", OU="dev", O="Acme, Inc")
    return made


def server_settings(made: Certificates, prefix: str = "ssl.") -> dict[str, object]:
    """The keys of stores in PEM."""
    return {
        f"{prefix}keyStore.location": made.directory / "server.pem",
        f"{prefix}trustStore.location": made.trust,
    }


def members_settings(names: Sequence[str]) -> dict[str, object]:
    """The keys of members that speak TLS with each other; they share a certificate."""
    made = certificates()
    return {
        "sslQuorum": "true",
        "ssl.quorum.keyStore.location": made.issue(f"members-{len(names)}", *names),
        "ssl.quorum.trustStore.location": made.trust,
    }
