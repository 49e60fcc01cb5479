"""`python -m bench.clients`: kraal's client beside kazoo and aiozk, on the same server."""
