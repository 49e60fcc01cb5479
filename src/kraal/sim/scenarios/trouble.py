"""What operations may meet while servers fail, and what they may be refused for."""

from __future__ import annotations

from kraal.client import (
    BadVersionError,
    ConnectionLossError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    ThrottledError,
    TransactionError,
)

TROUBLE = (ConnectionLossError, SessionExpiredError, ThrottledError)
REFUSED = (
    BadVersionError,
    NoChildrenForEphemeralsError,
    NoNodeError,
    NodeExistsError,
    NotEmptyError,
    TransactionError,
)
