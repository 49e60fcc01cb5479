"""What ends a run."""

from __future__ import annotations

from typing import NoReturn


class ViolationError(Exception):
    """Something that must never happen did; `promise` names the check that saw it."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


def violated(promise: str, what: str, *args: object) -> NoReturn:
    """End the run. Raises ViolationError."""
    raise ViolationError(promise, what % args if args else what)
