"""What the constructors of all recipes check of their arguments."""

from __future__ import annotations

from kraal.client import Client
from kraal.model import path as paths


def check_place(zk: object, path: object) -> None:
    """Raise TypeError for what is no client or no text, ValueError for what can be no path."""
    if not isinstance(zk, Client):
        raise TypeError(f"a kraal.client.Client is needed, not {zk!r}")
    if not isinstance(path, str):
        raise TypeError(f"a path is text, not {path!r}")
    if not paths.is_valid(path.encode("utf-8", "replace")):
        raise ValueError(f"{path!r} can be no path of a znode")


def check_name(name: str) -> None:
    """Raise ValueError for what cannot be the name of a child."""
    if not name or "/" in name or not paths.is_valid(f"/{name}".encode("utf-8", "replace")):
        raise ValueError(f"{name!r} can be no name of a znode")
