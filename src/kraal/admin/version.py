"""The version that this server says it is."""

from kraal.version import REFERENCE_VERSION

VERSION = (
    f"{REFERENCE_VERSION}-293c895a8d966a3ecb92872be4a1daf87d725da2, built on 2026-02-11 20:18 UTC"
)
"""What clients and tools parse: the reference release that this server speaks as."""
