"""Our own spans and the conventions in everybody's hands: one case per meaning that a ledger must not confuse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from spanledger.semconv import names
from spanledger.semconv.dialects import DIALECTS, Dialects, trust
from spanledger.semconv.observation import Role
from spanledger.semconv.records import LogEntry, Source, SpanEvent

TRACE, SPAN, PARENT = b"t" * 16, b"s" * 8, b"p" * 8
START, END = 1_795_000_000_000_000_000, 1_795_000_002_000_000_000


CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.provider.name": "openai"}
USAGE = {"gen_ai.usage.input_tokens": 3000, "gen_ai.usage.output_tokens": 300}
CACHED = {**USAGE, "gen_ai.usage.cache_read.input_tokens": 2000, "gen_ai.usage.cache_creation.input_tokens": 700}


# --- ours


def test_our_own_span_is_read_exactly(emitted: Any) -> None:
    read = emitted.span(
        names.SCOPE,
        {
            **CHAT,
            "gen_ai.provider.name": "aws.bedrock",
            names.PROVIDER: "aws_bedrock",
            "gen_ai.response.id": "msg_bdrk_1",
            **USAGE,
            names.USAGE_PREFIX + "input_uncached": 100,
            names.USAGE_PREFIX + "cache_read": 2000,
            names.USAGE_PREFIX + "cache_write_5m": 600,
            names.USAGE_PREFIX + "cache_write_1h": 300,
            names.USAGE_PREFIX + "output_text": 250,
            names.USAGE_PREFIX + "reasoning": 50,
            names.USAGE_COUNT_PREFIX + "web_searches": 3,
            names.USAGE_PARTIAL: True,
            names.COST: 0.0123,
            names.COST_TOTAL: "0.012345678901234567",
            names.COST_STATUS: "list",
            names.COST_PRICE_ID: "p-1",
            names.REQUEST_ID: "req_9",
            names.SERVICE_TIER: "priority",
            names.IS_BATCH: True,
            names.BATCH_ID: "batch_1",
            names.TEAM_ID: "search",
            names.FEATURE: "qa",
            names.SESSION_ID: "s-1",
            names.USER_ID: "u-1",
            names.LABEL_PREFIX + "tenant": "acme",
            names.API_KEY_FINGERPRINT: "ab12",
            names.PROJECT: "proj",
            names.HTTP_STATUS: 200,
            names.IS_STREAM: True,
            names.NOTES: ["abandoned"],
            names.TOOL_CALLS: '[{"name": "f", "id": "call_1", "kind": "use", "input_bytes": 12}]',
            "gen_ai.request.max_tokens": 400,
            "gen_ai.response.finish_reasons": ["tool_calls"],
            "gen_ai.response.time_to_first_chunk": 0.25,
            "server.address": "bedrock-runtime.us-east-1.amazonaws.com",
        },
        resource={"service.name": "api", "deployment.environment.name": "prod"},
    )
    usage = read.usage
    assert (usage.input_uncached, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h) == (100, 2000, 600, 300)
    assert (usage.output_text, usage.reasoning, usage.partial) == (250, 50, True)
    assert usage.counts == {"web_searches": 3}
    assert read.claimed_cost_usd == Decimal("0.012345678901234567")
    assert read.exact_cost_usd is None
    assert read.claimed_price_id == "p-1"
    assert (read.provider, read.request_id, read.service_tier, read.batch_id) == (
        "aws_bedrock",
        "req_9",
        "priority",
        "batch_1",
    )
    assert read.is_batch
    assert read.is_stream
    assert (read.team_id, read.feature, read.session_id, read.user_id) == ("search", "qa", "s-1", "u-1")
    assert read.labels == {"tenant": "acme"}
    assert (read.api_key_fingerprint, read.project, read.max_output_tokens) == ("ab12", "proj", 400)
    assert (read.service_name, read.environment, read.http_status, read.stop_reason) == (
        "api",
        "prod",
        200,
        "tool_call",
    )
    assert read.ttft_ns == 250_000_000
    assert read.notes == ("abandoned",)
    assert [(call.name, call.id, call.input_bytes) for call in read.tool_calls] == [("f", "call_1", 12)]
    assert (read.role, read.dialect, read.trace_id, read.span_id) == (Role.LEAF, "spanledger", TRACE, SPAN)
    assert (read.parent_span_id, read.started_ns, read.ended_ns) == (PARENT, START, END)


def test_a_cost_that_the_provider_stated_is_exact(emitted: Any) -> None:
    attributes = {**CHAT, names.COST_TOTAL: "0.5", names.COST_STATUS: "exact"}
    read = emitted.span(names.SCOPE, attributes)
    assert (read.exact_cost_usd, read.claimed_cost_usd) == (Decimal("0.5"), None)


# --- the conventions, from anybody


def test_anybody_following_the_conventions_is_read(emitted: Any) -> None:
    read = emitted.span("my.own.tracer", {**CHAT, **CACHED})
    assert emitted.tokens(read) == (3000, 2000, 700, 300, None)
    assert read.dialect == "otel"
    assert read.usage.input_uncached == 300
    assert "ambiguous_input" in read.notes


@pytest.mark.parametrize(
    ("total", "tokens_in", "ambiguous"),
    [
        (3000 + 300 + 2700, 5700, False),  # the total counts the cache beside the input
        (3000 + 300, 3000, False),
        (None, 3000, True),
        (99, 3000, True),
    ],
)
def test_a_total_decides_whether_input_holds_the_cache(
    total: int | None, tokens_in: int, ambiguous: bool, emitted: Any
) -> None:
    attributes = {**CHAT, **CACHED} | ({"gen_ai.usage.total_tokens": total} if total else {})
    read = emitted.span("somebody", attributes)
    assert read.usage.input_tokens == tokens_in
    assert ("ambiguous_input" in read.notes) is ambiguous


def test_more_cache_than_input_stands_beside_it(emitted: Any) -> None:
    attributes = {**CHAT, "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 5}
    attributes["gen_ai.usage.cache_read.input_tokens"] = 2000
    assert emitted.tokens(emitted.span("somebody", attributes))[0] == 2012
    assert "ambiguous_input" not in (emitted.span("somebody", attributes)).notes


@pytest.mark.parametrize(
    "spelling",
    [
        {"gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 3},
        {"gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3},
        {"gen_ai.usage.input_tokens": "7", "gen_ai.usage.output_tokens": 3.0},
    ],
)
def test_old_and_new_names_and_number_types(spelling: dict[str, Any], emitted: Any) -> None:
    assert emitted.tokens(emitted.span("somebody", {**CHAT, **spelling})) == (7, None, None, 3, None)


@pytest.mark.parametrize(
    ("operation", "role"),
    [
        ("chat", Role.LEAF),
        ("generate_content", Role.LEAF),
        ("text_completion", Role.LEAF),
        ("embeddings", Role.LEAF),
        ("acompletion", Role.LEAF),
        ("chat.completions", Role.LEAF),
        ("invoke_agent", Role.AGGREGATE),
        ("invoke_workflow", Role.AGGREGATE),
        ("agent_step", Role.AGGREGATE),
        ("execute_event_loop_cycle", Role.AGGREGATE),
        ("made_up", Role.LEAF),
    ],
)
def test_only_model_requests_bill(operation: str, role: Role, emitted: Any) -> None:
    assert (emitted.span("somebody", {**CHAT, **USAGE, "gen_ai.operation.name": operation})).role is role


def test_a_tool_run_is_a_detail(emitted: Any) -> None:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.call.arguments": '{"q": 1}',
    }
    read = emitted.span("somebody", attributes, kind=1, status=2)
    assert read.role is Role.DETAIL
    (call,) = read.tool_calls
    assert (call.name, call.id, call.kind, call.is_error, call.input_bytes) == ("search", "call_1", "result", True, 8)
    assert call.input is None


@pytest.mark.parametrize(
    "attributes",
    [
        {"http.request.method": "POST", "url.full": "https://api.openai.com/v1", "http.response.status_code": 200},
        {"db.system": "postgresql", "session.id": "s", "user.id": "u", "server.address": "db"},
        {},
        {"gen_ai.operation.name": "invoke_agent"},
    ],
)
def test_spans_about_no_model_call_are_none(attributes: dict[str, Any], emitted: Any) -> None:
    assert emitted.span("opentelemetry.instrumentation.httpx", attributes) is None


def test_an_agent_span_is_kept_for_whom_it_names(emitted: Any) -> None:
    read = emitted.span("somebody", {"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": "c-1"})
    assert (read.role, read.session_id) == (Role.AGGREGATE, "c-1")


def test_plain_attributes_feed_the_fields(emitted: Any) -> None:
    read = emitted.span(
        "somebody",
        {**CHAT, "team.id": "t", "feature": "f", "session.id": "s", "user.id": 42, "server.address": "api.x.ai"},
        resource={"service.name": "svc", "deployment.environment": "stage", "spanledger.label.tier": "gold"},
    )
    assert (read.team_id, read.feature, read.session_id, read.user_id) == ("t", "f", "s", "42")
    assert (read.service_name, read.environment, dict(read.labels)) == ("svc", "stage", {"tier": "gold"})
    assert (read.server_address, read.provider) == ("api.x.ai", "xai")


def test_the_span_wins_over_the_process(emitted: Any) -> None:
    resource = {"team.id": "platform", "user.id": "robot", "spanledger.label.tier": "gold"}
    attributes = {**CHAT, "team.id": "search", "user.id": "", "spanledger.label.tier": "iron"}
    read = emitted.span("somebody", attributes, resource=resource)
    assert (read.team_id, read.user_id, dict(read.labels)) == ("search", "robot", {"tier": "iron"})


def test_usage_in_a_span_event_is_read(emitted: Any) -> None:
    event = SpanEvent(
        "gen_ai.client.inference.operation.details", END, {**CHAT, **USAGE, "gen_ai.response.id": "resp_1"}
    )
    read = emitted.span("somebody", {"gen_ai.operation.name": "chat"}, events=(event,))
    assert emitted.tokens(read) == (3000, None, None, 300, None)
    assert (read.response_id, read.request_model) == ("resp_1", "gpt-4o-mini")


@pytest.mark.parametrize(
    "usage",
    [
        {"gen_ai.usage.prompt_tokens": 3000, "gen_ai.usage.completion_tokens": 300},
        {"gen_ai.usage.input_tokens": "3000", "gen_ai.usage.output_tokens": 300.0},
    ],
)
def test_usage_in_a_span_event_is_read_in_every_spelling(usage: dict[str, Any], emitted: Any) -> None:
    events = (SpanEvent("noise", END, {"message": "x"}), SpanEvent("my.usage", END, usage))
    assert emitted.tokens(emitted.span("somebody", CHAT, events=events)) == (3000, None, None, 300, None)


@pytest.mark.parametrize("proof", [{"gen_ai.operation.name": "chat"}, {"gen_ai.response.id": "resp_1"}])
def test_a_log_under_any_name_that_is_an_answer_of_a_model_is_read(proof: dict[str, str], emitted: Any) -> None:
    attributes = {"gen_ai.request.model": "gpt-4o-mini", "gen_ai.system": "openai", **USAGE, **proof}
    read = emitted.log("somebody", attributes, event="acme.llm.finished")
    assert (read.role, read.signal, read.request_model) == (Role.LEAF, "log", "gpt-4o-mini")
    assert emitted.tokens(read) == (3000, None, None, 300, None)


@pytest.mark.parametrize("more", [{}, {"gen_ai.operation.name": "invoke_agent"}, {"turn.index": 2}])
def test_a_log_whose_usage_may_be_a_sum_is_none(more: dict[str, Any], emitted: Any) -> None:
    attributes = {"gen_ai.request.model": "gpt-4o-mini", **USAGE, **more}
    assert emitted.log("somebody", attributes, event="copilot_chat.agent.turn") is None


def test_the_conventions_log_event_is_the_span_again(emitted: Any) -> None:
    attributes = {**CHAT, **CACHED, "gen_ai.response.id": "chatcmpl-1"}
    record = LogEntry(
        TRACE, SPAN, "gen_ai.client.inference.operation.details", END, 9, None, attributes,
        Source({}, "opentelemetry.instrumentation.genai.openai"),
    )  # fmt: skip
    read = Dialects().read_log(record)
    assert (read.signal, read.role, read.trace_id, read.span_id) == ("log", Role.LEAF, TRACE, SPAN)
    assert emitted.tokens(read) == (3000, 2000, 700, 300, None)
    assert read.notes == ()


def test_other_log_records_are_none(emitted: Any) -> None:
    assert (
        emitted.log("opentelemetry.instrumentation.openai_v2", {"gen_ai.system": "openai"}, event="gen_ai.choice")
        is None
    )
    assert emitted.log("app", {"gen_ai.usage.input_tokens": 5}, body="hello") is None


# --- who includes what


@pytest.mark.parametrize(
    ("scope", "attributes", "expected"),
    [
        ("opentelemetry.instrumentation.genai.anthropic", CACHED, (3000, 2000, 700, 300, None)),
        ("com.anthropic.sdk.python", CACHED, (3000, 2000, 700, 300, None)),
        ("opentelemetry.instrumentation.genai.bedrock", CACHED, (5700, 2000, 700, 300, None)),
        ("opentelemetry.instrumentation.botocore.bedrock-runtime", CACHED, (5700, 2000, 700, 300, None)),
        ("opentelemetry.instrumentation.bedrock", CACHED, (5700, 2000, 700, 300, None)),
        ("opentelemetry.instrumentation.openai.v1", CACHED, (3000, 2000, 700, 300, None)),
        ("@traceloop/instrumentation-anthropic", CACHED, (5700, 2000, 700, 300, None)),
        ("@traceloop/instrumentation-openai", USAGE, (3000, None, None, 300, None)),
        ("pydantic-ai", CACHED, (3000, 2000, 700, 300, None)),
        ("gcp.vertex.agent", {**CACHED, "gen_ai.usage.reasoning.output_tokens": 100}, (3000, 2000, 700, 300, 100)),
        ("agent_framework", {**CACHED, "gen_ai.usage.reasoning.output_tokens": 100}, (3000, 2000, 700, 300, 100)),
        ("semantic_kernel.connectors.ai", USAGE, (3000, None, None, 300, None)),
        (
            "opentelemetry.instrumentation.google_generativeai",
            {**USAGE, "gen_ai.usage.cache_read.input_tokens": 2000, "gen_ai.usage.total_tokens": 3428},
            (3000, 2000, None, 428, 128),
        ),
        (
            "strands.telemetry.tracer",
            {
                "gen_ai.usage.prompt_tokens": 3000,
                "gen_ai.usage.input_tokens": 3000,
                "gen_ai.usage.completion_tokens": 300,
                "gen_ai.usage.output_tokens": 300,
                "gen_ai.usage.cache_read_input_tokens": 2000,
                "gen_ai.usage.cache_write_input_tokens": 700,
            },
            (3000, 2000, 700, 300, None),
        ),
    ],
)
def test_input_and_output_mean_what_the_emitter_means(
    scope: str, attributes: dict[str, Any], expected: tuple[int | None, ...], emitted: Any
) -> None:
    read = emitted.span(scope, {**CHAT, **attributes})
    assert emitted.tokens(read) == expected
    assert not {"ambiguous_input", "ambiguous_output"} & set((read).notes)


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("anthropic", (5700, 2000, 700, 300, 100)),
        ("aws.bedrock", (5700, 2000, 700, 300, 100)),
        ("openai", (3000, 2000, 700, 300, 100)),
        ("gemini", (3000, 2000, 700, 400, 100)),
    ],
)
def test_openlit_means_something_else_for_each_provider(provider: str, expected: tuple[int, ...], emitted: Any) -> None:
    attributes = {**CHAT, **CACHED, "gen_ai.usage.reasoning_tokens": 100, "gen_ai.provider.name": provider}
    attributes["gen_ai.request.model"] = "m"
    assert emitted.tokens(emitted.span("openlit.instrumentation.any", attributes)) == expected


def test_openlit_guesses_are_unknown(emitted: Any) -> None:
    attributes = {**CHAT, **USAGE, "gen_ai.request.stream": True, "gen_ai.server.time_to_first_token": 0.1}
    attributes["gen_ai.usage.cost"] = 0.01
    read = emitted.span("openlit.instrumentation.openai", attributes)
    assert not read.usage.is_known
    assert read.claimed_cost_usd is None
    assert "guessed_usage" in read.notes


def test_xai_counts_reasoning_beside_the_output_whoever_reports_it(emitted: Any) -> None:
    attributes = {**CHAT, **USAGE, "gen_ai.usage.reasoning.output_tokens": 128, "server.address": "api.x.ai"}
    assert emitted.tokens(emitted.span("opentelemetry.instrumentation.genai.openai", attributes)) == (
        3000,
        None,
        None,
        428,
        128,
    )


def test_a_first_token_counted_twice_is_taken_off(emitted: Any) -> None:
    attributes = {**CHAT, **USAGE, "gen_ai.is_streaming": True, "gen_ai.response.finish_reasons": ["stop"]}
    scope = "opentelemetry.instrumentation.anthropic"
    assert emitted.tokens(emitted.span(scope, attributes, version="0.62.4"))[3] == 299
    assert emitted.tokens(emitted.span(scope, attributes, version="0.63.0"))[3] == 300
    assert emitted.tokens(emitted.span(scope, {**CHAT, **USAGE}, version="0.62.4"))[3] == 300


def test_zeros_of_a_stream_without_usage_are_unknown(emitted: Any) -> None:
    attributes = {**CHAT, "gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}
    read = emitted.span("litellm", {**attributes, "gen_ai.cost.total_cost": 0.0})
    assert not read.usage.is_known
    assert read.claimed_cost_usd is None


def test_a_broken_stream_is_partial(emitted: Any) -> None:
    attributes = {
        **CHAT,
        "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 1,
    }
    read = emitted.span("opentelemetry.instrumentation.genai.anthropic", attributes)
    assert read.usage.partial
    whole = {**attributes, "gen_ai.response.finish_reasons": ["stop"]}
    assert not (emitted.span("opentelemetry.instrumentation.genai.anthropic", whole)).usage.partial


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("operation.cost", 0.25),
        ("gen_ai.usage.cost", "0.25"),
        ("gen_ai.cost.total_cost", 0.25),
        ("litellm.cost.total", 0.25),
        ("llm.cost.total", 0.25),
        ("cost_usd", "0.25"),
        ("gen_ai.usage.cost.amount", 0.25),
    ],
)
def test_every_spelling_of_a_cost(name: str, value: Any, emitted: Any) -> None:
    assert (emitted.span("somebody", {**CHAT, name: value})).claimed_cost_usd == Decimal("0.25")


@pytest.mark.parametrize(
    ("written", "word"),
    [
        (["stop"], "stop"),
        (["stop", "stop"], "stop"),
        ('["end_turn"]', "stop"),
        ("FinishReason.STOP", "stop"),
        ("COMPLETE", "stop"),
        (["completed"], "stop"),
        (["tool-calls"], "tool_call"),
        ("tool_use", "tool_call"),
        (["FinishReason.MAX_TOKENS"], "length"),
        (["content_filter"], "content_filter"),
        (["error"], ""),  # written on successful calls
        ([], ""),
    ],
)
def test_stop_reasons_in_one_word(written: Any, word: str, emitted: Any) -> None:
    assert (emitted.span("somebody", {**CHAT, "gen_ai.response.finish_reasons": written})).stop_reason == word


# --- failures


def test_a_failed_attempt(emitted: Any) -> None:
    event = SpanEvent("exception", END, {"exception.type": "openai.RateLimitError"})
    read = emitted.span("opentelemetry.instrumentation.openai.v1", {**CHAT}, status=2, events=(event,))
    assert (read.status, read.error_type, read.role) == ("error", "openai.RateLimitError", Role.LEAF)
    numbered = emitted.span("somebody", {**CHAT, "error.type": "429"})
    assert (numbered.status, numbered.http_status) == ("error", 429)


def test_an_exception_without_a_status_is_a_failed_attempt_when_nothing_came_back(emitted: Any) -> None:
    """Some emitters record what was raised and leave the status unset; a raised error behind an answer is another."""
    event = SpanEvent("exception", END, {"exception.type": "openai.AuthenticationError"})
    read = emitted.span("somebody", CHAT, events=(event,))
    assert (read.status, read.error_type) == ("error", "openai.AuthenticationError")
    for answered in (USAGE, {"gen_ai.response.id": "resp_1"}):
        assert emitted.span("somebody", {**CHAT, **answered}, events=(event,)).status == "ok"
    assert emitted.span("somebody", CHAT, status=1, events=(event,)).status == "ok"


# --- the registry


def test_every_dialect_has_a_name_and_trust() -> None:
    dialect_names = [dialect.name for dialect in DIALECTS]
    assert len(set(dialect_names)) == len(dialect_names)
    assert DIALECTS[-1].name == "otel"
    assert trust("spanledger") == 3
    assert trust("never heard of") == 0


def test_no_two_dialects_claim_one_scope() -> None:
    scopes = [scope for dialect in DIALECTS for scope in dialect.scopes]
    assert len(set(scopes)) == len(scopes)
