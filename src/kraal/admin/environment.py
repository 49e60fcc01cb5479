"""What `envi` says: the reference's keys in its order, with the values of this process.

The `java.*` keys describe the Python that runs kraal, because scripts ask for them by name.
Source: reference/operations.md section 2.2.
"""

from __future__ import annotations

import getpass
import os
import platform
import socket
import sys
import sysconfig
import tempfile

NOT_AVAILABLE = "<NA>"
_ARCHITECTURES = {"x86_64": "amd64"}
"""Java's names where they differ from the kernel's."""


def environment(version: str) -> dict[str, str]:
    """Keys and values in the reference's order."""
    system = os.uname()
    memory = _physical_megabytes("SC_PHYS_PAGES")
    return {
        "zookeeper.version": version,
        "host.name": socket.gethostname(),
        "java.version": platform.python_version(),
        "java.vendor": platform.python_implementation(),
        "java.home": sys.prefix,
        "java.class.path": os.pathsep.join(sys.path),
        "java.library.path": sysconfig.get_config_var("LIBDIR") or NOT_AVAILABLE,
        "java.io.tmpdir": tempfile.gettempdir(),
        "java.compiler": NOT_AVAILABLE,
        "os.name": system.sysname,
        "os.arch": _ARCHITECTURES.get(system.machine, system.machine),
        "os.version": system.release,
        "user.name": user_name(),
        "user.home": os.path.expanduser("~"),  # noqa: PTH111 - Path.home() may raise
        "user.dir": os.getcwd(),  # noqa: PTH109 - text is what is wanted
        "os.memory.free": _physical_megabytes("SC_AVPHYS_PAGES"),
        "os.memory.max": memory,
        "os.memory.total": memory,
    }


def _physical_megabytes(pages: str) -> str:
    try:
        return f"{os.sysconf(pages) * os.sysconf('SC_PAGE_SIZE') >> 20}MB"
    except (OSError, ValueError):
        return NOT_AVAILABLE


def user_name() -> str:
    """Whose process this is."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return NOT_AVAILABLE
