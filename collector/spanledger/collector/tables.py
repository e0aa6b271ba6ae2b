"""Spans of one scope → tables of spans with the same attribute names, column by column.

Spans of one emitter come in few shapes, and most of their attributes hold few values. So a column of raw attributes is
decoded at once: each of its different values once, or, where nearly all differ (ids, counts), without looking at every
key anew. What does not fit is left to be decoded span by span, with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError

from spanledger.collector import wire
from spanledger.semconv.records import STATUS_ERROR, Source, SpanTable

LEAST: Final = 8
"""Fewer spans are decoded faster one by one."""
_FEW: Final = 4
"""A column where each value occurs so often on average is decoded by its different values."""
_TAILS: Final = 1 << 16
_TAIL_BYTES: Final = 256
_KEY, _VALUE, _TEXT, _SHORT = 0x0A, 0x12, 0x0A, 0x7F
_ZEROS: Final = frozenset((bytes(8), bytes(16)))

Statuses = Mapping[bytes, tuple[int, str]]
"""Raw Status bytes → (code, message)."""


class _Tails(dict[bytes, Any]):
    """A raw KeyValue without its key → the value; ``None`` when there is none or it cannot be read. Bounded."""

    def __missing__(self, tail: bytes) -> Any:
        value = _short_text(tail)
        if value is None:
            try:
                value = wire.any_value(wire.KeyValue.FromString(tail).value)
            except DecodeError:
                return None
        if len(tail) <= _TAIL_BYTES:
            if len(self) >= _TAILS:
                self.clear()
            self[tail] = value
        return value


def _short_text(tail: bytes) -> str | None:
    """The text of ``12 len 0A len text``, which most values are, without the parser's overhead."""
    size = len(tail)
    if 4 <= size <= _SHORT and tail[0] == _VALUE and tail[1] == size - 2 and tail[2] == _TEXT and tail[3] == size - 4:
        return tail[4:].decode("utf-8", "replace")
    return None


@dataclass(slots=True)
class Sorted:
    """Spans sorted into tables, and those that no table holds (each a protobuf message)."""

    tables: list[SpanTable] = field(default_factory=list[SpanTable])
    others: list[Any] = field(default_factory=list[Any])


