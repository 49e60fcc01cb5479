"""kraal: ZooKeeper for Python."""

from kraal.version import __version__

__all__ = ["__version__"]
