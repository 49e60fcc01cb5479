"""What is wrong with an argument, said to the test before anything happens."""

from __future__ import annotations


def check_session_id(session_id: object) -> None:
    """Raises TypeError for what is no id of a session."""
    if not isinstance(session_id, int):
        raise TypeError(f"the id of a session must be an int, not {session_id!r:.100}")


def check_seconds(seconds: object) -> None:
    """Raises TypeError, ValueError for what no disk can take."""
    if not isinstance(seconds, int | float):
        raise TypeError(f"a disk takes a number of seconds, not {seconds!r:.100}")
    if not 0 <= seconds < 2**31:
        raise ValueError(f"a disk takes 0 s or more, not {seconds!r}")
