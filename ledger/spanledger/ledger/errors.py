"""What can go wrong with a store, in two kinds: worth trying again, or not.

StoreError
├── RetryableStoreError   the same call may succeed later (store down, overloaded, out of memory)
└── PermanentStoreError   it will not: wrong configuration, foreign files, a newer schema, refused rows
    └── StoreInUseError   another process owns the embedded store
"""

from __future__ import annotations

from typing import Final

from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    StreamFailureError,
)

RETRYABLE_CODES: Final = frozenset(
    {
        3,  # UNEXPECTED_END_OF_FILE
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        164,  # READONLY: a replica that lost its keeper
        198,  # DNS_ERROR
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED: the server shuts down
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        289,  # REPLICA_IS_NOT_IN_QUORUM
        319,  # UNKNOWN_STATUS_OF_INSERT
        364,  # IMPORT_IN_PROGRESS
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        473,  # DEADLOCK_AVOIDED
        499,  # S3_ERROR
        517,  # CANNOT_ASSIGN_ALTER
        999,  # KEEPER_EXCEPTION
    }
)
"""Numeric ClickHouse codes (src/Common/ErrorCodes.cpp) after which the same statement may succeed later."""


class StoreError(Exception):
    """The store refused or failed; the message is one readable line."""


class RetryableStoreError(StoreError):
    """The same call may succeed later."""


class PermanentStoreError(StoreError):
    """The same call will fail again until somebody changes something."""


class StoreInUseError(PermanentStoreError):
    """Another process owns the embedded store."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


def translate(error: ClickHouseError, doing: str) -> StoreError:
    """Turn a driver error into one of ours, by its numeric code; a transport error without a code is retryable."""
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
    code = error.code if isinstance(error, Error) else None
    message = f"store failed while {doing}: {first_line}"
    if code is not None:
        return RetryableStoreError(message) if code in RETRYABLE_CODES else PermanentStoreError(message)
    if isinstance(error, (OperationalError, InternalError, InterfaceError, StreamFailureError)):
        return RetryableStoreError(message)
    return PermanentStoreError(message)
