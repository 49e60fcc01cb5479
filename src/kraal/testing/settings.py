"""The `zoo.cfg` of a server under test: what a test wants sooner or more of than an operator."""

from __future__ import annotations

from collections.abc import Mapping

from kraal.errors import ConfigError
from kraal.local.layout import CHOSEN
from kraal.model.ensemble import is_membership_key
from kraal.server.config.file import LoadedConfig

Settings = Mapping[str, str | int | bool]
"""Keys of `zoo.cfg` with their values."""

SUPER_SETTING = "DigestAuthenticationProvider.superDigest"
SUPER_AUTH = b"super:kraal-testing"
"""Credentials of the scheme `digest` for the user who may do everything."""
_FOR_TESTS = {
    "tickTime": "100",  # sessions may be as short as 200 ms
    "maxSessionTimeout": "60000",
    "maxClientCnxns": "0",
    "4lw.commands.whitelist": "*",
    "admin.enableServer": "false",
    "extendedTypesEnabled": "true",
    "znode.container.checkIntervalMs": "200",
    "forceSync": "no",
    "preAllocSize": "0",
    SUPER_SETTING: "super:e1qVsuiixtoYtT6QnzEjCPuHwsk=",
}
_FOR_ENSEMBLES = {
    "tickTime": "200",
    "initLimit": "50",
    "syncLimit": "15",
    "fastleader.maxNotificationInterval": "400",
}


def for_tests(given: Settings | None, *, is_member: bool = False) -> dict[str, str]:
    """The keys of a test server, as they are written in `zoo.cfg`; what is given wins.

    Raises ConfigError for keys that the kit chooses itself.
    """
    given = {} if given is None else given
    for key in given:
        if key in CHOSEN or is_membership_key(key):
            raise ConfigError(f"{key} is chosen by the test server and cannot be set")
    defaults = _FOR_TESTS | (_FOR_ENSEMBLES if is_member else {})
    return defaults | {key: _written(value) for key, value in given.items()}


def check(loaded: LoadedConfig) -> None:
    """Raise ConfigError for keys that nobody knows: in a test they are mistakes."""
    if loaded.unknown:
        raise ConfigError(f"nobody knows {', '.join(loaded.unknown)}")


def _written(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
