"""Tables of spans for tests, and both ways to read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanledger.semconv.dialects import Dialects
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import Source, SpanTable
from spanledger.semconv.sheet import Observations

START = 1_795_000_000 * 10**9


def table(scope: str, rows: Sequence[dict[str, Any]], *, kind: int = 3) -> SpanTable:
    """A table as the decoder makes it: equal values are one object, unless nearly all values differ."""
    found = list(rows[0])
    shared: dict[Any, Any] = {}
    values = [[shared.setdefault((name, repr(row[name])), row[name]) for row in rows] for name in found]
    numbers = range(1, len(rows) + 1)
    return SpanTable(
        [b"t" * 15 + bytes([number % 7]) for number in numbers],
        [number.to_bytes(8, "big") for number in numbers],
        [b"" if number % 3 else b"p" * 8 for number in numbers],
        [b"chat"] * len(rows),
        [kind] * len(rows),
        [START + number for number in numbers],
        [START + 10**9 * number for number in numbers],
        [(0, "")] * len(rows),
        tuple(found),
        values,
        [len(set(map(id, column))) == 1 for column in values],
        Source({"service.name": "shop"}, scope),
    )


def in_bulk(spans: SpanTable) -> tuple[list[Observation | None], int]:
    """What comes of each span of a table, and how many of them were read as columns."""
    dialects = Dialects()
    reading = dialects.read_table(spans)
    if reading is None:
        return one_by_one(spans), 0
    found: dict[bytes, Observation | None] = {spans.span_ids[row]: None for row in reading.silent}
    for row in reading.unusual:
        found[spans.span_ids[row]] = dialects.read_span(spans.record(row))
    many = 0
    if reading.sheet is not None:
        observations = Observations()
        observations.add(reading.sheet)
        many = len(observations)
        for seen in observations:
            assert seen.span_id not in found
            found[seen.span_id] = seen
    return [found[span_id] for span_id in spans.span_ids], many


def one_by_one(spans: SpanTable) -> list[Observation | None]:
    dialects = Dialects()
    return [dialects.read_span(spans.record(row)) for row in range(len(spans))]
