"""Refusals as OTLP senders understand them: ``google.rpc.Status``, with ``RetryInfo`` where a retry makes sense.

Sources: opentelemetry-proto `docs/specification.md` ("Failures", "OTLP/gRPC Throttling", "OTLP/HTTP Throttling") and
googleapis ``google/rpc/{code,status,error_details}.proto``.
"""

from __future__ import annotations

import json
import math
from typing import Final

from spanledger.collector import wire
from spanledger.collector.errors import (
    BrokenOffError,
    CollectorError,
    JournalFullError,
    MalformedError,
    RetryableError,
    TooLargeError,
    UnauthenticatedError,
    UnsupportedError,
)

INVALID_ARGUMENT: Final = 3
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"

# error → (gRPC code, HTTP status); the first match counts. RESOURCE_EXHAUSTED with RetryInfo means "try again",
# without it "never" (OTLP specification, "Failures").
_CODES: Final[tuple[tuple[type[CollectorError], int, int], ...]] = (
    (MalformedError, INVALID_ARGUMENT, 400),
    (BrokenOffError, INVALID_ARGUMENT, 400),
    (TooLargeError, RESOURCE_EXHAUSTED, 413),
    (UnsupportedError, INVALID_ARGUMENT, 415),
    (UnauthenticatedError, UNAUTHENTICATED, 401),
    (JournalFullError, RESOURCE_EXHAUSTED, 503),
    (RetryableError, UNAVAILABLE, 503),
)


def codes(error: CollectorError) -> tuple[int, int]:
    """The gRPC code and the HTTP status that stand for an error."""
    for kind, grpc_code, http_status in _CODES:
        if isinstance(error, kind):
            return grpc_code, http_status
    return INTERNAL, 500


def retry_after_seconds(error: CollectorError) -> int | None:
    """Whole seconds for the ``Retry-After`` header; ``None`` when the sender should not try again."""
    return math.ceil(error.retry_after) if isinstance(error, RetryableError) else None


def to_protobuf(error: CollectorError) -> bytes:
    """The refusal as a serialized ``google.rpc.Status``."""
    status = wire.RpcStatus(code=codes(error)[0], message=str(error))
    if isinstance(error, RetryableError):
        seconds = int(error.retry_after)
        nanos = int((error.retry_after - seconds) * 1e9)
        info = wire.RetryInfo(retry_delay={"seconds": seconds, "nanos": nanos})
        status.details.add(type_url=_RETRY_INFO, value=info.SerializeToString())
    return bytes(status.SerializeToString())


def to_json(error: CollectorError) -> bytes:
    """The refusal as ``google.rpc.Status`` in protobuf's JSON mapping."""
    body: dict[str, object] = {"code": codes(error)[0], "message": str(error)}
    if isinstance(error, RetryableError):
        body["details"] = [{"@type": _RETRY_INFO, "retryDelay": f"{error.retry_after:g}s"}]
    return json.dumps(body).encode()
