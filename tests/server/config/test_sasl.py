"""How clients log in, from zoo.cfg and a JAAS file: what counts, what is warned about, refused."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from kraal.errors import ConfigError
from kraal.model.config import KerberosLogin, QuorumSaslConfig, SecurityConfig
from kraal.server.config.file import LoadedConfig
from tests.server.config.test_file import load_text
from tests.server.config.test_file_ensemble import load_text as load_member

PROVIDER = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
DIGEST = "org.apache.zookeeper.server.auth.DigestLoginModule"
TWO_USERS = f'Server {{ {DIGEST} required user_bob="secret" user_super="s"; }};'


def loaded(tmp_path: Path, text: str = "", jaas: str = TWO_USERS) -> LoadedConfig:
    (tmp_path / "jaas.conf").write_text(jaas)
    named = f"java.security.auth.login.config={tmp_path}/jaas.conf\n"
    return load_text(tmp_path, f"{named}{text}\n")


def security(tmp_path: Path, text: str = "", jaas: str = TWO_USERS) -> SecurityConfig:
    return loaded(tmp_path, text, jaas).config.security


def test_users_come_from_the_section_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "jaas.conf").touch(mode=0o600)
    found = loaded(tmp_path, PROVIDER)
    assert found.warnings == ()
    assert found.config.security.sasl is not None
    assert found.config.security.sasl.passwords == {"bob": "secret", "super": "s"}
    assert found.config.security.sasl_provided
    assert "secret" not in repr(found.config)


def test_several_modules_and_another_section(tmp_path: Path) -> None:
    jaas = f"Mine {{ {DIGEST} required user_a=x user_b=y; {DIGEST} optional user_b=z user_=e; }};"
    found = security(tmp_path, f"{PROVIDER}\nsasl.serverconfig=Mine", jaas)
    assert found.sasl is not None
    assert found.sasl.passwords == {"a": "x", "b": "z", "": "e"}


def test_the_password_of_super(tmp_path: Path) -> None:
    text = f"{PROVIDER}\nSASLAuthenticationProvider.superPassword=other"
    found = security(tmp_path, text)
    assert found.sasl is not None
    assert found.sasl.passwords["super"] == "other"
    only_bob = security(tmp_path, text, f"Server {{ {DIGEST} required user_bob=x; }};")
    assert only_bob.sasl is not None
    assert only_bob.sasl.passwords == {"bob": "x"}


def test_superusers_and_demands(tmp_path: Path) -> None:
    found = security(
        tmp_path, f"{PROVIDER}\nsuperUser=a\nsuperUser.1=b\nsessionRequireClientSASLAuth=true"
    )
    assert found.sasl_super_users == {"a", "b"}
    assert found.enforce_auth_schemes == ("sasl",)
    both = "enforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl"
    assert security(tmp_path, f"{PROVIDER}\n{both}").enforce_auth_schemes == ("digest", "sasl")


KERBEROS = "Server { com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true"


def test_who_the_server_is_in_kerberos(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, PROVIDER, f'{KERBEROS} principal="zookeeper/h@R" keyTab="/zk.keytab"; }};'
    )
    assert found.warnings == ()
    sasl = found.config.security.sasl
    assert sasl is not None
    assert sasl.kerberos == KerberosLogin(principal="zookeeper/h@R", keytab=PurePath("/zk.keytab"))
    sasl = security(tmp_path, PROVIDER, f'{KERBEROS} principal="zookeeper/h@R"; }};').sasl
    assert sasl is not None
    assert sasl.kerberos == KerberosLogin(principal="zookeeper/h@R")


def test_the_audit_log_has_the_principal(tmp_path: Path) -> None:
    found = loaded(tmp_path, "audit.enable=true", f'{KERBEROS} principal="zookeeper/h@R"; }};')
    assert found.config.audit_user == "zookeeper/h@R"


@pytest.mark.parametrize(
    ("text", "jaas", "warning"),
    [
        (
            PROVIDER,
            f'{KERBEROS} principal="zookeeper/h@R"; {DIGEST} required user_bob=x; }};',
            "with Kerberos there is no DIGEST-MD5",
        ),
        (PROVIDER, "Client { };", "there is no section Server: no client can log in"),
        ("", TWO_USERS, "no ACL can name them"),
        (PROVIDER, f"Server {{ {DIGEST} required; }};", "there is no user"),
        (PROVIDER, f"Server {{ {DIGEST} required user_=x; }};", "a user without a name"),
        (PROVIDER, f'Server {{ {DIGEST} required user_a=""; }};', "password of 'a' is empty"),
        (
            PROVIDER,
            f"Server {{ {DIGEST} required user_a=x user_a=y; }};",
            "user_a is there more than once",
        ),
        (PROVIDER, TWO_USERS, "everybody on this machine can read the passwords"),
        (
            "X509AuthenticationProvider.superUser=CN=root\\,O\\=Acme",
            "Server { };",
            "must be written twice",
        ),
        ("authProvider.1=a.Class", "Server { };", "without effect: authProvider.1"),
    ],
)
def test_what_is_warned_about(tmp_path: Path, text: str, jaas: str, warning: str) -> None:
    found = loaded(tmp_path, text, jaas)
    assert any(warning in said for said in found.warnings), found.warnings


@pytest.mark.parametrize(
    ("text", "jaas", "reason"),
    [
        (PROVIDER, "Server { ", "line 1: the class of a login module is missing"),
        (PROVIDER, "Server { a.Other required; };", "there is no login module a.Other"),
        (PROVIDER, f"{KERBEROS}; }};", "Krb5LoginModule needs useKeyTab=true and a principal"),
        ("sasl.serverconfig=Mine", TWO_USERS, "jaas.conf has no such section"),
        ("security.auth_to_local=RULE", TWO_USERS, "invalid rule: RULE"),
        ("sessionRequireClientSASLAuth=true", TWO_USERS, "scheme sasl is not available"),
        (f"{PROVIDER}\nsessionRequireClientSASLAuth=true", "", "scheme sasl is not available"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, jaas: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        loaded(tmp_path, text, jaas)


def test_what_is_fine_is_not_warned_about(tmp_path: Path) -> None:
    (tmp_path / "jaas.conf").touch(mode=0o600)
    subject = "X509AuthenticationProvider.superUser=CN=a\\\\, b,O=Acme"
    found = loaded(tmp_path, f"{PROVIDER}\n{subject}", f"\ufeff{TWO_USERS}")
    assert not any("jaas.conf" in said or "superUser" in said for said in found.warnings)
    assert found.config.security.sasl is not None
    assert set(found.config.security.sasl.passwords) == {"bob", "super"}
    assert found.config.security.x509_super_user == "CN=a\\, b,O=Acme"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    key = "java.security.auth.login.config"
    with pytest.raises(ConfigError, match=f"{key}=/nowhere: No such file"):
        load_text(tmp_path, f"{key}=/nowhere")
    (tmp_path / "jaas").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_text(tmp_path, f"{key}={tmp_path}/jaas")
    with pytest.raises(ConfigError, match=f"sasl.serverconfig=Mine: {key} must name"):
        load_text(tmp_path, "sasl.serverconfig=Mine")


# Between servers

MEMBERS = "initLimit=10\nsyncLimit=5\nserver.1=a:1:2\nserver.2=b:1:2\nquorum.auth.enableSasl=true"
BETWEEN = (
    f'QuorumServer {{ {DIGEST} required user_zk="secret" user_old="x"; }};'
    f'QuorumLearner {{ {DIGEST} required username="zk" password="secret"; }};'
)


def member(tmp_path: Path, text: str = "", jaas: str = BETWEEN) -> LoadedConfig:
    (tmp_path / "jaas.conf").write_text(jaas)
    named = f"java.security.auth.login.config={tmp_path}/jaas.conf"
    return load_member(tmp_path, f"{MEMBERS}\n{named}\n{text}\n", myid="1")


def test_how_servers_log_in_to_each_other(tmp_path: Path) -> None:
    found = member(tmp_path, "quorum.auth.learnerRequireSasl=true")
    assert not [said for said in found.warnings if "SASL" in said]
    assert found.config.ensemble is not None
    assert found.config.ensemble.sasl == QuorumSaslConfig(
        username="zk",
        password="secret",
        passwords={"zk": "secret", "old": "x"},
        learner_requires=True,
    )
    assert found.config.security.sasl is None
    assert "secret" not in repr(found.config)


@pytest.mark.parametrize(
    ("text", "jaas", "reason"),
    [
        ("quorum.auth.serverRequireSasl=true", BETWEEN, "learnerRequireSasl is disabled"),
        ("", "Server { };", "there is no section QuorumServer"),
        ("", BETWEEN.partition("QuorumLearner")[0], "there is no section QuorumLearner"),
        ("quorum.auth.server.saslLoginContext=Mine", BETWEEN, "there is no section Mine"),
        ("", BETWEEN.replace(' password="secret"', ""), "the learner has no password"),
        ("", BETWEEN.replace("DigestLogin", "Krb5Login"), "by DigestLoginModule alone"),
    ],
)
def test_what_is_refused_between_servers(tmp_path: Path, text: str, jaas: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        member(tmp_path, text, jaas)
