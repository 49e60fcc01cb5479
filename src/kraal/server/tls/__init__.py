"""TLS of the client, quorum and election ports."""
