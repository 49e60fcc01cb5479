"""The version of kraal and of the reference release that it speaks as."""

__version__ = "0.1.0"

REFERENCE_VERSION = "3.9.5"
"""The Apache ZooKeeper release whose behaviour this server reproduces."""
