"""A whole replica under atheris: `python -m tests.fuzz.fuzz_replica [libFuzzer arguments]`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["kraal"]):
    from tests.fuzz.script import run


def main() -> None:
    atheris.Setup(sys.argv, run_once)
    atheris.Fuzz()


def run_once(data: bytes) -> None:
    run(data)


if __name__ == "__main__":
    main()
