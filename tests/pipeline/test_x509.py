"""Which texts are names of the scheme `x509`; the answers are those of Java 17."""

from __future__ import annotations

import pytest

from kraal.model.acl import Id
from kraal.model.config import SecurityConfig
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.auth.x509 import is_valid


@pytest.mark.parametrize(
    "text",
    [
        "", "CN=a", "CN=alice,OU=dev,O=Acme\\, Inc,C=DE", "CN=", "CN=a;O=b", "CN=a+OU=b", "1.2.3=a",
        "1.2.3=#0403666f6f", 'CN="a,b"', " CN = a ", "emailAddress=a@b", "OID.1.2.3=x", "CN=a=b",
        "CN=a#b", "CN=a\\41b", 'CN="a" ', "CN=é", "CN=,O=b", "T=x", "CN=\\E4",
    ],
)  # fmt: skip
def test_names(text: str) -> None:
    assert is_valid(text)


@pytest.mark.parametrize(
    "text",
    [
        "foo", "XX=a", "CN=a,", "cn=#zz", "CN=a,,O=b", "CN=a<b", "CN=a\\zb", 'CN="a"b', 'CN="a',
        'CN=a"b', "CN=a\\", "=a", "1=a", "1.40=a", "3.1=a", "1.2.=a", "CN=a+", ",CN=a", ";", "CN=#",
        "CN", "é=a", "CN=a" * 10_000 + '"',
    ],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    assert not is_valid(text)


def test_the_superuser_has_both_identities() -> None:
    config = SecurityConfig(x509_provided=True, x509_super_user="CN=root")
    authority = Authority(config)
    assert authority.certified("CN=a") == [Id("x509", "CN=a")]
    assert authority.certified("CN=root") == [Id("super", "CN=root"), Id("x509", "CN=root")]
    assert authority.user_name(Id("x509", "CN=a")) == "CN=a"
    assert Authority(SecurityConfig()).certified("CN=a") == []
