"""Type checkers of users find the package's types."""

from __future__ import annotations

from importlib.resources import files


def test_the_package_says_that_it_has_types() -> None:
    assert (files("kraal") / "py.typed").is_file()
