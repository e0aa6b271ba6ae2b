"""Settled results as rows: calls, tombstones, witnesses, tool calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spanledger.ledger import keys
from spanledger.ledger.arrow import pa
from spanledger.ledger.columns import CALLS_SETTLED, TOOL_CALLS_SETTLED, WITNESSES_SETTLED, Column, Kind
from spanledger.ledger.evidence import EARLIEST_NS, Batch, array, table
from spanledger.semconv.cost import Cost
from spanledger.semconv.observation import Observation
from spanledger.semconv.usage import TOKEN_CLASSES

_MS: Final = 1_000_000
_MINUTE_NS: Final = 60 * 10**9
_SALTS: Final = {"response": 1, "request": 2, "place": 3, "content": 4}
_FROM_OBSERVED: Final = (
    "org_id",
    "provider",
    "operation",
    "request_model",
    "response_model",
    "response_id",
    "request_id",
    "usage_partial",
    "usage_estimated",
    "claimed_cost_usd",
    "status",
    "error_type",
    "stop_reason",
    "is_stream",
    "is_batch",
    "batch_id",
    "service_tier",
    "max_output_tokens",
    "session_id",
    "user_id",
    "team_id",
    "feature",
    "labels",
    "service_name",
    "environment",
    "server_address",
    "api_key_fingerprint",
    "organization",
    "project",
    "workspace",
    "trace_id",
    "span_id",
    "dialect",
)
_CALL_TOKENS: Final = {
    "input_uncached_tokens": "input_uncached",
    "cache_read_tokens": "cache_read",
    "cache_write_5m_tokens": "cache_write_5m",
    "cache_write_1h_tokens": "cache_write_1h",
    "reasoning_tokens": "reasoning",
}


@dataclass(frozen=True, slots=True)
class CallKeys:
    """The possible call ids of each row of a batch: 16-byte rows; a row without that kind of id has zeros."""

    response: NDArray[np.uint64]
    request: NDArray[np.uint64]
    place: NDArray[np.uint64]
    content: NDArray[np.uint64]

    def own(self) -> NDArray[np.uint64]:
        """Each row's call id by the order of DESIGN: response id, request id, trace and span, else the content."""
        chosen = self.content
        for better in (self.place, self.request, self.response):
            chosen = np.where((better != 0).any(axis=1)[:, None], better, chosen)
        return chosen


def call_keys(batch: Batch) -> CallKeys:
    """128-bit call ids: a stable hash of the org and the id (nothing that later evidence could change)."""
    org = batch.org
    response = batch.columns["response_id"]
    request = batch.columns["request_id"]
    return CallKeys(
        _two_lanes("response", org, [keys.hash_text(response, lane) for lane in (0, 1)], batch.response != 0),
        _two_lanes("request", org, [keys.hash_text(request, lane) for lane in (0, 1)], batch.request != 0),
        _two_lanes("place", org, [batch.span, batch.trace], batch.span != 0),
        _two_lanes("content", org, [batch.content, batch.content], np.ones(len(batch), np.bool_)),
    )


def _two_lanes(salt: str, org: keys.U64, hashes: Sequence[keys.U64], present: NDArray[np.bool_]) -> NDArray[np.uint64]:
    lanes = [
        keys.where_present(present, keys.combine(org + np.uint64(_SALTS[salt] + 8 * lane), hashed))
        for lane, hashed in enumerate(hashes)
    ]
    return np.ascontiguousarray(np.column_stack(lanes))


