"""The rules of `security.auth_to_local`: which user a name of Kerberos is.

`DEFAULT` takes the first part of names of the own realm. `RULE:[n:format](match)s/from/to/g` is
about names of n parts: the format makes a text of them (`$0` is the realm), which must match as a
whole and is then substituted. The first rule that gives a name counts. Source: the description
of the property, as for `auth_to_local` of MIT Kerberos; expressions are Python's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kraal.pipeline.auth.kerberos_name import KerberosName

_RULE = re.compile(
    r"\s*(?:(?P<default>DEFAULT)"
    r"|RULE:\[(?P<parts>\d+):(?P<format>[^\]]*)\](?:\((?P<match>[^)]*)\))?"
    r"(?:s/(?P<pattern>[^/]*)/(?P<to>[^/]*)/(?P<all>g)?)?)"
)
_REFERENCE = re.compile(r"\$(\d+)")
_GROUP = re.compile(r"\\(.)|\$(\d)|([^\\$]+)", re.DOTALL)
_NOT_SIMPLE = re.compile(r"[/@]")


@dataclass(frozen=True, slots=True)
class _Rule:
    parts: int
    format: str
    match: re.Pattern[str] | None
    pattern: re.Pattern[str] | None
    to: str
    """The replacement in Python's form."""
    is_for_all: bool

    def apply(self, name: tuple[str, ...]) -> str | None:
        if len(name) - 1 != self.parts:
            return None
        base = _REFERENCE.sub(lambda found: name[int(found[1])], self.format)
        if self.match is not None and not self.match.fullmatch(base):
            return None
        if self.pattern is None:
            return base
        return self.pattern.sub(self.to, base, count=0 if self.is_for_all else 1)


def rules(text: str, default_realm: str) -> Callable[[KerberosName], str | None]:
    """What the rules make of a name that has a realm; ValueError where one is malformed."""
    parsed: list[_Rule | None] = []
    rest = text.strip()
    while rest:
        found = _RULE.match(rest)
        if found is None:
            raise ValueError(f"invalid rule: {rest}")
        parsed.append(None if found["default"] else _rule(found))
        rest = rest[found.end() :].strip()

    def short_name(name: KerberosName) -> str | None:
        realm = name.realm or ""
        parts = (realm, name.service) if name.host is None else (realm, name.service, name.host)
        for rule in parsed:
            if rule is not None:
                short = rule.apply(parts)
            else:
                short = name.service if realm == default_realm else None
            if short is not None:
                return None if _NOT_SIMPLE.search(short) else short
        return None

    return short_name


def _rule(found: re.Match[str]) -> _Rule:
    parts, form = int(found["parts"]), found["format"]
    if any(int(number) > parts for number in _REFERENCE.findall(form)):
        raise ValueError(f"index out of range in the format {form}")
    try:
        match = None if found["match"] is None else re.compile(found["match"])
        pattern = None if found["pattern"] is None else re.compile(found["pattern"])
        to = _GROUP.sub(_replacement, found["to"] or "")
        if pattern is not None:
            pattern.sub(to, "")  # raises where the replacement names a group that is not there
    except re.error as error:
        raise ValueError(f"{found[0].strip()}: {error}") from None
    return _Rule(parts, form, match, pattern, to, found["all"] is not None)


def _replacement(found: re.Match[str]) -> str:
    escaped, group, plain = found.groups()
    return f"\\g<{group}>" if group is not None else (escaped or plain).replace("\\", r"\\")
