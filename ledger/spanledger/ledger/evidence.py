"""Observations as columns: for inserting, for hashing, and back from rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spanledger.ledger import keys
from spanledger.ledger.arrow import pa
from spanledger.ledger.columns import MONEY_TYPE, OBSERVATIONS, OBSERVED, TOKEN_CLASS_COLUMNS, Column, Kind
from spanledger.ledger.keys import U64
from spanledger.semconv.money import MoneyError, to_ledger
from spanledger.semconv.observation import Observation, Role, ToolCall
from spanledger.semconv.usage import Usage

I64 = NDArray[np.int64]

EARLIEST_NS: Final = 1_420_070_400 * 10**9
"""2015-01-01: no LLM call is older, a clock that says so is wrong."""
DAY_NS: Final = 86_400 * 10**9
_VERSION_TOP: Final = 2**63


def believable_start(started_ns: int, ended_ns: int, received_ns: int) -> int:
    """When the call started (ns since the epoch), or, when that clock is absurd, the best substitute."""
    latest = received_ns + DAY_NS
    if EARLIEST_NS <= started_ns <= latest:
        return started_ns
    if EARLIEST_NS <= ended_ns <= latest:
        return ended_ns
    return received_ns


class Batch:
    """Observations as Arrow columns with their keys. All arrays are in the order of `observations`.

    Attributes:
        columns: the `OBSERVED` columns by name.
        started: believable start, ns since the epoch.
        received: receipt, ns since the epoch.
        content: hash of everything in `OBSERVED`.
        trace: key of (org, trace); 0 without a trace.
        span: key of (org, trace, span); 0 without one.
        response, request, usage: settlement keys; 0 = none.
    """

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.observations = observations
        self.columns = _observed_columns(observations)
        self.received: I64 = np.array([o.received_ns for o in observations], np.int64)
        self.started: I64 = self._started()
        hashes = {column.name: _hash_column(self.columns[column.name], column.kind) for column in OBSERVED}
        self.content: U64 = keys.where_present(
            np.ones(len(observations), np.bool_), keys.combine(*(hashes[column.name] for column in OBSERVED))
        )
        org = hashes["org_id"]
        trace, span = hashes["trace_id"], hashes["span_id"]
        self.org: U64 = org
        self.trace: U64 = keys.where_present(trace != 0, keys.combine(org, trace))
        self.span: U64 = keys.where_present((trace != 0) & (span != 0), keys.combine(org, trace, span))
        self.response: U64 = keys.where_present(hashes["response_id"] != 0, keys.combine(org, hashes["response_id"]))
        self.request: U64 = keys.where_present(hashes["request_id"] != 0, keys.combine(org, hashes["request_id"]))
        totals_in = [o.usage.input_tokens for o in observations]
        totals_out = [o.usage.output_tokens for o in observations]
        self.input_tokens = totals_in
        self.output_tokens = totals_out
        known = np.array([bool(total) for total in totals_in], np.bool_)
        self.usage: U64 = keys.where_present(
            known,
            keys.combine(org, hashes["service_name"], _hash_numbers(totals_in), _hash_numbers(totals_out)),
        )

    def _started(self) -> I64:
        sent = self.columns["started_ns"].to_numpy()
        latest = (self.received + DAY_NS).astype(np.uint64)
        good = (sent >= EARLIEST_NS) & (sent <= latest)
        if good.all():
            return sent.astype(np.int64)
        ended = self.columns["ended_ns"].to_numpy()
        ended_good = (ended >= EARLIEST_NS) & (ended <= latest)
        started: I64 = np.where(good, sent, np.where(ended_good, ended, self.received.astype(np.uint64))).astype(
            np.int64
        )
        return started

    def __len__(self) -> int:
        return len(self.observations)

    def table(self) -> Any:
        """The Arrow table of rows for ``observations``."""
        columns = dict(self.columns)
        columns["received_at"] = pa.array(self.received).cast(pa.timestamp("ns", "UTC"))
        columns["started_at"] = pa.array(self.started).cast(pa.timestamp("ns", "UTC"))
        columns["content_hash"] = pa.array(self.content)
        columns["response_key"] = pa.array(self.response)
        columns["request_key"] = pa.array(self.request)
        columns["usage_key"] = pa.array(self.usage)
        columns["version"] = pa.array(np.uint64(_VERSION_TOP) - self.received.astype(np.uint64))
        return table(OBSERVATIONS, columns)


def table(columns: Iterable[Column], arrays: Mapping[str, Any]) -> Any:
    """An Arrow table with exactly these columns, in this order."""
    listed = tuple(columns)
    return pa.Table.from_arrays([arrays[column.name] for column in listed], names=[column.name for column in listed])


def array(kind: Kind, values: Sequence[Any]) -> Any:
    """An Arrow array of `values` in the Arrow type of `kind`."""
    return _BUILDERS[kind](values)


def _words(values: Sequence[str]) -> Any:
    return _texts(values).dictionary_encode()


def _texts(values: Sequence[str | None]) -> Any:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # JSON can smuggle lone surrogates into a str; no column can hold them
        clean = [None if value is None else value.encode("utf-8", "replace").decode("utf-8") for value in values]
        return pa.array(clean, pa.string())


def _maps(kind: Kind) -> Callable[[Sequence[Mapping[str, Any]]], Any]:
    item = {Kind.TEXT_MAP: Kind.TEXT, Kind.COUNT_MAP: Kind.COUNT, Kind.MONEY_MAP: Kind.MONEY_OR_NULL}[kind]

    def build(values: Sequence[Mapping[str, Any]]) -> Any:
        offsets = np.zeros(len(values) + 1, np.int32)
        np.cumsum([len(value) for value in values], out=offsets[1:])
        names = _texts([name for value in values for name in value])
        items = array(item, [entry for value in values for entry in value.values()])
        return pa.MapArray.from_arrays(pa.array(offsets), names, items)

    return build


def money(values: Sequence[Decimal | None]) -> Any:
    """Money as an Arrow array, rounded to the ledger's scale."""
    return pa.array([None if value is None else to_ledger(value) for value in values], MONEY_TYPE)


