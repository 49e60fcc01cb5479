"""Every key that kraal knows: from each source to the settings in use, or plainly to no effect."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from kraal.errors import ConfigError
from kraal.model.config import ServerConfig
from kraal.server.config.catalogue import EFFECTIVE, IDLE, REFUSED_YET
from kraal.server.config.file import LoadedConfig, load
from kraal.server.config.keys import FAMILIES, KNOWN, PARSED, Syntax, variable_of_key
from kraal.server.config.reference import page

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"
JAAS = Path(__file__).parents[1] / "jaas.conf"
SASL_PROVIDER = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"

# A member of an ensemble with everything turned on that makes other keys count.
BASE = {
    "clientPort": "2181",
    "initLimit": "10",
    "syncLimit": "5",
    "server.1": "zk1:2888:3888",
    "server.2": "zk2:2888:3888",
    "server.3": "zk3:2888:3888",
    "admin.portUnification": "true",
    "metricsProvider.className": PROMETHEUS,
    "enforce.auth.enabled": "true",
    "enforce.auth.schemes": "ip",
    "ssl.quorum.keyStore.location": "/key.pem",
    "ssl.quorum.trustStore.location": "/trust.pem",
    "audit.enable": "true",
    "java.security.auth.login.config": str(JAAS),
    "authProvider.1": SASL_PROVIDER,
    "sslQuorum": "true",
    "quorum.auth.enableSasl": "true",
    "quorum.auth.learnerRequireSasl": "true",
    "secureClientPort": "2281",
    "client.portUnification": "true",
    "ssl.keyStore.location": "/key.pem",
    "ssl.trustStore.location": "/trust.pem",
}
VALUES = {
    "clientPort": "2182",
    "clientPortAddress": "127.0.0.1",
    "clientPortListenBacklog": "7",
    "snapshot.compression.method": "gz",
    "snapshotSizeFactor": "0.5",
    "minSessionTimeout": "5000",
    "maxSessionTimeout": "70000",
    "tickTime": "2000",
    "enforce.auth.schemes": "digest",
    "enforce.auth.enabled": "false",
    "admin.portUnification": "false",
    "audit.enable": "false",
    "DigestAuthenticationProvider.digestAlg": "SHA-256",
    "metricsProvider.className": "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    "admin.serverAddress": "127.0.0.1",
    "metricsProvider.httpHost": "127.0.0.1",
    "observerMasterPort": "2191",
    "globalOutstandingLimit": "10",
    "ssl.quorum.keyStore.location": "/other.pem",
    "ssl.quorum.trustStore.location": "/other.pem",
    "ssl.keyStore.location": "/other.pem",
    "ssl.trustStore.location": "/other.pem",
    "ssl.protocol": "TLSv1.2",
    "ssl.quorum.protocol": "TLSv1.2",
    "ssl.enabledProtocols": "TLSv1.1,TLSv1.2",
    "ssl.quorum.enabledProtocols": "TLSv1.3",
    "ssl.clientAuth": "want",
    "ssl.quorum.clientAuth": "want",
    "sslQuorum": "false",
    "secureClientPort": "2282",
    "secureClientPortAddress": "127.0.0.1",
    "client.portUnification": "false",
    "server.N": "zk9:2888:3888",
    "group.N": "1:2:3",
    "weight.N": "2",
    "java.security.auth.login.config": str(JAAS.with_name("jaas-other.conf")),
    "authProvider.N": "a.Class",
    "sasl.serverconfig": "Other",
    "quorum.auth.learnerRequireSasl": "false",
    "quorum.auth.server.saslLoginContext": "OtherServer",
    "quorum.auth.learner.saslLoginContext": "OtherLearner",
    "security.auth_to_local": "RULE:[1:$1]",
}
"""Where another value than that of `of_kind` is needed."""
BY_KIND = {
    "port": "8081",
    "host": "127.0.0.1",
    "list": "ruok",
    "text": "word",
    "path": "/elsewhere",
    "user:hash": "super:hash",
}
WARNED = {"electionAlg": "3", "peerType": "observer"}
"""Keys whose effect is that a wrong value is refused, or another one warned about."""
ALONE = frozenset(
    {
        "dataDir", "dynamicConfigFile", "quorum.auth.enableSasl",
        "ssl.quorum.keyStore.passwordPath", "ssl.authProvider",
        "ssl.quorum.trustStore.passwordPath", "ssl.keyStore.passwordPath",
        "ssl.trustStore.passwordPath",
    }
)  # fmt: skip
"""Keys with a test of their own: their value must be there, or goes with that of others."""
SOURCES = ("file", "environment", "define")


def of_kind(key: str) -> str:
    """A value that is not the default."""
    setting = EFFECTIVE[key]
    if key in VALUES:
        return VALUES[key]
    if setting.kind == "true/false":
        return "false" if setting.default in ("true", "syncEnabled") else "true"
    if setting.kind == "yes/no":
        return "no" if setting.default == "yes" else "yes"
    if setting.kind in BY_KIND:
        return BY_KIND[setting.kind]
    return str(int(setting.default) + 111) if setting.default.lstrip("-").isdigit() else "77"


def load_with(tmp_path: Path, key: str, value: str | None, source: str = "file") -> LoadedConfig:
    """BASE and one key from one source; a key of BASE is left out of the file for that."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(exist_ok=True)
    (data_dir / "myid").write_text("1")
    values = {"dataDir": str(data_dir), **{at: text for at, text in BASE.items() if at != key}}
    environment: dict[str, str] = {}
    defines: dict[str, str] = {}
    if value is not None:
        match source:
            case "file":
                values[key] = value
            case "environment":
                environment[variable_of_key(key)] = value
            case _:
                defines[f"zookeeper.{key}"] = value
    path = tmp_path / "zoo.cfg"
    path.write_text("".join(f"{name}={text}\n" for name, text in values.items()))
    return load(path, environment=environment, defines=defines, overrides={})


