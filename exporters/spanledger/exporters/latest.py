"""The latest calls behind ``/api/v1/calls``, page by page, newest first."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from spanledger.exporters.access import Scope
from spanledger.exporters.readings import StoreReadings
from spanledger.exporters.spend import BadRequestError, iso, parse_limit, parse_span, plain, refuse_unknown, single

FILTERS: Final = ("provider", "model", "team", "feature", "session", "user", "service", "status", "cost_status")
MAX_CALLS: Final = 1000
_NEWEST: Final = (2**63 - 1, "")
_COLUMNS: Final = (
    "org",
    "call_id",
    "started_at",
    "duration_ms",
    "ttft_ms",
    "provider",
    "operation",
    "request_model",
    "response_model",
    "status",
    "error_type",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_usd",
    "cost_status",
    "cost_reason",
    "team",
    "feature",
    "session",
    "user",
    "service",
    "environment",
    "witness_count",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsRequest:
    """One page of calls.

    Attributes:
        filters: name of `FILTERS` → the one value that passes.
        since: start, inclusive, on a minute, UTC.
        until: end, exclusive, on a minute, UTC.
        before: start in nanoseconds and id of the last call of the page before.
        limit: calls at most.
    """

    filters: Mapping[str, str]
    since: datetime
    until: datetime
    before: tuple[int, str] = _NEWEST
    limit: int = 100

    @classmethod
    def parse(cls, values: Mapping[str, Sequence[str]], now: datetime) -> CallsRequest:
        """Read query parameters.

        Raises:
            BadRequestError: an unknown parameter or a value that cannot be used.
        """
        refuse_unknown(values, (*FILTERS, "from", "to", "limit", "cursor"))
        since, until = parse_span(values, now, timedelta(days=1))
        filters = {name: single(values, name) for name in FILTERS}
        return cls(
            filters=filters | {"model": filters["model"].lower()},
            since=since,
            until=until,
            before=_read_cursor(single(values, "cursor")),
            limit=parse_limit(values, 100, MAX_CALLS),
        )


def latest_calls(readings: StoreReadings, request: CallsRequest, scope: Scope) -> dict[str, Any]:
    """Answer one page, JSON-ready; ``next`` is the cursor of the following page, None on the last.

    Raises:
        StoreError: the store does not answer.
    """
    parameters = {
        **request.filters,
        "since": request.since,
        "until": request.until,
        "before_ns": request.before[0],
        "before_id": request.before[1],
        "limit": request.limit + 1,
    }
    rows = readings.rows("latest_calls", scope, parameters)
    page = rows[: request.limit]
    return {
        "from": iso(request.since),
        "to": iso(request.until),
        "calls": [_call(row) for row in page],
        "next": _cursor(page[-1][2], page[-1][1]) if len(rows) > request.limit else None,
    }


def _call(row: Sequence[Any]) -> dict[str, Any]:
    call = dict(zip(_COLUMNS, row, strict=True))
    call["started_at"] = _nanoseconds(call["started_at"])
    return {name: plain(value) for name, value in call.items()}


def _nanoseconds(started_ns: int) -> str:
    seconds, rest = divmod(started_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


def _cursor(started_ns: int, call_id: str) -> str:
    return base64.urlsafe_b64encode(f"{started_ns}.{call_id}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[int, str]:
    if not text:
        return _NEWEST
    try:
        started, _, call_id = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(".")
        started_ns = int(started)
    except (binascii.Error, ValueError):
        raise BadRequestError(f"cursor={text[:40]!r} is not one of ours: take 'next' of the page before") from None
    if not call_id or not 0 <= started_ns < _NEWEST[0]:
        raise BadRequestError(f"cursor={text[:40]!r} is not one of ours: take 'next' of the page before")
    return started_ns, call_id