def _fixed(width: int) -> Callable[[Sequence[bytes]], Any]:
    def build(values: Sequence[bytes]) -> Any:
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(width), len(values), [None, pa.py_buffer(joined(values, width))]
        )

    return build


def joined(values: Iterable[bytes], width: int) -> bytes:
    """Fixed-width ids end to end; an absent (empty) or malformed one is zero bytes."""
    empty = b"\0" * width
    return b"".join([value if len(value) == width else empty for value in values])


def _plain(kind: Kind) -> Callable[[Sequence[Any]], Any]:
    arrow_type = kind.arrow
    return lambda values: pa.array(values, arrow_type)


def _times(values: Sequence[int]) -> Any:
    return pa.array(values, pa.int64()).cast(pa.timestamp("ns", "UTC"))


_BUILDERS: Final[dict[Kind, Callable[[Sequence[Any]], Any]]] = {
    **{kind: _plain(kind) for kind in Kind},
    Kind.WORD: _words,
    Kind.TEXT: _texts,
    Kind.TEXT_OR_NULL: _texts,
    Kind.BYTES_16: _fixed(16),
    Kind.BYTES_8: _fixed(8),
    Kind.MONEY_OR_NULL: money,
    Kind.TIME: _times,
}
_BUILDERS.update({kind: _maps(kind) for kind in (Kind.TEXT_MAP, Kind.COUNT_MAP, Kind.MONEY_MAP)})


_SAME_NAME: Final = tuple(
    column
    for column in OBSERVED
    if column.name not in TOKEN_CLASS_COLUMNS
    and column.name
    not in (
        "usage_counts",
        "usage_partial",
        "usage_estimated",
        "tool_calls",
        "notes",
        "exact_cost_usd",
        "claimed_cost_usd",
    )
)


