"""Emitters that no dialect knows: names of their own, maps for attributes, usage wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest

from spanledger.semconv.dialects import DIALECTS, Dialects, unknown
from spanledger.semconv.observation import Observation, Role
from spanledger.semconv.records import Source, SpanEvent, SpanRecord

END = 1_795_000_002_000_000_000
MODEL = {"acme.model_name": "gpt-4o-mini"}
USAGE = '{"prompt_tokens": 3000, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 2000}}'


@pytest.mark.parametrize(
    "usage",
    [
        {"acme.usage.prompt_tokens": 3000, "acme.usage.completion_tokens": 300, "acme.usage.cached_tokens": 2000},
        {"bot.inputTokens": 3000, "bot.outputTokens": 300.0, "bot.cachedTokens": "2000"},
        {
            "x.token_count.prompt": 3000,
            "x.token_count.completion": 300,
            "x.token_count.prompt_details.cache_read": 2000,
        },
        {"acme.usage_details": USAGE},
        {"acme.llm.tokenUsage": {"prompt_tokens": 3000, "completion_tokens": 300, "cached_tokens": 2000}},
        {"acme.usage_object": "{'prompt_tokens': 3000, 'completion_tokens': 300, 'cached_tokens': 2000}"},
        {"usage": USAGE, "acme.session.total_tokens": 99_999},
    ],
)
def test_usage_under_names_of_ones_own(usage: dict[str, Any], emitted: Any) -> None:
    read = emitted.span("acme", {**MODEL, **usage})
    assert emitted.tokens(read)[:4] == (3000, 2000, None, 300)
    assert (read.role, read.operation, read.request_model, read.dialect) == (Role.LEAF, "chat", "gpt-4o-mini", "otel")
    assert "unknown_names" in read.notes


@pytest.mark.parametrize(
    ("kind", "role", "operation"),
    [
        ("LLM", Role.LEAF, "chat"),
        ('"CHAT_MODEL"', Role.LEAF, "chat"),
        ("generation", Role.LEAF, "chat"),
        ("EMBEDDING", Role.LEAF, "embeddings"),
        ("SpanKind.AGENT", Role.AGGREGATE, "agent"),
        ("chain", Role.AGGREGATE, "workflow"),
    ],
)
def test_the_kind_of_a_span_decides_whether_it_bills(kind: str, role: Role, operation: str, emitted: Any) -> None:
    read = emitted.span("acme", {"acme.span_type": kind, **MODEL, "acme.usage": USAGE}, kind=1)
    assert (read.role, read.operation) == (role, operation)


@pytest.mark.parametrize(
    "attributes",
    [
        {"car.model": "T", "http.method": "GET"},
        {"acme.usage": "72 %", "host.model": "T"},
        {"app.usage.input_tokens": 5},
        {"db.operation.name": "SELECT", "db.usage": "{}"},
        {**MODEL, "acme.session.input_tokens": 9, "acme.aggregated_usage.output_tokens": 9},
        {**MODEL, "x.turn_token_usage.input_tokens": 9},
    ],
)
def test_models_and_usage_of_other_kinds_are_no_calls(attributes: dict[str, Any], emitted: Any) -> None:
    read = emitted.span("acme", attributes)
    assert read is None or not read.usage.is_known


def test_the_conventions_come_before_guesses(emitted: Any) -> None:
    attributes = {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "acme.model": "other",
        "gen_ai.usage.input_tokens": 3000, "gen_ai.usage.output_tokens": 300, "acme.usage.input_tokens": 7,
        "gen_ai.usage.cached_tokens": 2000, "acme.total_tokens": 50_000, "cloud.provider": "aws",
    }  # fmt: skip
    read = emitted.span("acme", attributes)
    assert emitted.tokens(read) == (3000, 2000, None, 300, None)
    assert (read.request_model, read.provider) == ("gpt-4o-mini", "openai")


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.request.model": "m", "gen_ai.usage": {"input_tokens": 30, "output_tokens": "7"}},
        {"gen_ai": {"request": {"model": "m"}, "usage": {"input_tokens": 30, "output_tokens": 7}}},
        {
            "gen_ai.request.model": "m",
            "gen_ai.usage.output_tokens": 7,
            "gen_ai.usage": {"input_tokens": 30, "output_tokens": 1},
        },
    ],
)
@pytest.mark.parametrize("scope", ["acme", "opentelemetry.instrumentation.genai.openai", "pydantic-ai"])
def test_maps_hold_attributes(attributes: dict[str, Any], scope: str, emitted: Any) -> None:
    read = emitted.span(scope, {"gen_ai.operation.name": "chat", **attributes})
    assert emitted.tokens(read) == (30, None, None, 7, None)
    assert read.request_model == "m"


def test_a_map_of_our_own_classes(emitted: Any) -> None:
    classes = {"usage": {"input_uncached": 5, "cache_read": 10, "output_text": 3}}
    read = emitted.span("spanledger.instrumentation", {"gen_ai.operation.name": "chat", "spanledger": classes})
    assert emitted.tokens(read) == (15, 10, None, 3, None)


def test_deep_and_wide_maps_stay_bounded(emitted: Any) -> None:
    deep: dict[str, Any] = {"input_tokens": 1}
    for _ in range(5_000):
        deep = {"x": deep}
    wide = {f"k{number}": number for number in range(100_000)}
    usage = {"input_tokens": 30, "output_tokens": 7, "deep": deep, "wide": wide}
    read = emitted.span("acme", {"gen_ai.request.model": "m", "gen_ai.usage": usage})
    assert emitted.tokens(read) == (30, None, None, 7, None)


@pytest.mark.parametrize(
    ("scope", "event"),
    [
        ("ai", {"ai.usage.inputTokens": 30, "ai.usage.outputTokens": 7}),
        ("openinference.instrumentation.openai", {"llm.token_count.prompt": 30, "llm.token_count.completion": 7}),
        ("acme", {"acme.usage": '{"input_tokens": 30, "output_tokens": 7}', "acme.model": "m"}),
    ],
)
def test_usage_in_an_event_is_read_by_the_emitters_table(scope: str, event: dict[str, Any], emitted: Any) -> None:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    if scope.startswith("openinference"):
        attributes["openinference.span.kind"] = "LLM"
    read = emitted.span(scope, attributes, events=(SpanEvent("exception", END, {}), SpanEvent("done", END, event)))
    assert emitted.tokens(read) == (30, None, None, 7, None)


def test_no_name_that_a_table_holds_is_guessed() -> None:
    """A guess beside a table's meaning would read one number as two things."""
    fallback = DIALECTS[-1]
    assert fallback.guess is unknown.meaning
    source = Source({}, "acme")
    attributes = {"gen_ai.request.model": "m", "gen_ai.usage.prompt_tokens": 30, "gen_ai.usage.completion_tokens": 7}
    record = SpanRecord(b"t" * 16, b"s" * 8, b"", "x", 3, 1, 2, 0, "", attributes, (), source)
    read = Dialects().read_span(record)
    assert isinstance(read, Observation)
    assert "unknown_names" not in read.notes
