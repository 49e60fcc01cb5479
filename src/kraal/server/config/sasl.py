"""How clients log in by SASL, from the merged keys of a configuration and a JAAS file.

The file has the users of DIGEST-MD5, or says who the server is in Kerberos, as the original's.
There is no JVM: its property `java.security.auth.login.config` is a key of zoo.cfg as well. Keys:
reference/operations.md sections 7.4 and 7.5.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path, PurePath

from kraal.errors import ConfigError
from kraal.model.config import KerberosLogin, QuorumSaslConfig, SaslConfig
from kraal.model.setting import refuse
from kraal.pipeline.auth import auth_to_local
from kraal.server.config import jaas
from kraal.server.config.jaas import LoginModule
from kraal.server.config.settings import Settings

JAAS_FILE = "java.security.auth.login.config"
SECTION = "sasl.serverconfig"
SUPER_PASSWORD = "SASLAuthenticationProvider.superPassword"
PROVIDER = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
_SUPER_USER = "superUser"
_USER = "user_"
_OPEN_TO_ALL = "everybody on this machine can read the passwords: chmod 600"
_DIGEST_MODULE = "DigestLoginModule"
_KERBEROS_MODULE = "Krb5LoginModule"


def is_provided(settings: Settings) -> bool:
    """Whether ACLs may have the scheme `sasl`: an `authProvider.X` line names its class."""
    return settings.names_provider(PROVIDER)


def super_users(settings: Settings) -> frozenset[str]:
    """`superUser` and every `superUser.X`."""
    keys = [
        key for key in settings.values if key == _SUPER_USER or key.startswith(f"{_SUPER_USER}.")
    ]
    return frozenset(name for key in keys if (name := settings.text(key)))


def sasl_config(settings: Settings, *, is_provided: bool) -> SaslConfig | None:
    """How clients log in; None: they cannot. Raises ConfigError."""
    modules = _server_modules(settings)
    rules = settings.text("security.auth_to_local") or "DEFAULT"
    try:
        auth_to_local.rules(rules, "")
    except ValueError as error:
        raise refuse("security.auth_to_local", rules, str(error)) from None
    super_password = settings.text(SUPER_PASSWORD)
    removes_host = settings.flag("kerberos.removeHostFromPrincipal", False)
    removes_realm = settings.flag("kerberos.removeRealmFromPrincipal", False)
    if not modules:
        return None
    path = settings.values[JAAS_FILE]
    passwords: dict[str, str] = {}
    kerberos: KerberosLogin | None = None
    for module in modules:
        if module.name == _KERBEROS_MODULE:
            kerberos = _kerberos_login(path, module)
        elif module.name == _DIGEST_MODULE:
            passwords |= users(settings, module)
        else:
            raise refuse(JAAS_FILE, path, f"there is no login module {module.class_name}")
    if kerberos is not None and passwords:
        settings.warn(JAAS_FILE, "with Kerberos there is no DIGEST-MD5: users count for nothing")
    if kerberos is None and not passwords:
        settings.warn(JAAS_FILE, "there is no user (user_NAME): no client can log in by SASL")
    if super_password is not None and "super" in passwords:
        passwords["super"] = super_password
    if not is_provided:
        settings.warn(
            JAAS_FILE,
            "clients can log in by SASL, but no ACL can name them:"
            f" that takes authProvider.sasl={PROVIDER}",
        )
    return SaslConfig(
        passwords=passwords,
        kerberos=kerberos,
        auth_to_local=rules,
        removes_host=removes_host,
        removes_realm=removes_realm,
    )


def users(settings: Settings, module: LoginModule) -> dict[str, str]:
    """The users of DIGEST-MD5 and their passwords: options `user_NAME`."""
    found = {
        key.removeprefix(_USER): password
        for key, password in module.options.items()
        if key.startswith(_USER)
    }
    for key in module.repeated:
        settings.warn(JAAS_FILE, f"{key} is there more than once, and the last one counts")
    if "" in found:
        settings.warn(JAAS_FILE, f"{_USER} is a user without a name")
    for name, password in found.items():
        if not password:
            settings.warn(JAAS_FILE, f"the password of {name!r} is empty: anybody can log in")
    return found


def quorum_sasl_config(settings: Settings) -> QuorumSaslConfig | None:
    """How servers log in to each other; None: they do not. Raises ConfigError."""
    is_enabled = settings.parsed_flag("quorum.auth.enableSasl", False)
    learner_requires = settings.parsed_flag("quorum.auth.learnerRequireSasl", False)
    server_requires = settings.parsed_flag("quorum.auth.serverRequireSasl", False)
    if not is_enabled:
        return None
    if server_requires and not learner_requires:
        raise refuse(
            "quorum.auth.serverRequireSasl",
            "true",
            "quorum.auth.learnerRequireSasl is disabled, so cannot enable it",
        )
    passwords: dict[str, str] = {}
    for module in _quorum_modules(settings, "server", "QuorumServer"):
        passwords |= users(settings, module)
    if not passwords:
        settings.warn(JAAS_FILE, "there is no user (user_NAME): no server can log in here")
    learner = _quorum_modules(settings, "learner", "QuorumLearner")[0].options
    for name in ("username", "password"):
        if name not in learner:
            raise refuse(JAAS_FILE, settings.values[JAAS_FILE], f"the learner has no {name}")
    return QuorumSaslConfig(
        username=learner["username"],
        password=learner["password"],
        passwords=passwords,
        learner_requires=learner_requires,
        server_requires=server_requires,
    )


def _quorum_modules(settings: Settings, side: str, default: str) -> tuple[LoginModule, ...]:
    path = settings.text(JAAS_FILE)
    if path is None:
        raise refuse("quorum.auth.enableSasl", "true", f"{JAAS_FILE} must name a file")
    section = settings.text(f"quorum.auth.{side}.saslLoginContext") or default
    modules = read_sections(settings, path).get(section)
    if not modules:
        raise refuse(JAAS_FILE, path, f"there is no section {section}")
    for module in modules:
        if module.name != _DIGEST_MODULE:
            reason = f"{section}: servers log in to each other by {_DIGEST_MODULE} alone"
            raise refuse(JAAS_FILE, path, reason)
    return modules


def _kerberos_login(path: str, module: LoginModule) -> KerberosLogin:
    """Keys are always those of a keytab: a server has nobody to ask for a password."""
    principal, keytab = module.options.get("principal"), module.options.get("keyTab")
    if not principal or module.options.get("useKeyTab", "false").lower() != "true":
        raise refuse(JAAS_FILE, path, f"{module.name} needs useKeyTab=true and a principal")
    return KerberosLogin(principal=principal, keytab=PurePath(keytab) if keytab else None)


def _server_modules(settings: Settings) -> tuple[LoginModule, ...]:
    """The section of the server; empty where there is none, or no file."""
    path = settings.text(JAAS_FILE)
    named = settings.text(SECTION)
    if path is None:
        if named is not None:
            raise refuse(SECTION, named, f"{JAAS_FILE} must name the file of the section")
        return ()
    sections = read_sections(settings, path)
    section = named or "Server"
    if section in sections:
        return sections[section]
    if named is not None:
        raise refuse(SECTION, named, f"{path} has no such section")
    if not settings.parsed_flag("quorum.auth.enableSasl", False):
        settings.warn(JAAS_FILE, f"there is no section {section}: no client can log in by SASL")
    return ()


def read_sections(settings: Settings, path: str) -> Mapping[str, tuple[LoginModule, ...]]:
    """The sections of a JAAS file; a mark of UTF-8 at its start is skipped. Raises ConfigError."""
    file = Path(path)
    try:
        sections = jaas.parse(file.read_text(encoding="utf-8-sig"))
        is_open_to_all = file.stat().st_mode & stat.S_IROTH
    except OSError as error:
        raise refuse(JAAS_FILE, path, error.strerror or str(error)) from error
    except UnicodeDecodeError:
        raise refuse(JAAS_FILE, path, "the file is not UTF-8") from None
    except ConfigError as error:
        raise refuse(JAAS_FILE, path, str(error)) from None
    has_passwords = any(
        module.name == _DIGEST_MODULE for modules in sections.values() for module in modules
    )
    if is_open_to_all and has_passwords and not settings.warns_of(_OPEN_TO_ALL):
        settings.warn(JAAS_FILE, _OPEN_TO_ALL)
    return sections
