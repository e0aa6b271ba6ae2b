"""Observations as columns: for inserting, for hashing, and back from rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spanledger.ledger import keys
from spanledger.ledger.arrow import pa, pc
from spanledger.ledger.columns import MONEY_TYPE, OBSERVATIONS, OBSERVED, TOKEN_CLASS_COLUMNS, Column, Kind
from spanledger.ledger.keys import U64
from spanledger.semconv.money import MoneyError, to_ledger
from spanledger.semconv.observation import Observation, Role, ToolCall
from spanledger.semconv.sheet import Chosen, columns
from spanledger.semconv.usage import INPUT_CLASSES, OUTPUT_CLASSES, Usage

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

EARLIEST_NS: Final = 1_420_070_400 * 10**9
"""2015-01-01: no LLM call is older, a clock that says so is wrong."""
DAY_NS: Final = 86_400 * 10**9
_VERSION_TOP: Final = 2**63
_BYTE_INDICES: Final = 127
_BIGGEST: Final = {Kind.SMALL: 2**32 - 1, Kind.SMALL_OR_NULL: 2**32 - 1}


def believable_start(started_ns: int, ended_ns: int, received_ns: int) -> int:
    """When the call started (ns since the epoch), or, when that clock is absurd, the best substitute.

    Absurd is before 2015 or more than a day after receipt. The end may still be right; else receipt counts.
    """
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
        started, ended, received: ns since the epoch; `started` is believable, `ended` never before it.
        odd: whose clock could not be believed.
        input_tokens, output_tokens: totals, and which of them are known.
        org, service, scope: hashes of these names.
        content: hash of everything in `OBSERVED`.
        trace: key of (org, trace); 0 without a trace.
        span: key of (org, trace, span); 0 without one.
        response, request, usage: settlement keys; 0 = none.
    """

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.observations = observations
        self.columns = _observed_columns(observations)
        numbers = {c.name: _numbers(self.columns[c.name]) for c in OBSERVED if c.kind in _NUMERIC}
        self.received: I64 = np.array(columns(observations, ("received_ns",))[0], np.int64)
        self._set_times(numbers["started_ns"][0], numbers["ended_ns"][0])
        self.input_tokens = _total([numbers[name] for name in INPUT_CLASSES], len(observations))
        self.output_tokens = _total([numbers[name] for name in OUTPUT_CLASSES], len(observations))
        hashes = {
            c.name: _hash_numbers(*numbers[c.name]) if c.name in numbers else _hash_column(self.columns[c.name], c.kind)
            for c in OBSERVED
        }
        self._set_keys(hashes)

    def _set_times(self, sent: U64, ended: U64) -> None:
        latest = (self.received + DAY_NS).astype(np.uint64)
        good = (sent >= EARLIEST_NS) & (sent <= latest)
        ended_good = (ended >= EARLIEST_NS) & (ended <= latest)
        received = self.received.astype(np.uint64)
        started: I64 = np.where(good, sent, np.where(ended_good, ended, received)).astype(np.int64)
        self.started = started
        self.odd: Bools = ~good
        self.ended: I64 = np.where(ended_good, np.maximum(ended.astype(np.int64), started), started)

    def _set_keys(self, hashes: Mapping[str, U64]) -> None:
        everything = np.ones(len(self), np.bool_)
        content = keys.combine(*(hashes[c.name] for c in OBSERVED if c.name not in _ADDED))
        for name in _ADDED:
            content = np.where(hashes[name] != 0, keys.combine(content, hashes[name]), content)
        self.content: U64 = keys.where_present(everything, content)
        org, trace, span = hashes["org_id"], hashes["trace_id"], hashes["span_id"]
        response, request = hashes["response_id"], hashes["request_id"]
        self.org: U64 = org
        self.service: U64 = hashes["service_name"]
        self.scope: U64 = hashes["scope_name"]
        self.trace: U64 = keys.where_present(trace != 0, keys.combine(org, trace))
        self.span: U64 = keys.where_present((trace != 0) & (span != 0), keys.combine(org, trace, span))
        self.response: U64 = keys.where_present(response != 0, keys.combine(org, response))
        self.request: U64 = keys.where_present(request != 0, keys.combine(org, request))
        known = self.input_tokens[1] & (self.input_tokens[0] > 0) & (hashes["scope_name"] != 0)
        self.usage: U64 = keys.where_present(
            known,
            keys.combine(
                org, hashes["service_name"], _hash_numbers(*self.input_tokens), _hash_numbers(*self.output_tokens)
            ),
        )

    def __len__(self) -> int:
        return len(self.observations)

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """The batch of these rows only."""
        part = Batch.__new__(Batch)
        numbers: list[int] = rows.tolist()
        part.observations = Chosen(self.observations, numbers)
        part.columns = {name: column.take(pa.array(rows)) for name, column in self.columns.items()}
        part.input_tokens = (self.input_tokens[0][rows], self.input_tokens[1][rows])
        part.output_tokens = (self.output_tokens[0][rows], self.output_tokens[1][rows])
        for name in ("received", "started", "ended", "odd", *_KEYS):
            setattr(part, name, getattr(self, name)[rows])
        return part

    def table(self) -> Any:
        """The Arrow table of rows for ``observations``."""
        columns = dict(self.columns)
        columns["received_at"] = times(self.received)
        columns["started_at"] = times(self.started)
        columns["content_hash"] = pa.array(self.content)
        columns["trace_key"] = pa.array(self.trace)
        columns["response_key"] = pa.array(self.response)
        columns["request_key"] = pa.array(self.request)
        columns["usage_key"] = pa.array(self.usage)
        columns["version"] = pa.array(np.uint64(_VERSION_TOP) - self.received.astype(np.uint64))
        return table(OBSERVATIONS, columns)

    @property
    def has_tool_calls(self) -> bool:
        """Whether any observation saw one."""
        return not _is_default(self.columns["tool_calls"], Kind.TEXT)

    def role(self, role: Role) -> Bools:
        """Which rows have this role."""
        column = self.columns["role"]
        wanted = np.array([value == role.value for value in column.dictionary.to_pylist()], np.bool_)
        indices = column.indices.to_numpy(zero_copy_only=False)
        return wanted[indices] if len(wanted) else np.zeros(len(self), np.bool_)


