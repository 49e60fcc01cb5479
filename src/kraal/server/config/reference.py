"""The page of all settings: `python -m kraal.server.config.reference`."""

from __future__ import annotations

from collections import defaultdict

from kraal.server.config.catalogue import IDLE, SECTIONS, Setting, rows
from kraal.server.config.keys import PARSED, Syntax, variable_of_key

_HEAD = """\
# Settings

Written by `python -m kraal.server.config.reference`; do not edit it by hand.

Every key can be set with `-D`, in `zoo.cfg` and in the environment; what stands later wins, and
options of `kraal serve` win over all. A wrong value is named with the place where it was set.
Values of the keys marked † must be right, or the server does not start, as with ZooKeeper; of the
others what cannot be read is warned about, and the default counts.

A change counts with the next start; where it counts while the server runs, the last column says
so. Log levels are no settings of `zoo.cfg`: [admin.md](../admin.md#logs) says how they change
while it runs.
"""
_STRICT = {Syntax.DECIMAL: "number", Syntax.BOOLEAN: "true/false", Syntax.TEXT: ""}


def page() -> str:
    """docs/reference/configuration.md."""
    lines = [_HEAD]
    for title, table in SECTIONS:
        lines += [
            f"## {title}",
            "",
            "| key | type | default | environment | effect | live |",
            "|---|---|---|---|---|---|",
            *map(_row, rows(table)),
            "",
        ]
    return "\n".join([*lines, *_without_effect()])


def _row(setting: Setting) -> str:
    mark = "†" if PARSED.get(setting.name, Syntax.TEXT) is not Syntax.TEXT else ""
    default = f"`{setting.default}`" if setting.default else ""
    live = "yes" if setting.is_live else ""
    return (
        f"| `{setting.name}`{mark} | {setting.kind} | {default} |"
        f" `{variable_of_key(setting.name)}` | {setting.meaning} | {live} |"
    )


def _without_effect() -> list[str]:
    keys: dict[str, list[str]] = defaultdict(list)
    for key, reason in IDLE.items():
        keys[reason].append(key)
    lines = ["## Without effect", "", "These are accepted, because a `zoo.cfg` may have them."]
    for reason, of_reason in keys.items():
        lines += [
            "",
            f"No effect, because {reason}:",
            "",
            "| key | must be | environment |",
            "|---|---|---|",
            *(
                f"| `{key}` | {_STRICT[PARSED.get(key, Syntax.TEXT)]} | `{variable_of_key(key)}` |"
                for key in sorted(of_reason)
            ),
        ]
    return [*lines, ""]


if __name__ == "__main__":
    print(page(), end="")
