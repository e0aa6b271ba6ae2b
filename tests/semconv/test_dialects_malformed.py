"""A bad attribute costs itself, never the rest of its record; nothing in a record makes a dialect raise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.semconv import names
from spanledger.semconv.dialects import DIALECTS, Dialects, plans
from spanledger.semconv.dialects.table import CLAIMS, FIRST_CHUNK, HTTP_STATUS, MAX_OUTPUT, STOP_REASONS, STREAM_FLAGS
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import LogEntry, Source, SpanEvent, SpanRecord
from spanledger.semconv.usage import TOKEN_CLASSES

NAN, INFINITY = float("nan"), float("inf")
GOOD: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 30,
    "gen_ai.usage.output_tokens": 7,
    "session.id": "s-1",
}
HUGE = "x" * (1 << 20)


def observe(attributes: dict[str, Any], scope: str = "opentelemetry.instrumentation.genai.openai") -> Observation:
    record = SpanRecord(b"t" * 16, b"s" * 8, b"", "chat m", 3, 10, 20, 0, "", attributes, (), Source({}, scope))
    observation = Dialects().read_span(record)
    assert observation is not None
    return observation


def test_an_empty_text_that_is_the_only_one_costs_nothing_else() -> None:
    read = observe({"gen_ai.request.model": "", "gen_ai.usage.input_tokens": 30})
    assert (read.request_model, read.usage.input_tokens) == ("", 30)


@pytest.mark.parametrize(
    "value",
    [-1, 2**53 + 1, 2**64, NAN, INFINITY, -INFINITY, 3.5, -3.0, True, "12 tokens", "-4", "1e3", "0x10", HUGE, [3], [],
     {"value": 3}, {"a": {"b": {"c": 1}}}, b"12"],
    ids=repr_ if (repr_ := lambda value: repr(value)[:20]) else None,
)  # fmt: skip
@pytest.mark.parametrize("name", ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"])
def test_a_bad_count_is_unknown_and_noted(name: str, value: Any) -> None:
    observation = observe({**GOOD, name: value})
    usage = observation.usage
    lost, kept = ("input_tokens", "output_tokens") if "input" in name else ("output_tokens", "input_tokens")
    assert getattr(usage, lost) is None
    assert getattr(usage, kept) == {"input_tokens": 30, "output_tokens": 7}[kept]
    assert f"bad_value:{name}" in observation.notes
    assert (observation.response_id, observation.session_id) == ("chatcmpl-1", "s-1")


@pytest.mark.parametrize(("value", "count"), [("30", 30), (" 30 ", 30), ("30.0", 30), (30.0, 30), (2**53, 2**53)])
def test_numbers_in_disguise_count(value: Any, count: int) -> None:
    observation = observe({**GOOD, "gen_ai.usage.input_tokens": value})
    assert observation.usage.input_tokens == count
    assert observation.notes == ()


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_count_is_unknown_without_a_note(value: Any) -> None:
    observation = observe({**GOOD, "gen_ai.usage.input_tokens": value})
    assert observation.usage.input_tokens is None
    assert observation.notes == ()


def test_another_alias_stands_in_for_a_bad_value() -> None:
    observation = observe({**GOOD, "gen_ai.usage.input_tokens": NAN, "gen_ai.usage.prompt_tokens": 31})
    assert observation.usage.input_tokens == 31


@pytest.mark.parametrize("value", [3.5, True, HUGE, ["a", "b"], {"a": 1}, b"id", 2**70])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("gen_ai.request.model", "request_model"),
        ("gen_ai.response.id", "response_id"),
        ("session.id", "session_id"),
        ("team.id", "team_id"),
    ],
)
def test_a_bad_text_is_unknown_and_noted(name: str, field: str, value: Any) -> None:
    observation = observe({**GOOD, "gen_ai.response.model": "llama-3.3-70b", name: value})
    assert getattr(observation, field) == ""
    assert f"bad_value:{name}" in observation.notes
    assert (observation.usage.input_tokens, observation.usage.output_tokens) == (30, 7)


@pytest.mark.parametrize(
    "value", [-0.5, NAN, INFINITY, "NaN", "free", "-1", True, 1e9, "1e400", HUGE, {"usd": 1}, [1.0]]
)
@pytest.mark.parametrize("name", CLAIMS)
def test_a_bad_cost_claim_is_dropped_and_noted(name: str, value: Any) -> None:
    observation = observe({**GOOD, name: value})
    assert observation.claimed_cost_usd is None
    assert f"bad_value:{name}" in observation.notes
    assert observation.usage.input_tokens == 30


@pytest.mark.parametrize("value", ["soon", -1.0, NAN, 1e12, {"s": 1}, HUGE, True])
@pytest.mark.parametrize("name", [name for name, _ in FIRST_CHUNK])
def test_a_bad_wait_is_dropped_and_noted(name: str, value: Any) -> None:
    observation = observe({**GOOD, name: value})
    assert observation.ttft_ns is None
    assert f"bad_value:{name}" in observation.notes


@pytest.mark.parametrize("value", [-1, 0, "Infinity", 1e30, None, {"max": 1}])
@pytest.mark.parametrize("name", MAX_OUTPUT)
def test_no_limit_is_written_in_many_ways(name: str, value: Any) -> None:
    assert observe({**GOOD, name: value}).max_output_tokens is None


@pytest.mark.parametrize(
    "value", [["a"] * 100_000, HUGE, '["' + "a" * 300, "[" * 5000, [None], [{"a": 1}], 7, {"a": 1}]
)
@pytest.mark.parametrize("name", STOP_REASONS)
def test_a_bad_stop_reason_costs_nothing_else(name: str, value: Any) -> None:
    observation = observe({**GOOD, name: value})
    assert len(observation.stop_reason) <= 200
    assert observation.usage.input_tokens == 30


@pytest.mark.parametrize(
    "content", [HUGE, "[" * 100_000, '{"a":' * 100_000, "not json", "null", "[]", '{"tool_call": NaN}', "\x00"]
)
@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ("opentelemetry.instrumentation.genai.openai", "gen_ai.output.messages"),
        ("openinference.instrumentation.openai", "output.value"),
        ("openinference.instrumentation.openai", "llm.invocation_parameters"),
        ("langfuse-sdk", "langfuse.observation.usage_details"),
        ("langfuse-sdk", "langfuse.observation.completion_start_time"),
        ("logfire.openai", "gen_ai.usage.raw"),
        ("langsmith", "langsmith.metadata.usage_metadata"),
        ("mlflow", "mlflow.chat.tokenUsage"),
        ("litellm", "hidden_params"),
        ("litellm", "metadata.usage_object"),
        ("ai", "ai.response.providerMetadata"),
        (names.SCOPE, names.TOOL_CALLS),
    ],
)  # fmt: skip
def test_a_payload_that_cannot_be_read_costs_nothing_else(scope: str, name: str, content: str) -> None:
    kind = {"openinference.span.kind": "LLM", "langfuse.observation.type": "generation", "mlflow.spanType": '"LLM"'}
    observation = observe({**kind, **GOOD, "langsmith.span.kind": "llm", name: content}, scope)
    assert observation.session_id == "s-1"
    assert observation.tool_calls == ()


# --- fuzz

OTHERS = [
    "gen_ai.usage.raw",
    "usage",
    "hidden_params",
    "metadata",
    "gen_ai.output.messages",
    "output.value",
    "llm.invocation_parameters",
    "duration",
    "langfuse.observation.usage_details",
    "langfuse.observation.cost_details",
    "langfuse.observation.completion_start_time",
    "langfuse.observation.level",
    "mlflow.chat.tokenUsage",
    "mlflow.llm.cost",
    "mlflow.spanInputs",
    "mlflow.spanOutputs",
    "duration_ms",
    "langsmith.metadata.usage_metadata",
    "langsmith.span.kind",
    "ai.response.providerMetadata",
    "ai.response.toolCalls",
    "span.type",
    "success",
    "metadata.usage_object",
    "metadata.requester_metadata",
    "litellm.model_group",
    "llm.openai.usage",
    "llm.openai.id",
    "event.name",
    "event.kind",
    "auth_mode",
    "auth_type",
    "finish_reasons",
    "error",
    "http.url",
    "sdk_span_type",
    "logfire.span_type",
    "traceloop.span.kind",
    "gen_ai.tool.name",
    "mistral_ai.operation.id",
    "gen_ai.tool.call.id",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.name",
]
TABLES = [table for dialect in DIALECTS for table in (dialect.texts, dialect.counts)]
OWN = [names.NOTES, names.TOOL_CALLS, names.COST_STATUS, names.USAGE_PARTIAL, names.IS_BATCH, names.LABEL_PREFIX]
NAMES = sorted(
    {alias for table in TABLES for found in table.values() for alias in found}
    | {name for dialect in DIALECTS for name in (*dialect.markers, *dialect.core)}
    | {bag + key for dialect in DIALECTS for bag in dialect.bags for key in ("user_id", "tenant", "")}
    | {*CLAIMS, *STOP_REASONS, *STREAM_FLAGS, *HTTP_STATUS, *MAX_OUTPUT, *OTHERS, *OWN}
    | {name for name, _ in FIRST_CHUNK}
    | {names.USAGE_PREFIX + name for name in TOKEN_CLASSES}
    | {names.USAGE_COUNT_PREFIX + "web_searches", names.LABEL_PREFIX + "x"}
    | {"acme.usage", "acme.model_name", "acme.span_type", "acme.usage.promptTokens", "acme.cached_tokens"}
    | {"gen_ai", "gen_ai.usage", "gen_ai.response", "llm.token_count", "ai.usage", "spanledger"}
)
SCOPES = sorted({scope.rstrip("*") for dialect in DIALECTS for scope in dialect.scopes} | {"", "app", "x" * 1000})
EVENTS = sorted(
    {event.rpartition("/")[2] for dialect in DIALECTS for event in dialect.events}
    | {"gen_ai.client.inference.operation.details", "other", ""}
)

WORDS = [
    *("chat", "stop", "LLM", "generation", '"CHAT_MODEL"', "api_request", "response.completed", "openai", "true", "12"),
    *("llm_request", "[]", "{}", "null", "https://[::1", "http://a@b:99999/x", "2026-11-21T00:00:00Z"),
    *("0001-01-01T00:00:00+23:59", "{'prompt_tokens': 5}", '[{"parts": [{"type": "tool_call"}]}]'),
    '{"input_tokens": 5, "output_tokens": "x", "cache_creation": {"a": []}}',
]
members = st.sampled_from(["usage", "input_tokens", "output_tokens", "prompt", "model", "id", "prompt_tokens", "total"])
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=20) | st.text(max_size=30)
attribute_values = st.recursive(
    plain | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(members | st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
attributes_ = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=12), attribute_values, max_size=30)
process = st.sampled_from(["service.name", "team.id", "spanledger.label.a", "env"])
sources = st.builds(
    Source,
    st.dictionaries(process, attribute_values, max_size=4),
    st.sampled_from(SCOPES),
    st.sampled_from(["", "0.62.4", "1", "x.y", "99999999999999999999.1"]),
    st.dictionaries(st.text(max_size=8), attribute_values, max_size=2),
)
times = st.integers(min_value=0, max_value=2**64 - 1)
ids_ = st.binary(max_size=16)
events_ = st.lists(st.builds(SpanEvent, st.sampled_from(["exception", "x", EVENTS[0]]), times, attributes_), max_size=2)
spans = st.builds(
    SpanRecord,
    trace_id=ids_,
    span_id=ids_,
    parent_span_id=ids_,
    name=st.text(max_size=20),
    kind=st.integers(),
    start_ns=times,
    end_ns=times,
    status_code=st.integers(0, 3),
    status_message=st.text(max_size=5),
    attributes=attributes_,
    events=events_,
    source=sources,
)
logs = st.builds(
    LogEntry,
    trace_id=ids_,
    span_id=ids_,
    event_name=st.sampled_from(EVENTS),
    time_ns=times,
    severity=st.integers(),
    body=st.sampled_from(EVENTS) | attribute_values,
    attributes=attributes_,
    source=sources,
)

SHARED = Dialects()


def check(observation: Observation | None) -> None:
    if observation is None:
        return
    usage = observation.usage
    for name in TOKEN_CLASSES:
        value = getattr(usage, name)
        assert value is None or (type(value) is int and 0 <= value <= 2**54), (name, value)
    for name in (
        "provider",
        "request_model",
        "response_id",
        "request_id",
        "session_id",
        "user_id",
        "team_id",
        "stop_reason",
    ):
        value = getattr(observation, name)
        assert isinstance(value, str), (name, value)
        assert len(value) <= 4096
    for cost in (observation.claimed_cost_usd, observation.exact_cost_usd):
        assert cost is None or 0 <= cost <= 1_000_000
    assert observation.status in ("ok", "error")
    assert type(observation.started_ns) is int
    assert observation.started_ns >= 0
    assert observation.http_status is None or 100 <= observation.http_status <= 599
    assert observation.is_stream in (None, True, False)
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in observation.labels.items())
    assert all(isinstance(note, str) for note in observation.notes)


@settings(max_examples=150, deadline=None)
@given(spans)
def test_no_span_makes_a_dialect_raise(record: SpanRecord) -> None:
    before = dict(record.attributes)
    check(SHARED.read_span(record))
    assert list(record.attributes) == list(before)


@settings(max_examples=100, deadline=None)
@given(logs)
def test_no_log_makes_a_dialect_raise(record: LogEntry) -> None:
    check(SHARED.read_log(record))


@settings(max_examples=50, deadline=None)
@given(spans)
def test_reading_depends_on_the_record_alone(record: SpanRecord) -> None:
    """What was read before (shapes, sources) changes nothing."""
    assert repr(SHARED.read_span(record)) == repr(Dialects().read_span(record))


def test_endless_new_shapes_keep_memory_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "_MAX_SHAPES", 100)
    compiler = plans.Compiler(DIALECTS[0])
    for i in range(1000):
        assert compiler.plan({**GOOD, f"key{i}": 1}) is not None
        assert len(compiler._plans) <= 100
    before = dict(compiler._plans)
    assert compiler.plan({**GOOD, "k" * 100_000: 1}) is not None
    assert compiler._plans == before