def minutes(started_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Starts of the minutes, in seconds since the epoch."""
    result: NDArray[np.int64] = started_ns // _MINUTE_NS * 60
    return result


def calls_table(
    batch: Batch,
    call_ids: NDArray[np.uint64],
    costs: Sequence[Cost],
    witness_counts: Sequence[int] | None,
    version: int,
) -> Any:
    """Rows of ``calls_settled``: one for each (merged) observation of the batch."""
    observations = batch.observations
    rows = len(batch)
    columns: dict[str, Any] = {name: batch.columns[name] for name in _FROM_OBSERVED}
    columns["call_id"] = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), rows, [None, pa.py_buffer(np.ascontiguousarray(call_ids, "<u8").tobytes())]
    )
    columns["started_at"] = pa.array(batch.started).cast(pa.timestamp("ns", "UTC"))
    columns["started_minute"] = pa.array(minutes(batch.started).astype(np.uint32))
    columns["duration_ms"] = _durations(batch)
    columns["ttft_ms"] = pa.array([None if o.ttft_ns is None else o.ttft_ns / _MS for o in observations], pa.float64())
    columns["input_tokens"] = array(Kind.COUNT_OR_NULL, batch.input_tokens)
    columns["output_tokens"] = array(Kind.COUNT_OR_NULL, batch.output_tokens)
    for name, token_class in _CALL_TOKENS.items():
        columns[name] = batch.columns[token_class]
    columns["cache_write_tokens"] = array(Kind.COUNT_OR_NULL, [o.usage.cache_write_tokens for o in observations])
    columns["web_searches"] = array(Kind.COUNT_OR_NULL, [o.usage.counts.get("web_searches") for o in observations])
    columns["usage"] = array(Kind.COUNT_MAP, [quantities(o) for o in observations])
    columns["cost_usd"] = array(Kind.MONEY_OR_NULL, [cost.total for cost in costs])
    columns["cost_low_usd"] = array(Kind.MONEY_OR_NULL, [cost.low for cost in costs])
    columns["cost_high_usd"] = array(Kind.MONEY_OR_NULL, [cost.high for cost in costs])
    columns["cost_status"] = array(Kind.WORD, [cost.status.value for cost in costs])
    columns["cost_reason"] = array(Kind.WORD, [cost.reason for cost in costs])
    columns["class_cost_usd"] = array(Kind.MONEY_MAP, [cost.by_class for cost in costs])
    columns["price_id"] = array(Kind.WORD, [cost.price_id for cost in costs])
    columns["witness_count"] = array(Kind.SMALL, [1] * rows if witness_counts is None else witness_counts)
    columns["version"] = pa.array(np.full(rows, version, np.uint64))
    columns["is_deleted"] = pa.array(np.zeros(rows, np.uint8))
    return table(CALLS_SETTLED, columns)


def _durations(batch: Batch) -> Any:
    started = batch.columns["started_ns"].to_numpy().astype(np.float64)
    ended = batch.columns["ended_ns"].to_numpy().astype(np.float64)
    believed = (batch.columns["started_ns"].to_numpy() >= EARLIEST_NS) & (ended >= started)
    exact = (batch.columns["ended_ns"].to_numpy() - batch.columns["started_ns"].to_numpy()).astype(np.float64) / _MS
    return pa.array(np.where(believed, exact, 0.0), mask=~believed)


def quantities(observation: Observation) -> dict[str, int]:
    """Every known token class and count of a call, by name."""
    usage = observation.usage
    known = {name: value for name in TOKEN_CLASSES if (value := getattr(usage, name)) is not None}
    if usage.counts:
        known |= usage.counts
    return known


def tombstones(dead: Iterable[tuple[str, int, bytes, int]], version: int) -> Any:
    """Rows that take calls back: (org, minute in seconds, call id, started at in ns)."""
    listed = list(dead)
    given: dict[str, list[Any]] = {
        "org_id": [org for org, _, _, _ in listed],
        "started_minute": [minute for _, minute, _, _ in listed],
        "call_id": [call_id for _, _, call_id, _ in listed],
        "started_at": [started for _, _, _, started in listed],
        "version": [version] * len(listed),
        "is_deleted": [1] * len(listed),
    }
    return table(
        CALLS_SETTLED,
        {
            column.name: array(column.kind, given.get(column.name) or [_empty(column)] * len(listed))
            for column in CALLS_SETTLED
        },
    )


def _empty(column: Column) -> Any:
    match column.kind:
        case Kind.WORD | Kind.TEXT:
            return ""
        case Kind.BYTES_8 | Kind.BYTES_16:
            return b""
        case Kind.TEXT_MAP | Kind.COUNT_MAP | Kind.MONEY_MAP:
            return _NO_ENTRIES
        case Kind.BOOL:
            return False
        case Kind.SMALL | Kind.COUNT | Kind.FLAG_BYTE | Kind.SECOND | Kind.TIME:
            return 0
        case _:
            return None


_NO_ENTRIES: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class WitnessRow:
    """One row of ``witnesses``; ``role=""`` takes the row back."""

    content: int
    observation: Observation
    started_ns: int
    call_id: bytes
    role: str
    reason: str
    would_be_cost_usd: Decimal | None


def witnesses_table(rows: Sequence[WitnessRow], version: int) -> Any:
    observed = [row.observation for row in rows]
    columns: dict[str, list[Any]] = {
        "org_id": [o.org_id for o in observed],
        "trace_id": [o.trace_id for o in observed],
        "span_id": [o.span_id for o in observed],
        "signal": [o.signal for o in observed],
        "content_hash": [row.content for row in rows],
        "started_at": [row.started_ns for row in rows],
        "call_id": [row.call_id for row in rows],
        "role": [row.role for row in rows],
        "reason": [row.reason for row in rows],
        "dialect": [o.dialect for o in observed],
        "provider": [o.provider for o in observed],
        "model": [(o.response_model or o.request_model).lower() for o in observed],
        "would_be_cost_usd": [row.would_be_cost_usd for row in rows],
        "version": [version] * len(rows),
        "is_deleted": [0 if row.role else 1 for row in rows],
    }
    return table(WITNESSES_SETTLED, {c.name: array(c.kind, columns[c.name]) for c in WITNESSES_SETTLED})


@dataclass(frozen=True, slots=True)
class ToolCallRow:
    """One row of ``tool_calls``; ``name=None`` takes the row back."""

    org_id: str
    started_ns: int
    call_id: bytes
    position: int
    fields: Mapping[str, Any] | None


def tool_calls_table(rows: Sequence[ToolCallRow], version: int) -> Any:
    given: dict[str, list[Any]] = {
        "org_id": [row.org_id for row in rows],
        "started_at": [row.started_ns for row in rows],
        "call_id": [row.call_id for row in rows],
        "position": [row.position for row in rows],
        "version": [version] * len(rows),
        "is_deleted": [0 if row.fields is not None else 1 for row in rows],
    }
    for column in TOOL_CALLS_SETTLED:
        if column.name not in given:
            given[column.name] = [(row.fields or {}).get(column.name, _empty(column)) for row in rows]
    return table(TOOL_CALLS_SETTLED, {c.name: array(c.kind, given[c.name]) for c in TOOL_CALLS_SETTLED})
