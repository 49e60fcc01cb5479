"""Stores of every kind, made by keytool and by cryptography, read as what they are."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from kraal.client import TlsOptions
from kraal.errors import ConfigError, DecodeError, KraalError
from kraal.model.tls import Store
from kraal.tls import der, jks
from kraal.tls.stores import load_key, load_trust

PASSWORD = "changeit"
KEY = "ssl.keyStore"
KINDS = ("pem", "sealed.pem", "p12", "jks")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Path:
    """`key.*` and `trust.*`: one identity and its authority in every kind of store."""
    directory = tmp_path_factory.mktemp("stores")
    issued = authority.issue_cert("localhost")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    chain = [x509.load_pem_x509_certificate(blob.bytes()) for blob in issued.cert_chain_pems]
    top = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    sealed = BestAvailableEncryption(PASSWORD.encode())
    text = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    for name, encryption in (("key.pem", NoEncryption()), ("key.sealed.pem", sealed)):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        (directory / name).write_bytes(pem + text)
    authority.cert_pem.write_to_path(directory / "trust.pem")
    authority.cert_pem.write_to_path(directory / "trust.sealed.pem")
    assert isinstance(key, EllipticCurvePrivateKey)
    p12 = pkcs12.serialize_key_and_certificates(
        b"one",
        key,
        chain[0],
        [*chain[1:], top],
        sealed,
    )
    (directory / "key.p12").write_bytes(p12)
    (directory / "trust.p12").write_bytes(
        pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(top, b"ca")], sealed)
    )
    if shutil.which("keytool") is not None:
        _with_keytool(directory)
    return directory


def _with_keytool(directory: Path) -> None:
    password = ["-storepass", PASSWORD, "-noprompt"]
    for arguments in (
        ["-importkeystore", "-srckeystore", "key.p12", "-srcstorepass", PASSWORD,
         "-destkeystore", "key.jks", "-deststoretype", "JKS", "-deststorepass", PASSWORD,
         "-noprompt"],
        ["-importcert", "-alias", "ca", "-file", "trust.pem", "-keystore", "trust.jks",
         "-storetype", "JKS", *password],
    ):  # fmt: skip
        subprocess.run(["keytool", *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, stores: Path) -> str:
    if request.param == "jks" and not (stores / "key.jks").exists():
        pytest.skip("keytool is not installed")
    return str(request.param)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Both in memory; raises ssl.SSLError where one does not trust the other."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname="localhost"),
        server.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
        if not ends:
            return
    raise AssertionError("the handshake does not end")


def test_a_key_and_an_authority_of_every_kind_speak_with_each_other(
    stores: Path, kind: str
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain = load_key(server, Store(KEY, stores / f"key.{kind}", PASSWORD))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted = load_trust(client, Store(KEY, stores / f"trust.{kind}", PASSWORD))
    handshake(server, client)
    for certificate in (*chain, *trusted):
        known = x509.load_der_x509_certificate(certificate)
        assert der.expiry_s(certificate) == known.not_valid_after_utc.timestamp()
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trustme.CA().configure_trust(stranger)
    with pytest.raises(ssl.SSLError):
        handshake(server, stranger)


def test_the_name_does_not_say_what_a_store_is(stores: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "key.jks"
    renamed.write_bytes((stores / "key.p12").read_bytes())
    assert load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Store(KEY, renamed, PASSWORD))


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_wrong_password_is_an_error_that_asks_nobody(
    stores: Path, kind: str, password: str | None
) -> None:
    if kind == "pem":
        return
    with pytest.raises(ConfigError, match=f"key.{kind}: "):
        load_key(
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Store(KEY, stores / f"key.{kind}", password)
        )


def test_what_is_no_store_is_an_error_with_its_name(tmp_path: Path, stores: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for content, reason in (
        (b"", "neither PEM nor PKCS12 nor JKS"),
        (b"PK\x03\x04", "neither PEM nor PKCS12 nor JKS"),
        (b"\x30\x03\x02\x01\x01", ""),
        (jks.MAGIC + b"\x00\x00\x00\x02\x00\x00", ""),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""),
        (b"\x30" * (5 << 20), "too large"),
    ):
        path = tmp_path / "store"
        path.write_bytes(content)
        for load in (load_key, load_trust):
            with pytest.raises(ConfigError, match=f"{path}: .*{reason}"):
                load(context, Store(KEY, path, PASSWORD))
    with pytest.raises(ConfigError, match="No such file"):
        load_key(context, Store(KEY, tmp_path / "missing"))
    with pytest.raises(ConfigError, match="there is no private key in it"):
        load_key(context, Store(KEY, stores / "trust.p12", PASSWORD))


SET, CORRECT = (f"{verb} {KEY}.password or {KEY}.passwordPath" for verb in ("set", "correct"))


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("key.sealed.pem", None, f"is encrypted, and no password is given: {SET}"),
        ("key.sealed.pem", "wrong", f"password does not open its private key: {CORRECT}"),
        ("trust.pem", None, "there is no private key in it: it must hold one"),
        ("alone.pem", None, "there is no certificate in it: append"),
        ("other.pem", None, "its private key is not that of its first certificate: put"),
        ("cut.pem", None, "a certificate in it is damaged or cut off: copy"),
        ("cut-key.pem", None, "its private key is damaged or cut off: copy"),
        ("key.p12", None, f"no password is given for this PKCS12 store: {SET}"),
        ("key.p12", "wrong", f"the password is wrong, or the store is damaged .*: {CORRECT}"),
        ("key.jks", None, f"no password is given for its private key: {SET}"),
        ("key.jks", "wrong", f"the password is wrong, or the store is damaged: {CORRECT}"),
        ("certificate.der", None, "a certificate in DER, and no store: convert it"),
        ("zoo.cfg", None, "neither PEM nor PKCS12 nor JKS: name a store"),
        ("missing", None, "No such file or directory: name a file that"),
    ],
)
def test_what_is_wrong_is_said_with_the_setting_and_what_helps(
    stores: Path, tmp_path: Path, name: str, password: str | None, reason: str
) -> None:
    whole, top = (stores / "key.pem").read_text(), (stores / "trust.pem").read_text()
    end = whole.index("-----BEGIN CERTIFICATE")
    made = {
        "alone.pem": whole[:end],
        "other.pem": whole[:end] + top,
        "cut.pem": whole[:-100],
        "cut-key.pem": whole[: end - 90] + whole[end - 30 :],
        "zoo.cfg": "dataDir=/data",
    }
    path = tmp_path / name
    if name == "certificate.der":
        path.write_bytes(ssl.PEM_cert_to_DER_cert(top))
    elif name in made:
        path.write_text(made[name])
    elif name != "missing":
        path = stores / name
        if not path.exists():
            pytest.skip("keytool is not installed")
    with pytest.raises(ConfigError, match=f"^{KEY}.location={path}: .*{reason}") as raised:
        load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Store(KEY, path, password))
    assert raised.value.key == f"{KEY}.location"
    assert "_ssl.c" not in str(raised.value)
    if name in ("key.p12", "key.jks", "key.sealed.pem"):
        return
    own = TlsOptions(cert_file=path)
    with pytest.raises(ConfigError, match=f"^tls: cert_file {path}: [^\\[]+$"):
        own.context()


def test_a_trust_store_without_certificates_is_refused(stores: Path, tmp_path: Path) -> None:
    text = (stores / "key.pem").read_text()
    path = tmp_path / "trust.pem"
    path.write_text(text[: text.index("-----BEGIN CERTIFICATE")])
    with pytest.raises(ConfigError, match="there is no certificate in it: name a store"):
        load_trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Store("ssl.trustStore", path))
    with pytest.raises(ConfigError, match="there is no certificate in it that can be read: name"):
        TlsOptions(ca_file=path).context()


def test_a_jks_store_that_is_cut_or_changed_anywhere_is_refused(stores: Path, kind: str) -> None:
    if kind != "jks":
        return
    data = (stores / "key.jks").read_bytes()
    for at in range(0, len(data), 7):
        with pytest.raises(KraalError):
            jks.parse(data[:at], PASSWORD)
        with pytest.raises(KraalError):
            jks.parse(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], PASSWORD)
        with pytest.raises(KraalError):
            jks.parse(data[:at], None)


def test_times_of_both_kinds() -> None:
    def certificate(tag: int, text: bytes) -> bytes:
        time = bytes([tag, len(text)]) + text
        validity = b"\x30" + bytes([2 * len(time)]) + 2 * time
        body = b"\x02\x01\x01" + b"\x30\x00" + b"\x30\x00" + validity
        fields = b"\x30" + bytes([len(body)]) + body
        return b"\x30" + bytes([len(fields)]) + fields

    for tag, text, expected in (
        (der.UTC_TIME, b"491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (der.UTC_TIME, b"500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (der.TIME, b"20500101000000Z", datetime(2050, 1, 1, tzinfo=UTC)),
    ):
        assert der.expiry_s(certificate(tag, text)) == expected.timestamp()
    for wrong in (
        b"", b"\x30", b"\x30\x82", b"\x30\x85\x01\x01\x01\x01\x01", b"\x02\x01\x01",
        certificate(der.UTC_TIME, b"tomorrow"), certificate(0x04, b"500101000000Z"),
    ):  # fmt: skip
        with pytest.raises(DecodeError):
            der.expiry_s(wrong)
