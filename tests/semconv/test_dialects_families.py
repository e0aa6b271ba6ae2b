"""Emitters with names of their own, by their documented attributes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from spanledger.semconv.observation import Role

TRACE, SPAN, PARENT = b"t" * 16, b"s" * 8, b"p" * 8
START, END = 1_795_000_000_000_000_000, 1_795_000_002_000_000_000


CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.provider.name": "openai"}
USAGE = {"gen_ai.usage.input_tokens": 3000, "gen_ai.usage.output_tokens": 300}
CACHED = {**USAGE, "gen_ai.usage.cache_read.input_tokens": 2000, "gen_ai.usage.cache_creation.input_tokens": 700}


# --- where inference ran


@pytest.mark.parametrize(("told", "place"), [("us", "us"), ("global", "global"), ("not_available", "")])
def test_the_place_of_inference_is_read_where_emitters_keep_the_usage_document(
    emitted: Any, told: str, place: str
) -> None:
    usage = {"input_tokens": 9, "cache_read_input_tokens": 0, "output_tokens": 3, "inference_geo": told}
    chat = {**CHAT, "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-opus-5"}
    spans = [
        ("spanledger", {**chat, "spanledger.inference_geo": told}),
        (
            "ai",
            {
                "ai.operationId": "ai.generateText.doGenerate",
                "ai.model.provider": "anthropic.messages",
                "ai.model.id": "claude-opus-5",
                "ai.response.providerMetadata": json.dumps({"anthropic": {"usage": usage}}),
            },
        ),
        (
            "litellm",
            {
                "llm.anthropic.id": "msg_0123456789",
                "llm.anthropic.model": "claude-opus-5",
                "llm.anthropic.usage": str(usage),
            },
        ),
        ("logfire", {**chat, **USAGE, "gen_ai.usage.raw": json.dumps(usage)}),
        (
            "openinference.instrumentation.anthropic",
            {
                "openinference.span.kind": "LLM",
                "llm.provider": "anthropic",
                "llm.model_name": "claude-opus-5",
                "llm.token_count.prompt": 9,
                "output.value": json.dumps({"id": "msg_0123456789", "usage": usage}, separators=(",", ":")),
            },
        ),
    ]
    for scope, attributes in [*spans, *spans]:  # the second time the layout of the text is known
        read = emitted.span(scope, attributes)
        assert read is not None, scope
        assert read.inference_geo == place, scope


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("us-east5-aiplatform.googleapis.com", "us-east5"),
        ("https://aiplatform.googleapis.com/v1/projects/p", "global"),
        ("aiplatform.eu.rep.googleapis.com", "eu"),
        ("europe-west1-aiplatform.mtls.googleapis.com", "europe-west1"),
        ("10.0.0.7", ""),
    ],
)
def test_the_host_of_vertex_names_the_place(emitted: Any, host: str, place: str) -> None:
    attributes = {**CHAT, **USAGE, "gen_ai.provider.name": "gcp.vertex_ai", "server.address": host}
    read = emitted.span("anyone", {**attributes, "gen_ai.request.model": "claude-opus-5@20260101"})
    assert (read.provider, read.inference_geo) == ("google_vertex", place)


# --- families with their own names


def test_openinference_names_and_the_id_inside_the_answer(emitted: Any) -> None:
    read = emitted.span(
        "openinference.instrumentation.openai",
        {
            "openinference.span.kind": "LLM",
            "llm.provider": "azure",
            "llm.model_name": "gpt-4o-mini-2024-07-18",
            "llm.invocation_parameters": '{"model": "gpt-4o-mini", "stream": true}',
            "llm.token_count.prompt": 3000,
            "llm.token_count.completion": 300,
            "llm.token_count.prompt_details.cache_read": 2000,
            "llm.token_count.completion_details.reasoning": 100,
            "llm.finish_reason": "tool_calls",
            "llm.output_messages.0.message.tool_calls.0.tool_call.id": "call_1",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "f",
            "output.value": '{"id":"chatcmpl-abcdefgh","choices":[]}',
            "metadata": '{"team": "search", "user_id": "u-1"}',
        },
        kind=1,
    )
    assert emitted.tokens(read) == (3000, 2000, None, 300, 100)
    assert (read.provider, read.request_model, read.response_model) == (
        "azure_openai",
        "gpt-4o-mini",
        "gpt-4o-mini-2024-07-18",
    )
    assert (read.response_id, read.stop_reason, read.is_stream) == ("chatcmpl-abcdefgh", "tool_call", True)
    assert (read.team_id, read.user_id) == ("search", "u-1")
    assert [call.id for call in read.tool_calls] == ["call_1"]


def test_openinference_on_a_users_own_tracer(emitted: Any) -> None:
    attributes = {"openinference.span.kind": "EMBEDDING", "embedding.model_name": "text-embedding-3-small"}
    read = emitted.span("app", {**attributes, "llm.token_count.prompt": 5}, kind=1)
    assert (read.dialect, read.operation, read.usage.input_tokens) == ("openinference", "embeddings", 5)


def test_openinference_chains_never_bill(emitted: Any) -> None:
    attributes = {"openinference.span.kind": "CHAIN", "llm.token_count.prompt": 5, "session.id": "s"}
    read = emitted.span("openinference.instrumentation.langchain", attributes, kind=1)
    assert read.role is Role.AGGREGATE
    assert not read.usage.is_known


def test_langfuse_langchain_usage_stands_side_by_side(emitted: Any) -> None:
    details = '{"input": 1223, "output": 207, "total": 3606, "input_cache_read": 2048, "output_reasoning": 128}'
    read = emitted.span(
        "langfuse-sdk",
        {
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": "gpt-4o-mini",
            "langfuse.observation.usage_details": details,
            "langfuse.observation.metadata.finish_reason": '"stop"',
            "langfuse.observation.completion_start_time": '"2026-11-18T14:26:41.000000Z"',
            "langfuse.observation.cost_details": '{"total": 0.00123456}',
            "langfuse.trace.metadata.team": '"search"',
            "langfuse.trace.metadata.tenant": '"acme"',
            "session.id": "s-1",
        },
        kind=1,
    )
    assert emitted.tokens(read) == (3271, 2048, None, 335, 128)
    assert (read.stop_reason, read.claimed_cost_usd, read.team_id) == ("stop", Decimal("0.00123456"), "search")
    assert read.labels == {"tenant": "acme"}
    assert (read.session_id, read.provider) == ("s-1", "openai")


def test_langfuse_openai_usage_is_the_providers(emitted: Any) -> None:
    details = '{"prompt_tokens": 3171, "completion_tokens": 335, "prompt_tokens_details": {"cached_tokens": 2048},'
    details += ' "completion_tokens_details": {"reasoning_tokens": 128}}'
    attributes = {"langfuse.observation.type": "generation", "langfuse.observation.usage_details": details}
    assert emitted.tokens(emitted.span("langfuse-sdk", attributes, kind=1)) == (3171, 2048, None, 335, 128)


def test_mlflow_writes_json_everywhere(emitted: Any) -> None:
    usage = '{"input_tokens": 4000, "output_tokens": 207, "total_tokens": 4207, "cache_read_input_tokens": 2048,'
    usage += ' "cache_creation_input_tokens": 768, "cache_creation_input_tokens_above_1hr": 256}'
    read = emitted.span(
        "mlflow.tracing.provider",
        {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.llm.model": '"claude-sonnet-4-5"',
            "mlflow.llm.provider": '"anthropic"',
            "mlflow.chat.tokenUsage": usage,
            "mlflow.spanOutputs": '{"id": "msg_01abcdefgh", "content": []}',
            "mlflow.spanInputs": '{"model": "claude-sonnet-4-5", "messages": []}',
        },
        kind=1,
    )
    assert emitted.tokens(read) == (4000, 2048, 768, 207, None)
    assert read.usage.cache_write_1h == 256
    assert (read.provider, read.response_id, read.response_model) == (
        "anthropic",
        "msg_01abcdefgh",
        "claude-sonnet-4-5",
    )
    assert emitted.span("mlflow", {"mlflow.spanType": '"AGENT"'}) is None


def test_logfire_reads_the_providers_usage_object(emitted: Any) -> None:
    raw = '{"input_tokens": 1218, "cache_read_input_tokens": 2048, "cache_creation_input_tokens": 768,'
    raw += (
        ' "cache_creation": {"ephemeral_5m_input_tokens": 512, "ephemeral_1h_input_tokens": 256}, "output_tokens": 207}'
    )
    attributes = {
        **CHAT,
        "gen_ai.usage.input_tokens": 4034,
        "gen_ai.usage.output_tokens": 207,
        "gen_ai.usage.raw": raw,
        "gen_ai.response.finish_reasons": '["end_turn"]',
        "operation.cost": 0.0108294,
        "gen_ai.response.id": "msg_01abc",
    }
    read = emitted.span("logfire.anthropic", attributes)
    assert emitted.tokens(read) == (4034, 2048, 768, 207, None)
    assert (read.usage.cache_write_5m, read.usage.cache_write_1h) == (512, 256)
    assert (read.stop_reason, read.claimed_cost_usd) == ("stop", Decimal("0.0108294"))


def test_logfire_streams_bill_where_the_usage_is(emitted: Any) -> None:
    request = {**CHAT, "logfire.span_type": "span", "gen_ai.conversation.id": "c"}
    assert (emitted.span("logfire.openai", request)).role is Role.DETAIL
    answer = {**CHAT, **USAGE, "logfire.span_type": "log", "duration": 1.5, "gen_ai.response.model": "gpt-4o-mini"}
    read = emitted.span("logfire.openai", answer, kind=1)
    assert (read.role, read.is_stream, read.response_model) == (Role.LEAF, True, "")
    assert read.started_ns == END - 1_500_000_000


def test_logfire_turns_and_tasks_never_bill(emitted: Any) -> None:
    attributes = {"gen_ai.system": "openai", "sdk_span_type": "turn", "usage": '{"input_tokens": 5}', "group_id": "g"}
    assert (emitted.span("logfire.openai_agents", attributes, kind=1)).role is Role.AGGREGATE


def test_litellm_keeps_invented_ids_out_and_finds_the_routed_model(emitted: Any) -> None:
    gateway_id = "chatcmpl-133197dd-f8f6-4b56-84a0-79f9ca450344"
    read = emitted.span(
        "litellm",
        {
            **CHAT,
            **USAGE,
            "gen_ai.operation.name": "acompletion",
            "gen_ai.provider.name": "",
            "gen_ai.request.model": "smart",
            "gen_ai.response.model": "smart",
            "litellm.model_group": "smart",
            "litellm.provider.model": "anthropic/claude-sonnet-4-5",
            "gen_ai.response.id": gateway_id,
            "gen_ai.cost.total_cost": 0.5,
            "metadata.user_api_key_team_id": "search",
            "metadata.user_api_key_end_user_id": "u-1",
            "metadata.user_api_key_user_id": "default_user_id",
            "metadata.user_api_key_alias": "ci",
            "metadata.usage_object": "{'prompt_tokens': 3000, 'completion_tokens': 300, 'prompt_tokens_details':"
            " {'cached_tokens': 2000, 'cache_creation_tokens': 700}, 'cache_creation_token_details':"
            " {'ephemeral_5m_input_tokens': 500, 'ephemeral_1h_input_tokens': 200}}",
        },
        kind=1,
    )
    assert (read.response_id, read.request_id) == ("", gateway_id)
    assert (read.operation, read.provider, read.response_model) == ("chat", "anthropic", "claude-sonnet-4-5")
    assert emitted.tokens(read) == (3000, 2000, 700, 300, None)
    assert read.usage.cache_write_1h == 200
    assert (read.team_id, read.user_id, read.labels["key_alias"]) == ("search", "u-1", "ci")
    assert read.claimed_cost_usd == Decimal("0.5")


def test_litellm_writing_on_the_applications_span_is_a_call(emitted: Any) -> None:
    attributes = {**CHAT, **USAGE, "litellm.call_id": "x", "gen_ai.response.id": "chatcmpl-abc", "http.route": "/chat"}
    read = emitted.span("app", attributes, name="POST /chat", kind=2)
    assert (read.dialect, read.role, read.response_id) == ("litellm", Role.LEAF, "chatcmpl-abc")


def test_litellm_raw_request_holds_the_real_id(emitted: Any) -> None:
    attributes = {
        "llm.anthropic.id": "msg_01abc",
        "llm.anthropic.model": "claude-sonnet-4-5",
        "llm.anthropic.usage": "{'input_tokens': 300, 'cache_read_input_tokens': 2000, 'output_tokens': 200}",
    }
    read = emitted.span("litellm", attributes, name="raw_gen_ai_request", kind=1)
    assert (read.role, read.response_id, read.provider) == (Role.LEAF, "msg_01abc", "anthropic")
    assert emitted.tokens(read) == (2300, 2000, None, 200, None)


def test_vercel_versions(emitted: Any) -> None:
    base = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.model.id": "gpt-4o-mini",
        "gen_ai.system": "openai.chat",
    }
    five = {
        **base,
        "ai.usage.promptTokens": 3000,
        "ai.usage.completionTokens": 300,
        "ai.telemetry.metadata.userId": "u",
    }
    six = {
        **base,
        "ai.usage.inputTokens": 3000,
        "ai.usage.outputTokens": 300,
        "ai.usage.inputTokenDetails.cacheReadTokens": 2000,
        "ai.usage.outputTokenDetails.reasoningTokens": 100,
        "ai.telemetry.metadata.plan": "pro",
    }
    assert emitted.tokens(emitted.span("ai", five, kind=1)) == (3000, None, None, 300, None)
    assert ((emitted.span("ai", five, kind=1)).user_id, (emitted.span("ai", five, kind=1)).provider) == ("u", "openai")
    assert emitted.tokens(emitted.span("ai", six, kind=1)) == (3000, 2000, None, 300, 100)
    assert (emitted.span("ai", six, kind=1)).labels == {"plan": "pro"}
    outer = emitted.span("ai", {**six, "ai.operationId": "ai.generateText"}, kind=1)
    assert outer.role is Role.AGGREGATE


def test_vercel_5_anthropic_finds_the_cache_in_the_providers_metadata(emitted: Any) -> None:
    metadata = '{"anthropic": {"usage": {"input_tokens": 1171, "output_tokens": 207, "cache_read_input_tokens": 2048,'
    metadata += ' "cache_creation_input_tokens": 768}}}'
    attributes = {
        "ai.operationId": "ai.streamText.doStream",
        "ai.model.id": "claude-sonnet-4-5",
        "gen_ai.system": "anthropic.messages",
        "ai.usage.promptTokens": 1171,
        "ai.usage.completionTokens": 207,
        "ai.response.providerMetadata": metadata,
    }
    assert emitted.tokens(emitted.span("ai", attributes, kind=1)) == (3987, 2048, 768, 207, None)


def test_bedrock_request_ids_are_no_response_ids(emitted: Any) -> None:
    attributes = {**CHAT, **USAGE, "gen_ai.provider.name": "bedrock"}
    attributes["gen_ai.response.id"] = "5a946e09-0762-44de-a688-a1735d29bf48"
    read = emitted.span("pydantic-ai", attributes)
    assert (read.response_id, read.request_id) == ("", "5a946e09-0762-44de-a688-a1735d29bf48")


def test_frameworks_are_no_billers(emitted: Any) -> None:
    attributes = {**CHAT, **USAGE, "gen_ai.provider.name": "strands-agents"}
    attributes["gen_ai.request.model"] = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert (emitted.span("strands.telemetry.tracer", attributes, kind=1)).provider == "aws_bedrock"


def test_traceloop_association_properties_say_who(emitted: Any) -> None:
    prefix = "traceloop.association.properties."
    attributes = {
        **CHAT,
        prefix + "user_id": "u",
        prefix + "thread_id": "th",
        prefix + "team": "t",
        prefix + "tier": "a",
    }
    attributes[prefix + "ls_provider"] = "openai"
    read = emitted.span("opentelemetry.instrumentation.openai.v1", attributes)
    assert (read.user_id, read.session_id, read.team_id, dict(read.labels)) == ("u", "th", "t", {"tier": "a"})


XAI_CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "xai",
    "gen_ai.request.model": "grok-4",
    "gen_ai.response.id": "7c2d9f0e-1111-4a4a-9b9b-0123456789ab",
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 80,
    "gen_ai.usage.total_tokens": 1680,
    "gen_ai.usage.reasoning_tokens": 400,
    "gen_ai.usage.cached_prompt_text_tokens": 1000,
    "gen_ai.usage.prompt_text_tokens": 1200,
    "gen_ai.usage.prompt_image_tokens": 0,
}


def test_the_xai_sdk_says_what_xai_charges(emitted: Any) -> None:
    read = emitted.span("xai_sdk.sync.chat", {**XAI_CHAT, "gen_ai.usage.cost_in_usd_ticks": 37756000})
    assert (read.dialect, read.provider, read.role) == ("xai_sdk", "xai", Role.LEAF)
    assert read.exact_cost_usd == Decimal("0.0037756")
    assert (read.usage.input_uncached, read.usage.cache_read) == (200, 1000)
    assert (read.usage.output_text, read.usage.reasoning) == (80, 400)


def test_ticks_that_are_no_count_leave_the_rest_of_an_xai_span(emitted: Any) -> None:
    for ticks in ("free", -1, 1.5, None):
        read = emitted.span("xai_sdk.aio.chat", {**XAI_CHAT, "gen_ai.usage.cost_in_usd_ticks": ticks})
        assert read.exact_cost_usd is None
        assert read.usage.input_tokens == 1200


def test_only_model_calls_of_the_xai_sdk_are_calls(emitted: Any) -> None:
    assert emitted.span("xai_sdk.sync.files", {"operation.name": "upload_file", "provider.name": "xai"}) is None
    picture = {"gen_ai.operation.name": "generate_image", "gen_ai.request.model": "grok-imagine-image"}
    read = emitted.span("xai_sdk.sync.image", {**picture, "gen_ai.usage.cost_in_usd_ticks": 200000000})
    assert (read.operation, read.exact_cost_usd) == ("image_generation", Decimal("0.02"))


@pytest.mark.parametrize("kind", [None, "", 7, ["LLM", "LLM"], {"a": 1}, float("nan")])
@pytest.mark.parametrize(
    ("scope", "name", "attributes"),
    [
        (
            "langsmith",
            "langsmith.span.kind",
            {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", **USAGE},
        ),
        (
            "openinference.instrumentation.openai",
            "openinference.span.kind",
            {"llm.model_name": "gpt-4o-mini", "llm.token_count.prompt": 3000, "llm.token_count.completion": 300},
        ),
        (
            "langfuse-sdk",
            "langfuse.observation.type",
            {"langfuse.observation.usage_details": '{"prompt_tokens": 3000, "completion_tokens": 300}'},
        ),
        (
            "mlflow",
            "mlflow.spanType",
            {"mlflow.chat.tokenUsage": '{"input_tokens": 3000, "output_tokens": 300}'},
        ),
    ],
)
def test_a_bad_kind_of_span_loses_no_call(
    scope: str, name: str, attributes: dict[str, Any], kind: Any, emitted: Any
) -> None:
    read = emitted.span(scope, {name: kind, **attributes}, kind=1)
    assert read.role is Role.LEAF
    assert emitted.tokens(read)[::3] == (3000, 300)
