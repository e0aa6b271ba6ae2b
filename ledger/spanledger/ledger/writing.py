"""Settled results as rows: calls, tombstones, witnesses, tool calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spanledger.ledger import keys
from spanledger.ledger.arrow import pa, pc
from spanledger.ledger.columns import (
    CALLS_SETTLED,
    SPAN_LINKS,
    SUPPRESSED_SETTLED,
    TOOL_CALLS_SETTLED,
    WITNESSES_SETTLED,
    Column,
    Kind,
)
from spanledger.ledger.evidence import DAY_NS, EARLIEST_NS, Batch, Bools, array, fixed, table, times
from spanledger.ledger.gather import SpanLink
from spanledger.semconv.observation import Observation, ToolCall
from spanledger.semconv.sheet import columns as observed
from spanledger.semconv.usage import TOKEN_CLASSES, Usage

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
    "inference_geo",
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
SUPPRESSED: Final = frozenset({"duplicate", "aggregate"})
"""Roles of evidence that would have been billed a second time."""
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
            chosen = np.where(keys.nonzero_rows(better)[:, None], better, chosen)
        return chosen


def call_keys(batch: Batch) -> CallKeys:
    """128-bit call ids: a stable hash of the org and the id (nothing that later evidence could change)."""
    return CallKeys(
        _two_lanes("response", batch, lambda: keys.hash_text_twice(batch.columns["response_id"]), batch.response != 0),
        _two_lanes("request", batch, lambda: keys.hash_text_twice(batch.columns["request_id"]), batch.request != 0),
        _two_lanes("place", batch, lambda: (batch.span, batch.trace), batch.span != 0),
        _two_lanes("content", batch, lambda: (batch.content, batch.content), np.ones(len(batch), np.bool_)),
    )


def id_by_request(org_id: str, request_id: str) -> str:
    """The id, in hex as ``calls`` shows it, of a call that is known by the provider's id of the request."""
    named = call_keys(Batch([Observation(org_id=org_id, request_id=request_id)])).request
    return bytes(named[0].astype("<u8").tobytes()).hex()


def _two_lanes(salt: str, batch: Batch, hashes: Callable[[], tuple[keys.U64, keys.U64]], present: Bools) -> keys.U64:
    if not present.any():
        return np.zeros((len(batch), 2), np.uint64)
    lanes = [
        keys.where_present(present, keys.combine(batch.org + np.uint64(_SALTS[salt] + 8 * lane), hashed))
        for lane, hashed in enumerate(hashes())
    ]
    return np.ascontiguousarray(np.column_stack(lanes))


