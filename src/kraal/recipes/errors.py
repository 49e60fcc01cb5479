"""What recipes raise beside the client's own errors.

RecipeError
├── NotRunningError         before `start`, after `close`, or started twice (a RuntimeError, too)
├── LostError               what was held is lost, or must be taken as lost
├── AcquireTimeoutError     not acquired within the timeout (a TimeoutError, too)
├── AcquireCancelledError   `cancel` of the recipe ended the wait
├── AlreadyHeldError        the task would wait for itself
├── NotHeldError            nothing to release
└── LimitMismatchError      the users of a semaphore or a barrier disagree on its size
"""

from __future__ import annotations

from kraal.errors import KraalError


class RecipeError(KraalError):
    """Base of everything that a recipe raises on its own account."""


class NotRunningError(RecipeError, RuntimeError):
    """Used before `start` or after `close`, or started a second time."""


class LostError(RecipeError):
    """What was held is lost, or must be taken as lost; the message says why."""


class AcquireTimeoutError(RecipeError, TimeoutError):
    """Not acquired in time; nothing is left behind in the queue."""


class AcquireCancelledError(RecipeError):
    """The recipe's `cancel` was called while this task was waiting."""


class AlreadyHeldError(RecipeError):
    """The task holds it already and would wait for itself; see `reentrant`."""


class NotHeldError(RecipeError):
    """`release` without `acquire`."""


class LimitMismatchError(RecipeError):
    """Another user of the semaphore, or of the double barrier, has another limit, or count."""
