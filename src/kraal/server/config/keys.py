"""The keys that a configuration may carry, how each is spelled, and which are meant by a typo.

Source: reference/operations.md sections 1.2, 1.3, 3.1 and 7.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from types import MappingProxyType

from kraal.server.config.catalogue import EFFECTIVE, IDLE, NOT_YET

ENVIRONMENT_PREFIX = "KRAAL_"
NOT_SETTINGS = frozenset(
    {"KRAAL_LOG_LEVEL", "KRAAL_LOG_FORMAT", "KRAAL_LOG_LEVELS", "KRAAL_PROFILE"}
)
"""Environment variables with the prefix that the process reads for itself."""


class Syntax(Enum):
    """How the parser reads the value of a key that it knows; a wrong value is fatal."""

    DECIMAL = auto()
    BOOLEAN = auto()
    TEXT = auto()


_DECIMAL = """
    clientPort secureClientPort clientPortListenBacklog observerMasterPort tickTime
    maxClientCnxns minSessionTimeout maxSessionTimeout initLimit syncLimit
    connectToLearnerMasterLimit electionAlg autopurge.snapRetainCount autopurge.purgeInterval
    quorum.cnxn.threads.size jvm.pause.info-threshold.ms jvm.pause.warn-threshold.ms
    jvm.pause.sleep.time.ms multiAddress.reachabilityCheckTimeoutMs
"""
_BOOLEAN = """
    quorumListenOnAllIPs syncEnabled localSessionsEnabled localSessionsUpgradingEnabled
    standaloneEnabled reconfigEnabled sslQuorum portUnification sslQuorumReloadCertFiles
    quorum.auth.enableSasl quorum.auth.serverRequireSasl quorum.auth.learnerRequireSasl
    jvm.pause.monitor multiAddress.enabled multiAddress.reachabilityCheckEnabled
"""
_TEXT = """
    dataDir dataLogDir clientPortAddress secureClientPortAddress peerType dynamicConfigFile
    quorum.auth.learner.saslLoginContext quorum.auth.server.saslLoginContext
    quorum.auth.kerberos.servicePrincipal metricsProvider.className oraclePath
"""
PARSED = MappingProxyType(
    dict.fromkeys(_DECIMAL.split(), Syntax.DECIMAL)
    | dict.fromkeys(_BOOLEAN.split(), Syntax.BOOLEAN)
    | dict.fromkeys(_TEXT.split(), Syntax.TEXT)
)
"""The keys of section 1.2: checked whether or not this server uses them."""

FAMILIES = ("server.N", "group.N", "weight.N", "authProvider.N")
KNOWN = frozenset([*EFFECTIVE.keys() - set(FAMILIES), *IDLE])

_FAMILY = re.compile(
    r"server\..+|group\..+|weight\..+|authProvider\..+|superUser\..+|metricsProvider\..+"
    r"|java\..+|javax\..+|sun\..+"
)
"""Keys that end in a number or a name of the operator's choice, and the JVM's own."""

GUIDE_SPELLINGS = MappingProxyType(
    {
        "connectionMaxTokens": "connection_throttle_tokens",
        "connectionTokenFillTime": "connection_throttle_fill_time",
        "connectionTokenFillCount": "connection_throttle_fill_count",
        "connectionFreezeTime": "connection_throttle_freeze_time",
        "connectionDropIncrease": "connection_throttle_drop_increase",
        "connectionDropDecrease": "connection_throttle_drop_decrease",
        "connectionDecreaseRatio": "connection_throttle_decrease_ratio",
        "requestThrottleLimit": "request_throttle_max_requests",
        "requestThrottleStallTime": "request_throttle_stall_time",
        "requestThrottleDropStale": "request_throttle_drop_stale",
        "requestStaleLatencyCheck": "request_stale_latency_check",
        "requestStaleConnectionCheck": "request_stale_connection_check",
        "throttledOpWaitTime": "throttled_op_wait_time",
        "advancedFlowControlEnabled": "netty.advancedFlowControl.enabled",
        "outstandingHandshake.limit": "netty.server.outstandingHandshake.limit",
        "maxConcurrentSnapSyncs": "leader.maxConcurrentSnapSyncs",
        "maxConcurrentDiffSyncs": "leader.maxConcurrentDiffSyncs",
        "maxTimeToWaitForEpoch": "leader.maxTimeToWaitForEpoch",
    }
)
"""Names that the official guide prints but the original ignores; accepted here."""


NOT_SERVED_YET = frozenset(key for key, reason in IDLE.items() if reason == NOT_YET)
_NOT_SERVED_FAMILY = re.compile(r"authProvider\..+")


def waits_for_feature(key: str) -> bool:
    """Whether the key would change what a server does, once kraal has the feature."""
    return key in NOT_SERVED_YET or _NOT_SERVED_FAMILY.fullmatch(key) is not None


def is_known(key: str) -> bool:
    return key in KNOWN or _FAMILY.fullmatch(key) is not None


def _fold(name: str) -> str:
    """What remains of a key when case, dots, underscores and hyphens do not count."""
    return re.sub(r"[._-]", "", name).lower()


_BY_FOLDED = MappingProxyType(
    {_fold(spelling): key for spelling, key in GUIDE_SPELLINGS.items()}
    | {_fold(key): key for key in KNOWN}
)
_NUMBERED_VARIABLE = re.compile(r"(SERVER|GROUP|WEIGHT)_(\d+)")
_NAMED_VARIABLE = re.compile(r"(AUTH_?PROVIDER|SUPER_?USER)_(\w+)")


def variable_of_key(key: str) -> str:
    """The environment variable as the documentation spells it."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[.-]", "_", key)
    return f"{ENVIRONMENT_PREFIX}{words.upper()}"


def key_of_variable(name: str) -> str | None:
    """The key that the environment variable `name` sets, or None when no key is meant.

    The rule: after `KRAAL_`, case and underscores do not count, and stand for dots and hyphens
    as well. `KRAAL_CLIENT_PORT` is `clientPort`; `KRAAL_4LW_COMMANDS_WHITELIST` is
    `4lw.commands.whitelist`; `KRAAL_SERVER_1` is `server.1`.
    """
    rest = name[len(ENVIRONMENT_PREFIX) :].upper()
    if key := _BY_FOLDED.get(_fold(rest)):
        return key
    if match := _NUMBERED_VARIABLE.fullmatch(rest):
        return f"{match[1].lower()}.{match[2]}"
    if match := _NAMED_VARIABLE.fullmatch(rest):
        family = "authProvider" if match[1].startswith("AUTH") else "superUser"
        return f"{family}.{match[2].lower()}"
    return None


def suggestion(name: str) -> str | None:
    """The known key that `name` most likely means."""
    folded = _fold(name.removeprefix("zookeeper.").removeprefix(ENVIRONMENT_PREFIX))
    if folded in _BY_FOLDED:
        return _BY_FOLDED[folded]
    from difflib import get_close_matches  # noqa: PLC0415 - only for a typo, and slow to import

    close = get_close_matches(folded, _BY_FOLDED, n=1, cutoff=0.8)
    return _BY_FOLDED[close[0]] if close else None