def minutes(started_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Starts of the minutes, in seconds since the epoch."""
    result: NDArray[np.int64] = started_ns // _MINUTE_NS * 60
    return result


def calls_table(
    batch: Batch,
    call_ids: NDArray[np.uint64],
    costs: Mapping[str, Any],
    witness_counts: Sequence[int] | None,
    version: int,
) -> Any:
    """Rows of ``calls_settled``: one for each (merged) observation of the batch, with its `costs.booked` columns."""
    rows = len(batch)
    columns: dict[str, Any] = {name: batch.columns[name] for name in _FROM_OBSERVED}
    columns["call_id"] = fixed(np.ascontiguousarray(call_ids, "<u8").tobytes(), 16)
    columns["started_at"] = times(batch.started)
    columns["started_minute"] = pa.array(minutes(batch.started).astype(np.uint32))
    columns["duration_ms"] = _durations(batch)
    columns["ttft_ms"] = _milliseconds(batch.columns["ttft_ns"])
    columns["input_tokens"] = _counts(batch.input_tokens)
    columns["output_tokens"] = _counts(batch.output_tokens)
    for name, token_class in _CALL_TOKENS.items():
        columns[name] = batch.columns[token_class]
    columns["cache_write_tokens"] = _cache_writes(batch)
    columns["web_searches"] = _web_searches(batch)
    columns["usage"] = _quantities(batch)
    columns |= costs
    columns["witness_count"] = array(Kind.SMALL, [1] * rows if witness_counts is None else witness_counts)
    columns["version"] = pa.array(np.full(rows, version, np.uint64))
    columns["is_deleted"] = pa.array(np.zeros(rows, np.uint8))
    return table(CALLS_SETTLED, columns)


def _durations(batch: Batch) -> Any:
    sent, ended = batch.columns["started_ns"].to_numpy(), batch.columns["ended_ns"].to_numpy()
    believed = ~batch.odd & (ended >= sent)
    lasted = np.where(believed, ended - sent, np.uint64(0)).astype(np.float64) / _MS
    return pa.array(lasted, mask=~believed)


def _milliseconds(nanoseconds: Any) -> Any:
    return pc.divide(nanoseconds.cast(pa.float64(), safe=False), float(_MS))


def _counts(numbers: tuple[keys.U64, Bools]) -> Any:
    values, known = numbers
    return pa.array(values, mask=~known)


def _cache_writes(batch: Batch) -> Any:
    total = batch.columns["cache_write"]
    for name in ("cache_write_5m", "cache_write_1h"):
        more = batch.columns[name]
        if more.null_count < len(more):
            both = pc.add(pc.fill_null(total, pa.scalar(0, pa.uint64())), pc.fill_null(more, pa.scalar(0, pa.uint64())))
            total = pc.if_else(pc.and_(total.is_null(), more.is_null()), pa.scalar(None, pa.uint64()), both)
    return total


def _web_searches(batch: Batch) -> Any:
    if len(batch.columns["usage_counts"].keys) == 0:
        return pa.nulls(len(batch), pa.uint64())
    return array(Kind.COUNT_OR_NULL, [usage.counts.get("web_searches") for usage in _usages(batch)])


def _quantities(batch: Batch) -> Any:
    """Every known token class and count of each call, by name, as one map column."""
    if len(batch.columns["usage_counts"].keys):
        return array(Kind.COUNT_MAP, [quantities(usage) for usage in _usages(batch)])
    present = [name for name in TOKEN_CLASSES if batch.columns[name].null_count < len(batch)]
    if not present:
        return array(Kind.COUNT_MAP, [_NO_ENTRIES] * len(batch))
    known = np.column_stack([batch.columns[name].is_valid().to_numpy(zero_copy_only=False) for name in present])
    values = np.column_stack([batch.columns[name].fill_null(0).to_numpy(zero_copy_only=False) for name in present])
    offsets = np.zeros(len(batch) + 1, np.int32)
    np.cumsum(known.sum(axis=1), out=offsets[1:])
    names = pa.array(present, pa.string()).take(pa.array(np.nonzero(known)[1]))
    return pa.MapArray.from_arrays(pa.array(offsets), names, pa.array(values[known]))


def _usages(batch: Batch) -> Sequence[Usage]:
    [usages] = observed(batch.observations, ("usage",))
    return usages


def quantities(usage: Usage) -> dict[str, int]:
    """Every known token class and count of a call, by name."""
    known: dict[str, int] = {name: value for name in TOKEN_CLASSES if (value := getattr(usage, name)) is not None}
    known.update(usage.counts)
    return known


def tombstones(dead: Mapping[tuple[str, int, bytes], int], version: int) -> Any:
    """Rows that take calls back: (org, minute in seconds, call id) and its start in ns."""
    places = sorted(dead)
    given: dict[str, list[Any]] = {
        "org_id": [org for org, _, _ in places],
        "started_minute": [minute for _, minute, _ in places],
        "call_id": [call_id for _, _, call_id in places],
        "started_at": [dead[place] for place in places],
        "version": [version] * len(places),
        "is_deleted": [1] * len(places),
    }
    return _rows(CALLS_SETTLED, given, len(places))


def _rows(columns: Sequence[Column], given: Mapping[str, list[Any]], rows: int) -> Any:
    """A table with the given columns, the others empty."""
    return table(
        columns,
        {c.name: array(c.kind, given[c.name] if c.name in given else [_empty(c)] * rows) for c in columns},
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

    @property
    def is_suppressed(self) -> bool:
        """Whether it was kept from billing twice."""
        return self.role in SUPPRESSED


def witnesses_table(rows: Sequence[WitnessRow], version: int) -> Any:
    """Rows of ``witnesses_settled``."""
    observed = [row.observation for row in rows]
    given: dict[str, list[Any]] = {
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
    return _rows(WITNESSES_SETTLED, given, len(rows))


def suppressed_table(rows: Sequence[WitnessRow], version: int) -> Any:
    """Rows of ``suppressed_settled``; evidence that is not suppressed (any more) is taken back."""
    given: dict[str, list[Any]] = {
        "org_id": [row.observation.org_id for row in rows],
        "minute": [row.started_ns // _MINUTE_NS * 60 for row in rows],
        "content_hash": [row.content for row in rows],
        "reason": [row.reason for row in rows],
        "would_be_cost_usd": [row.would_be_cost_usd for row in rows],
        "version": [version] * len(rows),
        "is_deleted": [0 if row.is_suppressed else 1 for row in rows],
    }
    return _rows(SUPPRESSED_SETTLED, given, len(rows))


@dataclass(frozen=True, slots=True)
class ToolCallRow:
    """One row of ``tool_calls``; ``call=None`` takes the row back."""

    org_id: str
    started_ns: int
    call_id: bytes
    position: int
    call: ToolCall | None


_NO_TOOL_CALL: Final = ToolCall(name="")


def tool_calls_table(rows: Sequence[ToolCallRow], version: int) -> Any:
    """Rows of ``tool_calls_settled``."""
    called = [row.call or _NO_TOOL_CALL for row in rows]
    given: dict[str, list[Any]] = {
        "org_id": [row.org_id for row in rows],
        "started_at": [row.started_ns for row in rows],
        "call_id": [row.call_id for row in rows],
        "position": [row.position for row in rows],
        "tool_name": [call.name for call in called],
        "tool_call_id": [call.id for call in called],
        "kind": [call.kind for call in called],
        "is_error": [call.is_error for call in called],
        "input_bytes": [call.input_bytes for call in called],
        "output_bytes": [call.output_bytes for call in called],
        "input": [call.input for call in called],
        "output": [call.output for call in called],
        "version": [version] * len(rows),
        "is_deleted": [1 if row.call is None else 0 for row in rows],
    }
    return _rows(TOOL_CALLS_SETTLED, given, len(rows))


def links_table(links: Sequence[SpanLink], now_ns: int) -> Any:
    """Rows of ``span_links``; a link with an absurd clock counts as of now."""
    latest = now_ns + DAY_NS
    given: dict[str, list[Any]] = {
        "org_id": [link.org_id for link in links],
        "trace_id": [link.trace_id for link in links],
        "span_id": [link.span_id for link in links],
        "parent_span_id": [link.parent_span_id for link in links],
        "started_at": [link.started_ns if EARLIEST_NS <= link.started_ns <= latest else now_ns for link in links],
    }
    return _rows(SPAN_LINKS, given, len(links))