_ADDED: Final = ("inference_geo",)
"""Columns that came later: evidence that leaves them empty keeps the hash under which a store knows it."""
_KEYS: Final = ("org", "service", "scope", "content", "trace", "span", "response", "request", "usage")


# -- Arrow arrays from Python values ----------------------------------------------------------------------------------


def table(columns: Iterable[Column], arrays: Mapping[str, Any]) -> Any:
    """An Arrow table of these columns, in this order, without those that say nothing.

    A column that an insert does not name gets its type's default. Most columns of a batch hold nothing else, and what
    is not handed over need not be copied, written to disk and parsed again.
    """
    listed = [column for column in columns if not _is_default(arrays[column.name], column.kind)]
    return pa.Table.from_arrays(
        [_narrowed(arrays[column.name], column.kind) for column in listed], names=[column.name for column in listed]
    )


def _is_default(column: Any, kind: Kind) -> bool:
    """Whether every value is what the store puts where an insert is silent."""
    if "Nullable" in kind.value:
        return bool(column.null_count == len(column))
    match kind:
        case Kind.WORD:
            return len(column.dictionary) == 1 and column.dictionary[0].as_py() == ""
        case Kind.TEXT:
            return bool(column.null_count == 0 and pc.max(pc.binary_length(column)).as_py() == 0)
        case Kind.TEXT_MAP | Kind.COUNT_MAP | Kind.MONEY_MAP:
            return len(column.keys) == 0
        case Kind.BOOL:
            return bool(column.null_count == 0 and column.true_count == 0)
        case _:
            return False


def _narrowed(column: Any, kind: Kind) -> Any:
    """A column of words with indices of one byte, where the words are few enough."""
    if kind is not Kind.WORD or len(column.dictionary) > _BYTE_INDICES:
        return column
    return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int8()), column.dictionary, safe=False)


def array(kind: Kind, values: Sequence[Any]) -> Any:
    """An Arrow array of `values` in the Arrow type of `kind`."""
    return _BUILDERS[kind](values)


def times(values: I64) -> Any:
    """An Arrow array of UTC times from ns since the epoch."""
    return pa.array(values).cast(pa.timestamp("ns", "UTC"))


def _words(values: Sequence[str]) -> Any:
    if values and _is_one(values):
        # Most columns of words hold one word, which is found out in a third of the time that encoding them takes.
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(values), np.int32)), _texts([values[0]]))
    return _texts(values).dictionary_encode()


