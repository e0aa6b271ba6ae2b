"""What can go wrong in the collector, in two kinds: try again, and never.

    CollectorError
    ├── StartupError            a user's mistake found at start: one readable line, nothing runs
    ├── RetryableError          the same bytes may succeed later; `retry_after` says when to try
    │   ├── JournalFullError    the byte limit is reached or the disk is full
    │   ├── DeadLettersFullError    the folder of what can never succeed is at its limit
    │   └── UnavailableError    something we need (the token store, the journal) does not answer
    └── PermanentError          the same bytes will never succeed
        ├── MalformedError      the body is not OTLP
        ├── BrokenOffError      the body never came whole
        ├── TooLargeError       the body, or what it unpacks to, is over the limit
        ├── UnsupportedError    an encoding that we do not speak
        └── UnauthenticatedError

Receivers translate each of them once, at their own edge (`grpc_receiver`, `http_receiver`).
"""

from __future__ import annotations


class CollectorError(Exception):
    """Any error that the collector raises on purpose. Its text is one readable line."""


class StartupError(CollectorError):
    """The configuration cannot work; the text names the thing, the place and the mend."""


class RetryableError(CollectorError):
    """Nothing was stored; the sender should send the same bytes again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class JournalFullError(RetryableError):
    """The journal may not grow: its byte limit is reached or the disk is full."""


class DeadLettersFullError(RetryableError):
    """What can never succeed finds no place any more; nothing goes on until somebody looks at it."""


class UnavailableError(RetryableError):
    """Something that the answer depends on is out of reach right now."""


class PermanentError(CollectorError):
    """The same bytes will be refused again."""


class MalformedError(PermanentError):
    """The body cannot be read as OTLP at all."""


class BrokenOffError(PermanentError):
    """The body never came whole: the sender went away, or was cut off."""


class TooLargeError(PermanentError):
    """The body, or what it unpacks to, is larger than the receiver's limit."""


class UnsupportedError(PermanentError):
    """A content type or content encoding that the receiver does not speak."""


class UnauthenticatedError(PermanentError):
    """No token where one is needed, or a token that nobody issued."""


def one_line(error: BaseException) -> str:
    """Kind and first line of an error, for logs and reasons."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
