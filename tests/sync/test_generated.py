"""What `tools.sync_api` writes is what is there."""

from __future__ import annotations

import inspect

from kraal import client, sync
from kraal.sync import recipes
from tools.sync_api.__main__ import main


def test_the_written_modules_are_current() -> None:
    assert main(["--check"]) == 0, "run `python -m tools.sync_api`"


def test_no_operation_of_the_client_is_missing() -> None:
    for name in dir(client.Client):
        if not name.startswith("_"):
            assert inspect.getattr_static(sync.Client, name, None) is not None, name


def test_nothing_that_waits_is_left_to_await() -> None:
    for package in (sync, recipes):
        for name in package.__all__:
            public = getattr(package, name)
            assert not inspect.iscoroutinefunction(public), name
            for member_name, member in inspect.getmembers(public):
                if not member_name.startswith("_") and inspect.isclass(public):
                    assert not inspect.iscoroutinefunction(member), f"{name}.{member_name}"