def in_use(loaded: LoadedConfig) -> ServerConfig:
    """The settings themselves, without what nobody reads and where they were written."""
    config = loaded.config
    ensemble = config.ensemble
    if ensemble is not None:
        ensemble = dataclasses.replace(ensemble, config_path=None)
    return dataclasses.replace(config, ensemble=ensemble)


def numbered(key: str) -> str:
    names = {
        "server.N": "server.3", "group.N": "group.1", "weight.N": "weight.2",
        "authProvider.N": "authProvider.1",
    }  # fmt: skip
    return names.get(key, key)


@pytest.mark.parametrize("key", sorted(EFFECTIVE.keys() - ALONE - WARNED.keys() - {"weight.N"}))
def test_a_key_counts_from_every_source(tmp_path: Path, key: str) -> None:
    name, value = numbered(key), of_kind(key)
    without = in_use(load_with(tmp_path, name, BASE.get(name) if key != "server.N" else None))
    found = [in_use(load_with(tmp_path, name, value, source)) for source in SOURCES]
    assert found[0] == found[1] == found[2]
    assert found[0] != without


def test_weights_count_from_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BASE, "group.1", "1:2:3")
    for source in SOURCES:
        ensemble = load_with(tmp_path, "weight.2", "5", source).config.ensemble
        assert ensemble is not None
        assert "weight.2=5" in ensemble.config.text()


@pytest.mark.parametrize("source", SOURCES)
def test_keys_that_name_a_file_count_from_every_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sesame\n")
    for prefix in ("ssl.", "ssl.quorum."):
        for which in ("keyStore", "trustStore"):
            key = f"{prefix}{which}.passwordPath"
            config = load_with(tmp_path, key, str(secret), source).config
            tls = config.client_tls if prefix == "ssl." else config.admin.tls
            assert tls is not None
            store = tls.key if which == "keyStore" else tls.trust
            assert store is not None
            assert store.password == "sesame"
    for server in ("server.1", "server.2", "server.3"):
        monkeypatch.delitem(BASE, server)
    dynamic = tmp_path / "zoo.cfg.dynamic"
    dynamic.write_text("server.1=a:1:2\nserver.2=b:1:2")
    ensemble = load_with(tmp_path, "dynamicConfigFile", str(dynamic), source).config.ensemble
    assert ensemble is not None
    assert ensemble.config.members.keys() == {1, 2}


def test_the_data_directory_counts_from_every_source(tmp_path: Path) -> None:
    overrides = {"clientPort": "2181"}
    for defines, environment in (
        ({"zookeeper.dataDir": "/there"}, {}),
        ({}, {"KRAAL_DATA_DIR": "/there"}),
    ):
        path = tmp_path / "zoo.cfg"
        path.write_text("")
        loaded = load(path, defines=defines, environment=environment, overrides=overrides)
        assert str(loaded.config.storage.data_dir) == "/there"


@pytest.mark.parametrize("source", SOURCES)
def test_keys_that_are_only_compared_are_compared_from_every_source(
    tmp_path: Path, source: str
) -> None:
    for key, value in WARNED.items():
        assert in_use(load_with(tmp_path, key, value, source)) == in_use(
            load_with(tmp_path, key, None)
        )
    with pytest.raises(ConfigError, match="electionAlg=2: Invalid electionAlg value"):
        load_with(tmp_path, "electionAlg", "2", source)
    assert any(
        "doesn't match peerType" in warning
        for warning in load_with(tmp_path, "peerType", "observer", source).warnings
    )


