"""Whom certificates name: as a subject, and as hosts and addresses."""

from __future__ import annotations

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Name, NameAttribute, RelativeDistinguishedName
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier

from kraal.errors import DecodeError
from kraal.tls.names import CertificateNames
from kraal.tls.subject import subject
from tests.support.certificates import ALICE, certificates


def certificate(name: Name) -> bytes:
    """One of that subject, in DER."""
    from datetime import UTC, datetime

    key = ec.generate_private_key(ec.SECP256R1())
    issuer = Name([NameAttribute(NameOID.COMMON_NAME, "issuer")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer)
    builder = builder.public_key(key.public_key()).serial_number(1)
    begin, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
    signed = builder.not_valid_before(begin).not_valid_after(end).sign(key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def name(*parts: tuple[ObjectIdentifier, str]) -> Name:
    return Name([NameAttribute(oid, text) for oid, text in parts])


@pytest.mark.parametrize(
    ("of", "text"),
    [  # as X500Principal.getName() of Java 17 prints them
        (name(), ""),
        (
            name(
                (NameOID.COUNTRY_NAME, "DE"),
                (NameOID.ORGANIZATION_NAME, "Acme, Inc"),
                (NameOID.COMMON_NAME, 'a+b="c"'),
            ),
            'CN=a\\+b\\=\\"c\\",O=Acme\\, Inc,C=DE',
        ),
        (
            name((NameOID.EMAIL_ADDRESS, "a@b"), (NameOID.COMMON_NAME, " #x\\ ")),
            "CN=\\ \\#x\\\\\\ ,1.2.840.113549.1.9.1=#1603614062",
        ),
        (
            name((NameOID.SERIAL_NUMBER, "7"), (NameOID.TITLE, "Dr"), (NameOID.USER_ID, "ü日")),
            "UID=ü日,2.5.4.12=#0c024472,2.5.4.5=#130137",
        ),
        (
            name(
                (NameOID.DOMAIN_COMPONENT, "org"), (NameOID.STREET_ADDRESS, "s"),
                (NameOID.STATE_OR_PROVINCE_NAME, "st"), (NameOID.LOCALITY_NAME, "l<;>"),
            ),
            "L=l\\<\\;\\>,ST=st,STREET=s,DC=org",
        ),
        (
            Name(
                [
                    RelativeDistinguishedName(
                        [
                            NameAttribute(NameOID.COMMON_NAME, "a"),
                            NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "b"),
                        ]
                    )
                ]
            ),
            "CN=a+OU=b",
        ),
        (
            Name([NameAttribute(NameOID.COMMON_NAME, "é", _type=_ASN1Type.BMPString)]),
            "CN=\0é".replace("\0é", "\\00\ufffd"),
        ),
        (name((ObjectIdentifier("2.999.3"), "x")), "2.999.3=#0c0178"),
    ],
)  # fmt: skip
def test_the_subject_is_what_java_calls_it(of: Name, text: str) -> None:
    assert subject(certificate(of)) == text


def test_what_is_no_certificate_is_refused() -> None:
    whole = certificate(name((NameOID.COMMON_NAME, "a")))
    for at in range(len(whole)):
        for broken in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x21]) + whole[at + 1 :]):
            try:
                assert isinstance(subject(broken), str)
            except DecodeError:
                continue


def names(*hosts: str, common: str | None = None) -> CertificateNames:
    """Those of a certificate, as a handshake gives them."""
    import ssl

    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(*hosts, common_name=common).configure_cert(server)
    authority.configure_trust(client)
    client.check_hostname = False
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there)
    answering = server.wrap_bio(there, back, server_side=True)
    for end in (asking, answering, asking):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found = CertificateNames.of(asking)
    assert found is not None
    return found


def test_hosts_and_addresses() -> None:
    found = names("zk1.example", "*.pods.example", "127.0.0.1", "::1")
    assert str(found) == "zk1.example, *.pods.example, 127.0.0.1, ::1"
    for host in (
        "zk1.example", "ZK1.example.", "a.pods.example", "127.0.0.1", "::1", "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
    ):  # fmt: skip
        assert found.names(host), host
    for host in (
        "zk2.example",
        "pods.example",
        "a.b.pods.example",
        "127.0.0.2",
        "example",
        "",
        "*",
    ):
        assert not found.names(host), host


def test_a_star_alone_names_nobody() -> None:
    found = CertificateNames(("*", "*.com", "z*.example.org"), ())
    for host in ("com", "example.com", "zk.example.org", "x"):
        assert not found.names(host), host


def test_a_common_name_counts_where_there_is_nothing_else() -> None:
    assert CertificateNames(("zk1",), ()).names("zk1")
    assert not names("zk1.example", common="zk2.example").names("zk2.example")


def test_the_subject_of_the_tests() -> None:
    made = certificates()
    pem = (made.directory / "alice.pem").read_bytes()
    alice = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERT") :])
    assert subject(alice.public_bytes(Encoding.DER)) == ALICE
