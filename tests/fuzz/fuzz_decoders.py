"""One decoder under atheris: `python -m tests.fuzz.fuzz_decoders NAME [libFuzzer arguments]`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["kraal"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name = sys.argv.pop(1)
    target = TARGETS[name]
    atheris.Setup(sys.argv, target.feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
