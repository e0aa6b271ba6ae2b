"""The same evidence, in any order, split in any way, with repeats: the same ledger."""

from __future__ import annotations

import itertools
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanledger.ledger.gather import SpanLink
from spanledger.semconv.observation import Role, ToolCall
from spanledger.semconv.usage import Usage

T0 = 1_795_200_000 * 10**9


@pytest.fixture(scope="module")
def world(observe):
    """A bit of everything: what joins, what must not, what never bills, and spans in between."""
    return [
        # a framework span, a tool span between (a link), the SDK's span, and a log record of it
        observe(1, response_id="", scope_name="framework", lasted=5, session_id="s"),
        SpanLink("", (1).to_bytes(16, "big"), (2).to_bytes(8, "big"), (1).to_bytes(8, "big"), T0),
        observe(3, trace=1, parent=2, at=1, lasted=3, tool_calls=(ToolCall(name="search", id="t"),)),
        observe(3, trace=1, at=1, lasted=0, signal="log", role=Role.DETAIL, usage=Usage(cache_read=24), response_id=""),
        # an agent in disguise around two calls, one of them seen by another emitter in another trace
        observe(10, trace=10, response_id="", usage=(3000, 410), lasted=9, scope_name="agents"),
        observe(11, trace=10, parent=10, at=1, usage=(1000, 200)),
        observe(12, trace=10, parent=10, at=5, usage=(2000, 210)),
        observe(13, trace=13, at=5, usage=(2000, 210), response_id="", scope_name="framework", service_name="app"),
        # an aggregate, a failed attempt, a lone call across midnight, the same answer a day later
        observe(20, trace=20, role=Role.AGGREGATE, response_id="", usage=(7, 7)),
        observe(21, trace=20, parent=20, status="error", usage=None, response_id=""),
        observe(22, at=24_000 - 1, lasted=3),
        observe(23, at=24_000 + 86_000, response_id="chatcmpl-22", scope_name="late"),
        # equal calls of one emitter, matched one to one with two of another
        *(observe(30 + n, at=100 + n * 0.2, usage=(50, 5), response_id="") for n in range(4)),
        *(observe(40 + n, at=100 + n * 0.2, usage=(50, 5), scope_name="other") for n in range(2)),
    ]


def feed(writer: Any, parts: list[list[Any]]) -> None:
    for part in parts:
        writer(*(x for x in part if not isinstance(x, SpanLink)), links=[x for x in part if isinstance(x, SpanLink)])


_fresh = itertools.count(1)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), cuts=st.integers(1, 7))
def test_any_order_and_split(seed, cuts, world, new_writer, books_of):
    """Shuffled, cut into batches, some of it delivered again, with a new process in between: equal to all at once."""
    reference, org = f"replay{next(_fresh)}", f"replay{next(_fresh)}"
    feed(new_writer(reference), [world])
    chance = random.Random(seed)
    shuffled = world + chance.sample(world, 6)
    chance.shuffle(shuffled)
    parts = [shuffled[n::cuts] for n in range(cuts)]
    feed(new_writer(org), parts[: cuts // 2])
    feed(new_writer(org), parts[cuts // 2 :])
    theirs, ours = books_of(reference).everything(), books_of(org).everything()
    for name in ("calls", "tool_calls", "minute", "hour", "day"):
        assert strip(ours[name], org) == strip(theirs[name], reference), name
    assert [row[4:] for row in ours["witnesses"]] == [row[4:] for row in theirs["witnesses"]]


def strip(rows: list[tuple[Any, ...]], org: str) -> list[Any]:
    """Rows without the org and the call id, which is scoped by it."""
    return sorted(
        (
            tuple(
                "" if value == org else value
                for value in row
                if not (isinstance(value, str) and len(value) == 32 and value not in TRACES)
            )
            for row in rows
        ),
        key=repr,
    )


TRACES = {number.to_bytes(16, "big").hex() for number in range(100)}


def test_three_times_everything(world, new_writer, org, books, ingest):
    """Delivered three times, the last time by a new process: nothing moves, counters neither."""
    feed(ingest, [world])
    before = books.everything(), ingest.ledger.counters(org)
    feed(ingest, [world[::-1]])
    feed(new_writer(org), [[item] for item in world])
    assert (books.everything(), ingest.ledger.counters(org)) == before


def test_what_the_world_settles_into(world, books, ingest):
    """The reference itself is right: nine calls, and each duplicate for the reason it was made for."""
    feed(ingest, [world])
    assert sorted(books.calls("status, ifNull(input_tokens, 0), cache_read_tokens, witness_count"), key=repr) == [
        ("error", 0, None, 1),
        ("ok", 1000, 24, 3),
        ("ok", 1000, None, 1),
        ("ok", 1000, None, 2),
        ("ok", 2000, None, 2),
        ("ok", 50, None, 1),
        ("ok", 50, None, 1),
        ("ok", 50, None, 2),
        ("ok", 50, None, 2),
    ]
    assert sorted(row[4:] for row in books.witnesses() if row[4] in ("duplicate", "aggregate")) == [
        ("aggregate", "aggregate", Decimal("0.0000875")),
        ("aggregate", "sum_of_calls", Decimal("0.0116")),
        ("duplicate", "ancestor", Decimal("0.0045")),
        ("duplicate", "response_id", Decimal("0.0045")),
        ("duplicate", "usage_join", Decimal("0.000175")),
        ("duplicate", "usage_join", Decimal("0.000175")),
        ("duplicate", "usage_join", Decimal("0.0071")),
    ]