@pytest.mark.parametrize("key", sorted(EFFECTIVE.keys() - ALONE - set(FAMILIES) - BASE.keys()))
def test_the_default_that_is_written_is_the_one_that_counts(tmp_path: Path, key: str) -> None:
    default = EFFECTIVE[key].default
    if default in EFFECTIVE or re.search(r"ticks|as |all|by the|the server's|none|^$", default):
        return  # another key's value, or words
    named = {"DefaultMetricsProvider": f"org.apache.zookeeper.metrics.impl.{default}"}
    written = in_use(load_with(tmp_path, key, named.get(default, default)))
    assert written == in_use(load_with(tmp_path, key, None))


def sample(key: str) -> str:
    syntax = PARSED.get(key, Syntax.TEXT)
    return {Syntax.DECIMAL: "1234", Syntax.BOOLEAN: "true", Syntax.TEXT: "word"}[syntax]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("key", sorted(IDLE))
def test_a_key_without_effect_is_accepted_and_changes_nothing(
    tmp_path: Path, key: str, source: str
) -> None:
    if IDLE[key] == REFUSED_YET:
        with pytest.raises(ConfigError, match=re.escape(key)):
            load_with(tmp_path, key, "true", source)
        return
    loaded = load_with(tmp_path, key, sample(key), source)
    assert in_use(loaded) == in_use(load_with(tmp_path, key, None))
    assert loaded.unknown == ()
    assert loaded.config.passed_through.get(key, sample(key)) == sample(key)
    assert (key in loaded.config.passed_through) == (key not in PARSED)


@pytest.mark.parametrize("key", sorted(key for key in PARSED if PARSED[key] is not Syntax.TEXT))
def test_a_wrong_value_is_named_with_its_source(tmp_path: Path, key: str) -> None:
    expected = {
        "file": rf"{re.escape(str(tmp_path))}/zoo\.cfg, line \d+: {re.escape(key)}=wrong: ",
        "environment": rf"{variable_of_key(key)}: {re.escape(key)}=wrong: ",
        "define": rf"-D: {re.escape(key)}=wrong: ",
    }
    for source, message in expected.items():
        with pytest.raises(ConfigError, match=f"^{message}"):
            load_with(tmp_path, key, "wrong", source)


def test_a_value_that_cannot_be_read_is_warned_about_with_its_source(tmp_path: Path) -> None:
    for source, at in (
        ("file", f"{tmp_path}/zoo.cfg, line "),
        ("environment", "KRAAL_SNAP_COUNT: "),
        ("define", "-D: "),
    ):
        (warning,) = (
            warning
            for warning in load_with(tmp_path, "snapCount", "many", source).warnings
            if "snapCount" in warning
        )
        assert warning.startswith(at)
        assert warning.endswith("snapCount=many: not a number; the default 100000 is used")


def test_the_source_that_won_is_named(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text("# two lines\\\n\n\ndataDir=/d\ntickTime = x\nclient\\\n  Port=y\n")
    with pytest.raises(ConfigError, match=r"zoo\.cfg, line 6: clientPort=y"):
        load(path, defines={}, environment={}, overrides={"tickTime": "2000"})
    with pytest.raises(ConfigError, match=r"zoo\.cfg, line 5: tickTime=x"):
        load(path, defines={"tickTime": "z"}, environment={"KRAAL_CLIENT_PORT": "1"}, overrides={})
    with pytest.raises(ConfigError, match=r"^tickTime=z: "):
        load(
            path,
            defines={},
            environment={"KRAAL_CLIENT_PORT": "1", "KRAAL_TICK_TIME": "y"},
            overrides={"tickTime": "z"},
        )


def test_keys_that_the_parser_checks_are_known() -> None:
    assert PARSED.keys() <= KNOWN


def test_the_page_is_current() -> None:
    command = "python -m kraal.server.config.reference > docs/reference/configuration.md"
    assert PAGE.read_text() == page(), f"run: {command}"


@pytest.mark.parametrize("source", SOURCES)
def test_sasl_between_servers_counts_from_every_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.delitem(BASE, "quorum.auth.learnerRequireSasl")
    for value in ("true", "false"):
        ensemble = load_with(tmp_path, "quorum.auth.enableSasl", value, source).config.ensemble
        assert ensemble is not None
        assert (ensemble.sasl is not None) is (value == "true")