def _observed_columns(observations: Sequence[Observation]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for column in _SAME_NAME:
        columns[column.name] = array(column.kind, list(map(attrgetter(column.name), observations)))
    usages = [o.usage for o in observations]
    for name in TOKEN_CLASS_COLUMNS:
        columns[name] = array(Kind.COUNT_OR_NULL, list(map(attrgetter(name), usages)))
    columns["usage_counts"] = array(Kind.COUNT_MAP, [usage.counts for usage in usages])
    columns["usage_partial"] = array(Kind.BOOL, [usage.partial for usage in usages])
    columns["usage_estimated"] = array(Kind.BOOL, [usage.estimated for usage in usages])
    columns["exact_cost_usd"] = array(Kind.MONEY_OR_NULL, [storable(o.exact_cost_usd) for o in observations])
    columns["claimed_cost_usd"] = array(Kind.MONEY_OR_NULL, [storable(o.claimed_cost_usd) for o in observations])
    columns["tool_calls"] = array(Kind.TEXT, [dump_tool_calls(o.tool_calls) for o in observations])
    columns["notes"] = array(Kind.TEXT, ["\n".join(o.notes) for o in observations])
    return columns


def storable(amount: Decimal | None) -> Decimal | None:
    """An amount said by others, or ``None`` when no money column could hold it."""
    if amount is None:
        return None
    try:
        return to_ledger(amount)
    except MoneyError:
        return None


def _hash_numbers(values: Sequence[int | None]) -> U64:
    return keys.mix(np.array([0 if value is None else value + 1 for value in values], np.uint64))


def _hash_column(column: Any, kind: Kind) -> U64:
    if not len(column):
        return np.zeros(0, np.uint64)
    match kind:
        case Kind.WORD:
            return keys.hash_dictionary(column)
        case Kind.TEXT:
            return keys.hash_text(column)
        case Kind.BYTES_16 | Kind.BYTES_8:
            words = np.frombuffer(column.buffers()[1], "<u8").reshape(len(column), -1).astype(np.uint64)
            return np.where(
                (words == 0).all(axis=1), np.uint64(0), keys.hash_words(words, np.zeros(len(words), np.uint64))
            )
        case Kind.TEXT_MAP | Kind.COUNT_MAP:
            return _hash_maps(column)
        case Kind.MONEY_OR_NULL:
            if column.null_count == len(column):
                return np.zeros(len(column), np.uint64)
            return keys.hash_text(pa.array([str(value or "") for value in column.to_pylist()], pa.string()))
        case _:
            numbers = column.cast(pa.uint64()).fill_null(0).to_numpy(zero_copy_only=False)
            present = column.is_valid().to_numpy(zero_copy_only=False)
            return np.where(present, keys.mix(numbers + np.uint64(1)), np.uint64(0))


def _hash_maps(column: Any) -> U64:
    if len(column.keys) == 0:
        return np.zeros(len(column), np.uint64)
    texts = [json.dumps(sorted(pairs)) if pairs else "" for pairs in column.to_pylist()]
    return keys.hash_text(pa.array(texts, pa.string()))


_TOOL_CALL_FIELDS: Final = ("name", "id", "kind", "is_error", "input_bytes", "output_bytes", "input", "output")


def dump_tool_calls(calls: Sequence[ToolCall]) -> str:
    """Tool calls as one JSON text; ``""`` for none."""
    if not calls:
        return ""
    return json.dumps([[getattr(call, name) for name in _TOOL_CALL_FIELDS] for call in calls])


def load_tool_calls(text: str) -> tuple[ToolCall, ...]:
    """The inverse of `dump_tool_calls`."""
    if not text:
        return ()
    return tuple(ToolCall(**dict(zip(_TOOL_CALL_FIELDS, fields, strict=True))) for fields in json.loads(text))


READ: Final = ", ".join(
    [*(column.name for column in OBSERVED), "toUnixTimestamp64Nano(received_at) AS received_ns", "content_hash"]
)
"""What to select from ``observations`` for `read_rows`."""

_USAGE_FIELDS: Final = frozenset((*TOKEN_CLASS_COLUMNS, "usage_counts", "usage_partial", "usage_estimated"))


def read_rows(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[tuple[int, Observation]]:
    """Rows of ``SELECT {READ} FROM observations`` as (content hash, observation)."""
    found: list[tuple[int, Observation]] = []
    for row in rows:
        fields = dict(zip(names, row, strict=True))
        content = int(fields.pop("content_hash"))
        fields["usage"] = Usage(
            counts=fields["usage_counts"],
            partial=fields["usage_partial"],
            estimated=fields["usage_estimated"],
            **{name: fields[name] for name in TOKEN_CLASS_COLUMNS},
        )
        for name in _USAGE_FIELDS:
            del fields[name]
        for name in ("trace_id", "span_id", "parent_span_id"):
            if not any(fields[name]):
                fields[name] = b""
        fields["role"] = Role(fields["role"])
        fields["tool_calls"] = load_tool_calls(fields["tool_calls"])
        fields["notes"] = tuple(fields["notes"].split("\n")) if fields["notes"] else ()
        found.append((content, Observation(**fields)))
    return found
