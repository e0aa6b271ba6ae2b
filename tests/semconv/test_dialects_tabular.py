"""Tables of spans: read at once, they say what `read_span` says of each of their spans."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from span_tables import in_bulk, one_by_one, table

from spanledger.semconv import names
from spanledger.semconv.dialects import DIALECTS, Dialect, Dialects
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import SpanTable
from spanledger.semconv.sheet import Observations, columns

TABULAR = [dialect for dialect in DIALECTS if dialect.asks is not None]
WORDS: dict[str, Sequence[Any]] = {
    "gen_ai.provider.name": ("openai", "anthropic", "aws.bedrock", "x_ai", "nobody"),
    "gen_ai.operation.name": ("chat", "embeddings", "invoke_agent", "execute_tool", "something else"),
    "gen_ai.request.model": ("gpt-4o", "claude-sonnet-4-5", "grok-4", ""),
    "gen_ai.response.model": ("gpt-4o", 7),
    "gen_ai.response.finish_reasons": (["stop"], ["length"], "stop", []),
    "gen_ai.request.stream": (True, False, "yes"),
    "server.address": ("api.openai.com", "https://localhost:8000/v1"),
    "error.type": ("timeout", "429"),
    "traceloop.span.kind": ("workflow", "tool"),
    "rpc.method": ("InvokeModel", "Converse"),
    "spanledger.label.department": ("law", "sales"),
    "traceloop.association.properties.team": ("a", "b"),
    names.COST_STATUS: ("exact", "list"),
    names.USAGE_PARTIAL: (True, False),
    names.NOTES: (["odd"], []),
}
IDS: dict[str, Sequence[Any]] = {
    "gen_ai.response.id": ("req_1", "0" * 8 + "-0000-0000-0000-" + "0" * 12, "", 5, " padded "),
    "gen_ai.conversation.id": ("", None, "x" * 2000),
    "user.id": ("", 7),
    "spanledger.team_id": ("", ["a"]),
    names.REQUEST_ID: ("",),
}
NUMBERS: dict[str, Sequence[Any]] = {
    "gen_ai.usage.input_tokens": (0, -1, "12", 1.0, True, 2**60, None),
    "gen_ai.usage.output_tokens": (0, 1, 8, "many"),
    "gen_ai.usage.cache_read.input_tokens": (0, "3"),
    "gen_ai.usage.reasoning.output_tokens": (0, 10**9),
    "gen_ai.usage.total_tokens": (0,),
    "spanledger.usage.input_uncached": (0, "9"),
    "spanledger.usage.output_text": (0, -4),
    "spanledger.usage.count.web_searches": (0, "1"),
    "gen_ai.request.max_tokens": (0, -1, "Infinity"),
    "gen_ai.response.time_to_first_chunk": (0.0, "soon", -1.0),
    names.COST_TOTAL: ("0", "much", "-1"),
    names.COST: (0.0, float("nan")),
}


@st.composite
def tables(draw: st.DrawFn) -> SpanTable:
    """Spans of one shape: few words, any numbers, now and then something that makes no sense."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    dialect = draw(st.sampled_from(TABULAR))
    shape = draw(st.lists(st.sampled_from([*WORDS, *IDS, *NUMBERS]), min_size=1, max_size=14, unique=True))
    words = {name: rng.sample(list(WORDS[name]), k=min(2, len(WORDS[name]))) for name in shape if name in WORDS}
    oddness = draw(st.sampled_from([0.0, 0.0, 0.02, 0.3]))

    def value(name: str, row: int) -> Any:
        if name in WORDS:
            return rng.choice(words[name][: 1 + rng.randrange(2)] if rng.random() < 0.2 else words[name][:1])
        if rng.random() < oddness:
            return rng.choice(IDS.get(name, ()) or NUMBERS[name])
        if name in IDS:
            return f"{name}-{row % 30}"
        if name in (names.COST_TOTAL, names.COST):
            return repr(rng.random()) if name == names.COST_TOTAL else rng.random()
        return rng.random() if name.endswith("chunk") else rng.randrange(5000)

    rows = [{name: value(name, row) for name in shape} for row in range(draw(st.integers(8, 120)))]
    return table(_scope(dialect), rows, kind=draw(st.sampled_from([1, 3])))


def _scope(dialect: Dialect) -> str:
    return dialect.scopes[0].replace("*", "anything") if dialect.scopes else "somebody"


@settings(max_examples=300, deadline=None)
@given(tables())
def test_a_table_says_what_its_spans_say(spans: SpanTable) -> None:
    """Whatever the values are, and whichever of them were taken as columns."""
    assert in_bulk(spans)[0] == one_by_one(spans)


@pytest.mark.parametrize("dialect", TABULAR, ids=lambda dialect: dialect.name)
def test_usual_spans_are_read_as_columns(dialect: Dialect) -> None:
    """Different ids, counts and costs do not keep spans apart, nor does what nobody asks for."""
    rng = random.Random(1)
    rows = [
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": rng.choice(["openai", "anthropic"]),
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.id": f"resp-{row}",
            "gen_ai.usage.input_tokens": rng.randrange(100, 9000),
            "gen_ai.usage.output_tokens": rng.randrange(9, 900),
            "gen_ai.request.max_tokens": rng.randrange(1000, 9000),
            "user.id": f"user-{row}",
            "somebody.else": f"secret-{row}",
            names.COST_TOTAL: f"0.{row + 1}",
        }
        for row in range(100)
    ]
    spans = table(_scope(dialect), rows)
    found, many = in_bulk(spans)
    assert many == 100
    assert found == one_by_one(spans)
    assert {seen.provider for seen in found if seen} == {"openai", "anthropic"}


def test_spans_that_say_nothing_are_told_by_their_shape() -> None:
    """No span of an HTTP client is ever looked at alone."""
    reading = Dialects().read_table(table("http", [{"http.route": f"/{row}"} for row in range(50)]))
    assert reading is not None
    assert reading.sheet is None
    assert list(reading.silent) == list(range(50))


def test_columns_and_rows_of_a_sequence_agree() -> None:
    """A sequence of observations gives the same fields by column, by place, by slice and one after another."""
    spans = table("somebody", [{"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}] * 20)
    reading = Dialects().read_table(spans)
    assert reading is not None
    assert reading.sheet is not None
    alone = Observation(span_id=b"alone", request_model="other")
    observations = Observations()
    observations.append(alone)
    observations.add(reading.sheet.part(0, 5))
    observations.add(reading.sheet.part(5, 50))
    observations.append(alone)
    listed = list(observations)
    assert len(observations) == len(listed) == 22
    assert [observations[at] for at in range(-22, 22)] == [*listed, *listed]
    assert observations[3:7] == listed[3:7]
    wanted = ("span_id", "request_model", "usage", "org_id")
    assert columns(observations, wanted) == columns(listed, wanted)
    with pytest.raises(IndexError):
        observations[22]
