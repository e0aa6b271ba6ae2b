"""Spans as tables: the same spans as one by one, however they are mixed, odd or broken."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.collector.decode import Decoder
from spanledger.collector.errors import MalformedError
from spanledger.semconv.records import SpanRecord, SpanTable

VALUES: Sequence[Any] = (
    "",
    "openai",
    "x" * 120,
    "y" * 300,
    "grüße",
    0,
    127,
    128,
    70_000,
    -1,
    2**62,
    0.5,
    True,
    b"\x00\xff",
    ["stop"],
    {"a": 1},
    {},
    None,
)
NAMES = ("gen_ai.request.model", "gen_ai.usage.input_tokens", "a", "k" * 130, "", "user.id")


def comparable(record: SpanRecord) -> tuple[Any, ...]:
    """All of a span; as text where a value may be NaN or its type matters."""
    return record.span_id, repr(record)


def in_tables(body: bytes) -> tuple[list[tuple[Any, ...]], Any, int]:
    decoder = Decoder()
    found: list[SpanRecord] = []
    tabled = 0
    for part in decoder.parts(body):
        if isinstance(part, SpanTable):
            assert len(part) == len(part.span_ids) == len(part.statuses) == len(part.kinds)
            assert all(len(column) == len(part) for column in part.values)
            assert all(
                constant == (len(set(map(id, column))) == 1) or not constant
                for column, constant in zip(part.values, part.constant, strict=True)
            )
            rows = [part.record(row) for row in range(len(part))]
            assert [(r.trace_id, r.span_id, r.parent_span_id, r.start_ns) for r in rows] == [
                part.place(row) for row in range(len(part))
            ]
            found += rows
            tabled += len(part)
        else:
            found.append(part)
    return sorted(map(comparable, found)), decoder.take_tally(), tabled


def one_by_one(body: bytes) -> tuple[list[tuple[Any, ...]], Any]:
    decoder = Decoder()
    return sorted(map(comparable, decoder.spans(body))), decoder.take_tally()


def normal(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Without the difference between an empty list and an empty tuple of events."""
    return [(span_id, text.replace("events=[]", "events=()")) for span_id, text in found]


@st.composite
def requests(draw: st.DrawFn, build: Any) -> bytes:
    rng = random.Random(draw(st.integers(0, 2**32)))
    shapes = [rng.sample(NAMES, k=rng.randrange(1, len(NAMES))) for _ in range(draw(st.integers(1, 3)))]
    oddness = draw(st.sampled_from([0.0, 0.02, 0.3]))
    spans = []
    for number in range(1, draw(st.integers(1, 90))):
        names = rng.choice(shapes)
        values = {
            name: rng.choice(VALUES) if rng.random() < oddness else f"{name}-{number}" if rng.random() < 0.5 else at
            for at, name in enumerate(names)
        }
        fields: dict[str, Any] = {"attributes": values}
        if rng.random() < oddness:
            fields |= rng.choice(
                (
                    {"trace_id": bytes(16)},
                    {"span_id": b"short"},
                    {"parent_span_id": bytes(8)},
                    {"parent_span_id": b"p" * 8},
                    {"status": {"code": 2, "message": "broken"}},
                    {"status": {"code": 1}},
                    {"events": [{"name": "exception", "attributes": build.attributes({"exception.type": "E"})}]},
                )
            )
        span = build.span(number, **fields)
        if rng.random() < oddness:
            span["attributes"] = [*span["attributes"], *span["attributes"][:1]]
        spans.append(span)
    return bytes(build.traces(*spans))


def test_tables_hold_the_same_spans(build: Any) -> None:
    """Mixed shapes, values of every type, keys that are long, empty or twice, ids and statuses of every kind."""

    @settings(max_examples=150, deadline=None)
    @given(requests(build))
    def check(body: bytes) -> None:
        found, tally, _ = in_tables(body)
        expected, expected_tally = one_by_one(body)
        assert normal(found) == normal(expected)
        assert tally == expected_tally

    check()


def test_broken_bytes_break_nothing_else(build: Any) -> None:
    """A request with bytes changed anywhere reads the same in tables, or is refused both times."""
    body = bytearray(build.traces(*(build.span(number, attributes={"a": number, "b": "c"}) for number in range(1, 40))))
    rng = random.Random(7)
    for _ in range(300):
        changed = bytearray(body)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            expected, expected_tally = one_by_one(bytes(changed))
        except MalformedError:
            with pytest.raises(MalformedError):
                in_tables(bytes(changed))
            continue
        found, tally, _ = in_tables(bytes(changed))
        assert normal(found) == normal(expected)
        assert tally == expected_tally


def test_spans_of_one_emitter_become_tables(build: Any) -> None:
    """Different values keep nothing apart; different names, a failure and an event do."""
    usual = [
        build.span(number, attributes={"gen_ai.operation.name": "chat", "id": f"i{number}", "n": number * 97})
        for number in range(1, 101)
    ]
    longer = [build.span(number, attributes={"x": 1, "y": "long" * number}) for number in range(101, 141)]
    failed = build.span(200, status={"code": 2})
    told = build.span(201, events=[{"name": "e"}])
    _, _, tabled = in_tables(build.traces(*usual, failed, *longer, told))
    assert tabled == 140