class Tables:
    """Makes tables. One per thread: it owns a memo."""

    def __init__(self, statuses: Statuses) -> None:
        self._statuses = statuses
        self._tails = _Tails()

    def sort(self, spans: Sequence[Any], source: Source) -> Sorted:
        """Tables of what is usual among the spans of a source.

        Unusual are spans without valid ids, spans that failed or carry events, and those that few others are like.
        """
        found = Sorted()
        statuses = [self._statuses[span.status] for span in spans]
        odd = [
            row
            for row, (span, status) in enumerate(zip(spans, statuses, strict=True))
            if span.events or status[0] == STATUS_ERROR
        ]
        trace_ids, span_ids = [span.trace_id for span in spans], [span.span_id for span in spans]
        for ids, length in ((trace_ids, 16), (span_ids, 8)):
            if set(map(len, ids)) != {length} or not _ZEROS.isdisjoint(ids):
                odd += [row for row, value in enumerate(ids) if len(value) != length or value in _ZEROS]
        raw = [span.attributes[:] for span in spans]  # a slice is faster than iterating
        rows: list[int] = list(range(len(spans)))
        if odd:
            left_out = set(odd)
            found.others += [spans[row] for row in sorted(left_out)]
            rows = [row for row in rows if row not in left_out]
        by_size: dict[int, list[int]] = {}
        for row in rows:
            by_size.setdefault(len(raw[row]), []).append(row)
        todo = list(by_size.values())
        while todo:
            rows = todo.pop()
            columns = self._columns([raw[row] for row in rows]) if len(rows) >= LEAST else None
            if columns is None:
                found.others += [spans[row] for row in rows]
            elif isinstance(columns, _Split):
                found.others += [spans[rows[at]] for at in columns.others]
                todo += [[rows[at] for at in group] for group in columns.groups]
            else:
                chosen = [spans[row] for row in rows]
                every = len(rows) == len(spans)
                found.tables.append(
                    SpanTable(
                        trace_ids if every else [trace_ids[row] for row in rows],
                        span_ids if every else [span_ids[row] for row in rows],
                        _parents(chosen),
                        [span.name for span in chosen],
                        [span.kind for span in chosen],
                        [span.start_time_unix_nano for span in chosen],
                        [span.end_time_unix_nano for span in chosen],
                        statuses if every else [statuses[row] for row in rows],
                        columns.names,
                        columns.values,
                        columns.constant,
                        source,
                    )
                )
        return found

    def _columns(self, raw: Sequence[Sequence[bytes]]) -> _Columns | _Split | None:
        """The attributes of spans with equally many of them; ``None`` when they make no table."""
        columns = _Columns()
        names: list[str] = []
        for column in zip(*raw, strict=True):
            different = set(column)
            head = _head(column[0])
            # Whatever lies between two values with the same beginning begins like them.
            if not head or not (min(different).startswith(head) and max(different).startswith(head)):
                return _split_by_key(column)
            values, constant = self._values(column, different, len(head))
            unknown = values[0] is None if constant else None in values
            if unknown:
                rows = range(len(values))
                return _Split(
                    [[at for at in rows if values[at] is not None]], [at for at in rows if values[at] is None]
                )
            names.append(head[2:].decode("utf-8", "replace"))
            columns.values.append(values)
            columns.constant.append(constant)
        columns.names = tuple(names)
        return columns if len(set(names)) == len(names) and "" not in names else None

    def _values(self, column: Sequence[bytes], different: set[bytes], at: int) -> tuple[Sequence[Any], bool]:
        """What stands behind the key, which is `at` bytes long; and whether it is one object everywhere."""
        tails = self._tails
        if len(different) == 1:
            return [tails[column[0][at:]]] * len(column), True
        if len(different) * _FEW <= len(column):
            decoded = {raw: tails[raw[at:]] for raw in different}
            return [decoded[raw] for raw in column], False
        texts = _short_texts(column, at)
        return (texts if texts is not None else [tails[raw[at:]] for raw in column]), False


@dataclass(slots=True)
class _Columns:
    """Attributes as columns, as in `SpanTable`."""

    names: tuple[str, ...] = ()
    values: list[Sequence[Any]] = field(default_factory=list[Sequence[Any]])
    constant: list[bool] = field(default_factory=list[bool])


@dataclass(slots=True)
class _Split:
    """Rows that may make a table with one another, by group, and those that make none."""

    groups: list[list[int]]
    others: list[int]


def _head(raw: bytes) -> bytes:
    """The field of the key, ``0A len key``; ``b""`` when it does not come first or is long."""
    return raw[: raw[1] + 2] if len(raw) > 2 and raw[0] == _KEY and raw[1] <= _SHORT else b""


def _split_by_key(column: Sequence[bytes]) -> _Split:
    by_key: dict[bytes, list[int]] = {}
    for at, raw in enumerate(column):
        by_key.setdefault(_head(raw), []).append(at)
    others = by_key.pop(b"", [])
    return _Split(list(by_key.values()), others)


def _short_texts(column: Sequence[bytes], at: int) -> list[str] | None:
    """All values, when all are short texts."""
    begin = at + 4
    heads: dict[int, bytes] = {}
    for size in set(map(len, column)):
        if not begin <= size <= at + _SHORT:
            return None
        heads[size] = bytes((_VALUE, size - at - 2, _TEXT, size - begin))
    if [raw[at:begin] for raw in column] != [heads[len(raw)] for raw in column]:
        return None
    return [str(raw[begin:], "utf-8", "replace") for raw in column]


def _parents(spans: Sequence[Any]) -> list[bytes]:
    parents = [span.parent_span_id for span in spans]
    if set(map(len, parents)) <= {0, 8} and bytes(8) not in parents:
        return parents
    return [wire.valid_id(parent, 8) for parent in parents]
