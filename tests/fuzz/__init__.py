"""Damaged and hostile input: decoders, parsers and a whole replica.

`test_*.py` run with `make test` and are bounded; `python -m tests.fuzz` runs the same targets
guided by coverage for as long as one likes.
"""
