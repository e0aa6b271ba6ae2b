"""Anthropic messages: direct, streamed, beta, on other platforms, and the SDK's own span."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from llm_wire import MESSAGE_CLASSES, MESSAGE_USAGE, MESSAGES, message, message_events

anthropic = pytest.importorskip("anthropic")

# An SDK stream that is dropped unread is a reference cycle: its socket may be collected before its generator closes it.
drops_a_socket = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
REQUEST: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 400, "messages": MESSAGES}


def test_a_message(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    headers = {
        "request-id": "req_1",
        "anthropic-organization-id": "org-1",
        "anthropic-workspace-id": "wrkspc_1",
    }
    provider.replies.append(reply(message(), headers=headers))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    style.call(lambda: client.messages.create(**REQUEST, stop_sequences=["END"]))
    assert on.span().name == "chat claude-haiku-4-5"
    assert on.usage() == MESSAGE_CLASSES
    attributes = on.attributes()
    wanted = {
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.max_tokens": 400,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "msg_1",
        "gen_ai.response.model": "claude-haiku-4-5-20251001",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 2350,
        "gen_ai.usage.output_tokens": 120,
        "gen_ai.usage.cache_read.input_tokens": 2000,
        "gen_ai.usage.cache_creation.input_tokens": 50,
        "gen_ai.usage.cache_write.input_tokens": 50,
        "spanledger.request_id": "req_1",
        "spanledger.organization": "org-1",
        "spanledger.workspace": "wrkspc_1",
        "spanledger.service_tier": "standard",
        # 300 x 1.00 + 2000 x 0.10 + 20 x 1.25 + 30 x 2.00 + 120 x 5.00 USD a million
        "spanledger.cost.total": "0.001185",
    }
    assert {name: attributes.get(name) for name in wanted} == wanted


def test_a_stream(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=message_events()))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    events = style.chunks(lambda: client.messages.create(**REQUEST, stream=True))
    assert [event.type for event in events][-1] == "message_stop"
    assert on.usage() == MESSAGE_CLASSES
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert on.attributes()["gen_ai.response.time_to_first_chunk"] > 0


def test_the_last_usage_that_is_not_null_wins(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    usage = {"input_tokens": 310, "cache_read_input_tokens": None, "output_tokens": 7}
    provider.replies.append(reply(events=message_events(usage=usage)))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    style.chunks(lambda: client.messages.create(**REQUEST, stream=True))
    assert on.usage() == {**MESSAGE_CLASSES, "input_uncached": 310, "output_text": 7}


@drops_a_socket
def test_a_stream_left_early_invents_no_output(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    """``message_start`` says ``output_tokens: 1``, which is a placeholder."""
    provider.replies.append(reply(events=message_events(), waits_after=5))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    style.chunks(lambda: client.messages.create(**REQUEST, stream=True), 2)
    gc.collect()
    classes = {name: count for name, count in MESSAGE_CLASSES.items() if name != "output_text"}
    assert on.usage() == {**classes, "partial": True}
    assert "gen_ai.usage.output_tokens" not in on.attributes()


def test_an_error_inside_the_stream(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    broken = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    provider.replies.append(reply(events=[*message_events()[:4], broken]))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    with pytest.raises(anthropic.APIStatusError):
        style.chunks(lambda: client.messages.create(**REQUEST, stream=True))
    assert on.span().status.status_code.name == "ERROR"
    assert on.usage()["partial"] is True


def read_helper(client: Any, style: Any, **request: Any) -> Any:
    if style.is_async:

        async def read() -> Any:
            async with client.messages.stream(**{**REQUEST, **request}) as opened:
                return await opened.get_final_message()

        return asyncio.run(read())
    with client.messages.stream(**{**REQUEST, **request}) as opened:
        return opened.get_final_message()


def test_the_stream_helper(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=message_events()))
    final = read_helper(clients.anthropic(f"{style.prefix}Anthropic"), style)
    assert final.content[0].text == "Rayleigh"
    assert on.usage() == MESSAGE_CLASSES


@drops_a_socket
def test_the_stream_helper_left_early(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=message_events(), waits_after=5))
    with clients.anthropic().messages.stream(**REQUEST) as opened:
        for _ in opened.text_stream:
            break
    assert on.usage()["partial"] is True
    del opened
    gc.collect()
    assert len(on.spans()) == 1


def test_beta_messages(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    iterations = [
        {"type": "message", "input_tokens": 300, "output_tokens": 120},
        {"type": "compaction", "input_tokens": 7, "output_tokens": 9, "cache_read_input_tokens": 0},
    ]
    provider.replies.append(reply(message(usage={**MESSAGE_USAGE, "iterations": iterations})))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    beta = client.beta.messages
    style.call(lambda: beta.create(**REQUEST, betas=["context-management-2025-06-27"]))
    assert provider.requests[0].headers["anthropic-beta"] == "context-management-2025-06-27"
    assert on.usage() == {**MESSAGE_CLASSES, "input_uncached": 307, "output_text": 129}, "compaction is billed too"


def test_thinking_searches_and_fast_mode(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    usage = {
        **MESSAGE_USAGE,
        "output_tokens_details": {"thinking_tokens": 100},
        "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1},
        "speed": "fast",
        "inference_geo": "us",
    }
    provider.replies.append(reply(message(usage=usage)))
    clients.anthropic().messages.create(**REQUEST)
    counts = {"count.web_searches": 3, "count.web_fetches": 1}
    assert on.usage() == {**MESSAGE_CLASSES, "output_text": 20, "reasoning": 100, **counts}
    assert on.attributes()["spanledger.service_tier"] == "fast"
    assert on.attributes()["spanledger.inference_geo"] == "us"
    assert "spanledger.notes" not in on.attributes()


@pytest.mark.parametrize(("told", "cost"), [("us", "0.0022"), ("global", "0.002"), ("not_available", "0.002")])
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_inference_kept_to_a_place(
    on: Any, clients: Any, provider: Any, reply: Any, told: str, cost: str, streams: bool
) -> None:
    usage = {"input_tokens": 100, "output_tokens": 60, "inference_geo": told}
    request = {**REQUEST, "model": "claude-opus-5"}
    if streams:
        events = message_events(usage={"output_tokens": 60})
        events[0]["message"] |= {"model": "claude-opus-5", "usage": {**usage, "output_tokens": 1}}
        provider.replies.append(reply(events=events))
        list(clients.anthropic().messages.create(**request, stream=True))
    else:
        provider.replies.append(reply(message(usage=usage, model="claude-opus-5")))
        clients.anthropic().messages.create(**request)
    # (100 x 5 + 60 x 25) USD a million, and a tenth more in the United States
    assert on.attributes()["spanledger.cost.total"] == cost
    assert on.attributes()["spanledger.cost.status"] == "list"
    assert on.attributes().get("spanledger.inference_geo") == (None if told == "not_available" else told)


def test_tools(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    block = {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Lyon"}}
    provider.replies.append(reply(message(content=[block], stop_reason="tool_use")))
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "no such city", "is_error": True}],
        },
    ]
    client = clients.anthropic(f"{style.prefix}Anthropic")
    style.call(lambda: client.messages.create(**{**REQUEST, "messages": messages}))
    assert json.loads(on.attributes()["spanledger.tool_calls"]) == [
        {"name": "weather", "id": "toolu_1", "kind": "result", "is_error": True, "output_bytes": 12},
        {"name": "weather", "id": "toolu_2", "kind": "use", "input_bytes": 15},
    ]


def test_tools_of_a_stream(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    events = message_events(stop_reason="tool_use")
    events[1]["content_block"] = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    events[3]["delta"] = {"type": "input_json_delta", "partial_json": '{"city":'}
    events[4]["delta"] = {"type": "input_json_delta", "partial_json": '"Lyon"}'}
    provider.replies.append(reply(events=events))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    style.chunks(lambda: client.messages.create(**REQUEST, stream=True))
    assert json.loads(on.attributes()["spanledger.tool_calls"]) == [
        {"name": "weather", "id": "toolu_1", "kind": "use", "input_bytes": 15}
    ]


def test_content_of_a_stream(switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_and_event"})
    provider.replies.append(reply(events=message_events()))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    style.chunks(lambda: client.messages.create(**REQUEST, system="Be brief.", stream=True))
    attributes = telemetry.attributes()
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Rayleigh"}], "finish_reason": "end_turn"}
    ]


def test_counting_tokens_is_not_billed(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    client = clients.anthropic(f"{style.prefix}Anthropic")
    if not hasattr(client.messages, "count_tokens"):
        pytest.skip("this SDK cannot count tokens")
    provider.replies.append(reply({"input_tokens": 9}))
    style.call(lambda: client.messages.count_tokens(model="claude-haiku-4-5", messages=MESSAGES))
    assert on.spans() == []


def test_an_http_error(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    provider.replies.append(reply(error, status=401, headers={"request-id": "req_9"}))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    with pytest.raises(anthropic.AuthenticationError):
        style.call(lambda: client.messages.create(**REQUEST))
    attributes = on.attributes()
    assert attributes["error.type"] == "AuthenticationError"
    assert attributes["http.response.status_code"] == 401
    assert attributes["spanledger.request_id"] == "req_9"


@pytest.mark.parametrize(
    ("cls", "options", "billed_by", "otel_name", "host"),
    [
        (
            "AnthropicBedrock",
            {"aws_region": "us-east-1", "api_key": "bedrock-key"},
            "aws_bedrock",
            "aws.bedrock",
            "bedrock-runtime.us-east-1.amazonaws.com",
        ),
        (
            "AnthropicVertex",
            {"region": "us-east5", "project_id": "p", "access_token": "t"},
            "google_vertex",
            "gcp.vertex_ai",
            "us-east5-aiplatform.googleapis.com",
        ),
    ],
)
def test_other_platforms_bill(
    on: Any, clients: Any, provider: Any, reply: Any, cls: str, options: Any, billed_by: str, otel_name: str, host: str
) -> None:
    try:
        client = clients.anthropic(cls, **options)
        provider.replies.append(reply(message()))
        client.messages.create(**{**REQUEST, "model": "anthropic.claude-haiku-4-5-20251001-v1:0"})
    except (ImportError, RuntimeError, TypeError) as error:
        provider.replies.clear()
        pytest.skip(f"needs a cloud library or a newer SDK: {error}")
    attributes = on.attributes()
    assert attributes["spanledger.provider"] == billed_by
    assert attributes["gen_ai.provider.name"] == otel_name
    assert attributes["server.address"] == host
    assert attributes["gen_ai.request.model"] == "anthropic.claude-haiku-4-5-20251001-v1:0"
    assert on.usage() == MESSAGE_CLASSES


traces_itself = pytest.mark.skipif(
    not hasattr(anthropic.Anthropic, "open_telemetry"), reason="this SDK makes no spans of its own"
)


@traces_itself
@pytest.mark.parametrize("streams", [False, True], ids=["direct", "stream"])
def test_one_span_where_the_sdk_makes_one_too(
    on: Any, clients: Any, style: Any, provider: Any, reply: Any, streams: bool
) -> None:
    """The SDK traces itself into any tracer provider; switched off, it does again."""
    from spanledger import instrumentation

    own = {"open_telemetry": {"tracer_provider": on.tracer_provider}}
    client = clients.anthropic(f"{style.prefix}Anthropic", **own)

    def ask() -> None:
        provider.replies.append(reply(events=message_events()) if streams else reply(message()))
        if streams:
            style.chunks(lambda: client.messages.create(**REQUEST, stream=True))
        else:
            style.call(lambda: client.messages.create(**REQUEST))

    ask()
    assert [span.name for span in on.spans()] == ["chat claude-haiku-4-5"]
    ours = on.spans()[0].get_span_context()
    trace_header = f"00-{ours.trace_id:032x}-{ours.span_id:016x}-{ours.trace_flags:02x}"
    assert provider.requests[0].headers["traceparent"] == trace_header
    instrumentation.uninstrument()
    ask()
    assert [span.name for span in on.spans()] == ["chat claude-haiku-4-5", "anthropic.messages.create"]


@traces_itself
def test_no_trace_headers_where_the_sdk_would_send_none(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(message()))
    clients.anthropic(open_telemetry=False).messages.create(**REQUEST)
    assert "traceparent" not in provider.requests[0].headers


def test_retries_are_one_call(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies += [
        reply({"type": "error"}, status=529, headers={"retry-after-ms": "1", "request-id": "req_1"}),
        reply(cuts=True),
        reply(message()),
    ]
    client = clients.anthropic(f"{style.prefix}Anthropic", max_retries=2)
    style.call(lambda: client.messages.create(**REQUEST))
    assert on.attributes()["http.request.resend_count"] == 2
    refused, unanswered = (event.attributes for event in on.span().events)
    assert refused == {"error.type": "529", "http.response.status_code": 529, "spanledger.request_id": "req_1"}
    # newer versions wrap what the HTTP library raised at once
    assert unanswered in ({"error.type": "RemoteProtocolError"}, {"error.type": "APIConnectionError"})


@pytest.mark.parametrize("captures", ["true", "false"])
def test_tools_whose_arguments_come_at_the_same_time(
    switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any, captures: str
) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": captures})
    started, *_, delta, stop = message_events()

    def tool(index: int) -> dict[str, Any]:
        block = {"type": "tool_use", "id": f"t{index}", "name": f"tool{index}", "input": {}}
        return {"type": "content_block_start", "index": index, "content_block": block}

    def piece(index: int, added: str) -> dict[str, Any]:
        delta = {"type": "input_json_delta", "partial_json": added}
        return {"type": "content_block_delta", "index": index, "delta": delta}

    ends = [{"type": "content_block_stop", "index": index} for index in range(2)]
    pieces = [piece(0, '{"a":'), piece(1, "{}"), piece(0, "1}")]
    provider.replies.append(reply(events=[started, tool(0), tool(1), *pieces, *ends, delta, stop]))
    client = clients.anthropic(f"{style.prefix}Anthropic")
    style.chunks(lambda: client.messages.create(**REQUEST, stream=True))
    found = json.loads(telemetry.attributes()["spanledger.tool_calls"])
    assert [(one["name"], one["input_bytes"]) for one in found] == [("tool0", 7), ("tool1", 2)]
    asked = ['{"a":1}', "{}"] if captures == "true" else [None, None]
    assert [one.get("input") for one in found] == asked


def test_what_the_provider_fetched(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    used = {"web_search_requests": 3, "web_fetch_requests": 2}
    provider.replies.append(reply(message(usage={"input_tokens": 10, "output_tokens": 5, "server_tool_use": used})))
    clients.anthropic().messages.create(**REQUEST)
    assert on.usage() == {"input_uncached": 10, "output_text": 5, "count.web_searches": 3, "count.web_fetches": 2}
    # 10 x 1 + 5 x 5 USD a million, and 3 searches x 10 USD a thousand
    assert on.attributes()["spanledger.cost.total"] == "0.030035"


@pytest.mark.parametrize(
    ("kind", "note", "count", "reason", "low"),
    [
        ("advisor_message", "advisor_not_counted", "advisor_messages", "no_rate", None),
        ("fallback_message", "fallback_model:claude-opus-4-5", "fallback_messages", "other_model", "0"),
    ],
)
def test_what_other_models_cost_is_open(
    on: Any, clients: Any, provider: Any, reply: Any, kind: str, note: str, count: str, reason: str, low: str | None
) -> None:
    told = {"input_tokens": 5, "output_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    iterations = [{"type": "message", **told}, {"type": kind, "model": "claude-opus-4-5", **told}]
    provider.replies.append(reply(message(usage={**MESSAGE_USAGE, "iterations": iterations})))
    clients.anthropic().beta.messages.create(**REQUEST)
    assert on.usage() == {**MESSAGE_CLASSES, f"count.{count}": 1}
    attributes = on.attributes()
    assert attributes["spanledger.notes"] == (note,)
    assert (attributes["spanledger.cost.status"], attributes["spanledger.cost.reason"]) == ("bounded", reason)
    assert "spanledger.cost.high" not in attributes
    assert attributes["spanledger.cost.low"] == (low or attributes["spanledger.cost.total"])