def _is_one(values: Sequence[str]) -> bool:
    first = values[0]
    if first != values[-1] or first != values[len(values) // 2]:
        return False
    return not any(values) if not first else values.count(first) == len(values)


def _texts(values: Sequence[str | None]) -> Any:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # JSON can smuggle lone surrogates into a str; no column can hold them
        clean = [None if value is None else value.encode("utf-8", "replace").decode("utf-8") for value in values]
        return pa.array(clean, pa.string())


def _all_unknown(values: Sequence[Any]) -> bool:
    # Counting compares, which is slow for decimals: look at the first before.
    return not values or (values[0] is None and values.count(None) == len(values))


def _maps(kind: Kind) -> Callable[[Sequence[Mapping[str, Any]]], Any]:
    item = {Kind.TEXT_MAP: Kind.TEXT, Kind.COUNT_MAP: Kind.COUNT, Kind.MONEY_MAP: Kind.MONEY_OR_NULL}[kind]

    def build(values: Sequence[Mapping[str, Any]]) -> Any:
        offsets = np.zeros(len(values) + 1, np.int32)
        if not any(values):
            return pa.MapArray.from_arrays(pa.array(offsets), _texts([]), array(item, []))
        np.cumsum([len(value) for value in values], out=offsets[1:])
        names = _texts([name for value in values for name in value])
        items = array(item, [entry for value in values for entry in value.values()])
        return pa.MapArray.from_arrays(pa.array(offsets), names, items)

    return build


def _money(values: Sequence[Decimal | None]) -> Any:
    if _all_unknown(values):
        return pa.nulls(len(values), MONEY_TYPE)
    try:
        return pa.array(values, MONEY_TYPE)
    except pa.ArrowInvalid:  # more digits than the ledger keeps
        return pa.array([None if value is None else to_ledger(value) for value in values], MONEY_TYPE)


def _fixed(width: int) -> Callable[[Sequence[bytes]], Any]:
    def build(values: Sequence[bytes]) -> Any:
        return fixed(joined(values, width), width)

    return build


def fixed(values: bytes, width: int) -> Any:
    """An Arrow array of fixed-width values from their bytes end to end."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(values) // width, [None, pa.py_buffer(values)])


def joined(values: Iterable[bytes], width: int) -> bytes:
    """Fixed-width ids end to end; an absent (empty) or malformed one is zero bytes."""
    listed = list(values)
    if set(map(len, listed)) == {width}:
        return b"".join(listed)
    empty = b"\0" * width
    return b"".join([value if len(value) == width else empty for value in listed])


def _plain(kind: Kind) -> Callable[[Sequence[Any]], Any]:
    arrow_type = kind.arrow
    biggest = _BIGGEST.get(kind, 2**64 - 1)
    otherwise = None if "Nullable" in kind.value else 0

    def build(values: Sequence[Any]) -> Any:
        if _all_unknown(values):
            return pa.nulls(len(values), arrow_type)
        try:
            return pa.array(values, arrow_type)
        except (OverflowError, pa.ArrowInvalid):
            # One absurd number must not keep a whole batch out of the ledger: it is unknown.
            clean = [value if value is None or 0 <= value <= biggest else otherwise for value in values]
            return pa.array(clean, arrow_type)

    return build


def _instants(values: Sequence[int]) -> Any:
    return times(np.array(values, np.int64))


_BUILDERS: Final[dict[Kind, Callable[[Sequence[Any]], Any]]] = {
    **{kind: _plain(kind) for kind in Kind},
    Kind.WORD: _words,
    Kind.TEXT: _texts,
    Kind.TEXT_OR_NULL: _texts,
    Kind.BYTES_16: _fixed(16),
    Kind.BYTES_8: _fixed(8),
    Kind.MONEY_OR_NULL: _money,
    Kind.TIME: _instants,
}
_BUILDERS.update({kind: _maps(kind) for kind in (Kind.TEXT_MAP, Kind.COUNT_MAP, Kind.MONEY_MAP)})

_MADE_SPECIALLY: Final = frozenset(
    {
        *TOKEN_CLASS_COLUMNS,
        "usage_counts",
        "usage_partial",
        "usage_estimated",
        "tool_calls",
        "notes",
        "exact_cost_usd",
        "claimed_cost_usd",
    }
)
_OF_USAGE: Final = (*TOKEN_CLASS_COLUMNS, "counts", "partial", "estimated")
_OTHERS: Final = ("exact_cost_usd", "claimed_cost_usd", "tool_calls", "notes", *(f"usage.{n}" for n in _OF_USAGE))
_PLAIN: Final = tuple(column for column in OBSERVED if column.name not in _MADE_SPECIALLY)
_SAID: Final = (*(column.name for column in _PLAIN), *_OTHERS)


def _observed_columns(observations: Sequence[Observation]) -> dict[str, Any]:
    if not observations:
        return {column.name: array(column.kind, []) for column in OBSERVED}
    said = columns(observations, _SAID)
    fields, (exact, claimed, tool_calls, notes) = said[: len(_PLAIN)], said[len(_PLAIN) : -len(_OF_USAGE)]
    *classes, counts, partial, estimated = said[-len(_OF_USAGE) :]
    made = {column.name: array(column.kind, values) for column, values in zip(_PLAIN, fields, strict=True)}
    for name, values in zip(TOKEN_CLASS_COLUMNS, classes, strict=True):
        made[name] = array(Kind.COUNT_OR_NULL, values)
    made["usage_counts"] = array(Kind.COUNT_MAP, counts)
    made["usage_partial"] = array(Kind.BOOL, partial)
    made["usage_estimated"] = array(Kind.BOOL, estimated)
    made["exact_cost_usd"] = _said_money(exact)
    made["claimed_cost_usd"] = _said_money(claimed)
    made["tool_calls"] = array(Kind.TEXT, [dump_tool_calls(calls) if calls else "" for calls in tool_calls])
    made["notes"] = array(Kind.TEXT, ["\n".join(words) if words else "" for words in notes])
    return made


def _said_money(amounts: Sequence[Decimal | None]) -> Any:
    if _all_unknown(amounts):
        return array(Kind.MONEY_OR_NULL, amounts)
    return array(Kind.MONEY_OR_NULL, [storable(amount) for amount in amounts])


def storable(amount: Decimal | None) -> Decimal | None:
    """An amount said by others at the ledger's scale, or ``None`` when no money column could hold it."""
    if amount is None:
        return None
    try:
        return to_ledger(amount)
    except MoneyError:
        return None


# -- hashing ----------------------------------------------------------------------------------------------------------

_NUMERIC: Final = frozenset(
    {Kind.COUNT, Kind.COUNT_OR_NULL, Kind.SMALL, Kind.SMALL_OR_NULL, Kind.BOOL, Kind.BOOL_OR_NULL}
)


def _numbers(column: Any) -> tuple[U64, Bools]:
    """A numeric column's values (0 where unknown) and which of them are known."""
    if column.null_count == len(column):
        return np.zeros(len(column), np.uint64), np.zeros(len(column), np.bool_)
    values = column.cast(pa.uint64())
    if column.null_count == 0:
        return values.to_numpy(zero_copy_only=False), np.ones(len(column), np.bool_)
    return values.fill_null(0).to_numpy(zero_copy_only=False), column.is_valid().to_numpy(zero_copy_only=False)


def _total(parts: Sequence[tuple[U64, Bools]], rows: int) -> tuple[U64, Bools]:
    total, known = np.zeros(rows, np.uint64), np.zeros(rows, np.bool_)
    for values, present in parts:
        total = total + values
        known = known | present
    return total, known


def _hash_numbers(values: U64, known: Bools) -> U64:
    if not known.any():
        return np.zeros(len(values), np.uint64)
    return np.where(known, keys.mix(values + np.uint64(1)), np.uint64(0))


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
            hashed = keys.hash_words(words, np.zeros(len(words), np.uint64))
            return keys.where_present(keys.nonzero_rows(words), hashed)
        case Kind.TEXT_MAP | Kind.COUNT_MAP:
            if len(column.keys) == 0:
                return np.zeros(len(column), np.uint64)
            texts = [json.dumps(sorted(pairs)) if pairs else "" for pairs in column.to_pylist()]
            return keys.hash_text(pa.array(texts, pa.string()))
        case Kind.MONEY_OR_NULL:
            if column.null_count == len(column):
                return np.zeros(len(column), np.uint64)
            return keys.hash_text(column.cast(pa.string()).fill_null(""))
        case _:
            raise AssertionError(f"no hash for {kind}")


# -- tool calls and rows ----------------------------------------------------------------------------------------------

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


READ_COLUMNS: Final = (*(column.name for column in OBSERVED), "received_ns", "content_hash")
READ: Final = ", ".join(
    [*(column.name for column in OBSERVED), "toUnixTimestamp64Nano(received_at) AS received_ns", "content_hash"]
)
"""What to select from ``observations`` for `read_rows`."""

_USAGE_FIELDS: Final = frozenset((*TOKEN_CLASS_COLUMNS, "usage_counts", "usage_partial", "usage_estimated"))


def read_rows(rows: Iterable[Sequence[Any]]) -> list[tuple[int, Observation]]:
    """Rows of ``SELECT {READ} FROM observations`` as (content hash, observation)."""
    found: list[tuple[int, Observation]] = []
    for row in rows:
        fields = dict(zip(READ_COLUMNS, row, strict=True))
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
            fields[name] = bytes(fields[name]) if any(fields[name]) else b""
        fields["role"] = Role(fields["role"])
        fields["tool_calls"] = load_tool_calls(fields["tool_calls"])
        fields["notes"] = tuple(fields["notes"].split("\n")) if fields["notes"] else ()
        found.append((content, Observation(**fields)))
    return found
