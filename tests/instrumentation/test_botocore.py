"""Amazon Bedrock through botocore: Converse and InvokeModel, whole and streamed, of every model family."""

from __future__ import annotations

import base64
import gc
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_wire import event

session = pytest.importorskip("botocore.session")
import botocore.exceptions as exceptions  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.eventstream import EventStream  # noqa: E402
from botocore.response import StreamingBody  # noqa: E402
from botocore.stub import Stubber  # noqa: E402

from spanledger.instrumentation import label_client  # noqa: E402

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-lite-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "Why is the sky blue?"}]}]
REQUEST_ID = "5f1b7c2e-0000-4000-8000-000000000001"
IDENTITY = {"x-amzn-requestid": REQUEST_ID}

CONVERSE_USAGE = {
    "inputTokens": 300,
    "outputTokens": 120,
    "totalTokens": 2470,
    "cacheReadInputTokens": 2000,
    "cacheWriteInputTokens": 50,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 30}, {"ttl": "5m", "inputTokens": 20}],
}
CLASSES = {
    "input_uncached": 300,
    "cache_read": 2000,
    "cache_write_5m": 20,
    "cache_write_1h": 30,
    "output_text": 120,
}


@pytest.fixture(scope="module")
def aws() -> Any:
    """One session: it reads the service's long description once."""
    return session.Session()


@pytest.fixture
def client(aws: Any, provider: Any) -> Iterator[Any]:
    made = aws.create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=provider.url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=5),
    )
    yield made
    made.close()


def as_parsed(client: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """The usage as this version of the SDK gives it, and its classes: older ones drop the caches' lifetimes."""
    members = client.meta.service_model.shape_for("TokenUsage").members
    if "cacheDetails" in members:
        return CONVERSE_USAGE, CLASSES
    usage = {name: count for name, count in CONVERSE_USAGE.items() if name in members}
    return usage, {**{name: count for name, count in CLASSES.items() if "write" not in name}, "cache_write": 50}


def converse_reply(reply: Any, *content: Any, usage: Any = CONVERSE_USAGE, **changes: Any) -> Any:
    message = {"role": "assistant", "content": list(content) or [{"text": "Rayleigh."}]}
    document = {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": usage,
        "metrics": {"latencyMs": 9},
        **changes,
    }
    return reply(document, headers=IDENTITY)


def chunk(document: Any) -> bytes:
    return event("chunk", {"bytes": base64.b64encode(json.dumps(document).encode()).decode(), "p": "abc"})


def converse_events() -> list[bytes]:
    return [
        event("messageStart", {"role": "assistant"}),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Ray"}}),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "leigh."}}),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": "end_turn"}),
        event("metadata", {"usage": CONVERSE_USAGE, "metrics": {"latencyMs": 9}}),
    ]


def events_reply(reply: Any, events: list[bytes], **options: Any) -> Any:
    return reply(events=events, headers={**IDENTITY, "x-amzn-bedrock-content-type": "application/json"}, **options)


def test_converse(on: Any, client: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(converse_reply(reply))
    model = f"us.{HAIKU}"
    limits = {"maxTokens": 400, "temperature": 0.5, "stopSequences": ["END"]}
    got = client.converse(modelId=model, messages=MESSAGES, inferenceConfig=limits)
    assert got["output"]["message"]["content"][0]["text"] == "Rayleigh."
    usage, classes = as_parsed(client)
    assert got["usage"] == usage
    assert on.span().name == f"chat {model}"
    assert on.usage() == classes
    attributes = on.attributes()
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": 400,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 2350,
        "gen_ai.usage.output_tokens": 120,
        "gen_ai.usage.cache_read.input_tokens": 2000,
        "gen_ai.usage.cache_write.input_tokens": 50,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": provider.port,
        "spanledger.provider": "aws_bedrock",
        "spanledger.request_id": REQUEST_ID,
        "spanledger.sdk": "botocore",
        # a regional profile, 10 % dearer than
        # (300 x 1.00 + 2000 x 0.10 + 20 x 1.25 + 30 x 2.00 + 120 x 5.00) USD a million
        "spanledger.cost.total": "0.0013035" if classes == CLASSES else attributes["spanledger.cost.total"],
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    everything = on.span().to_json()
    for secret in ("AKIATEST", "Rayleigh", "sky"):
        assert secret not in everything


def test_a_converse_stream(on: Any, client: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(events_reply(reply, converse_events()))
    stream = client.converse_stream(modelId=HAIKU, messages=MESSAGES)["stream"]
    assert type(stream) is EventStream
    got = list(stream)
    assert [next(iter(one)) for one in got] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert got[-1]["metadata"]["usage"] == as_parsed(client)[0]
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert attributes["spanledger.request_id"] == REQUEST_ID


def leave(stream: Any) -> None:
    """Break out of a stream and drop it."""
    for one in stream:
        if "contentBlockDelta" in one or "chunk" in one:
            break


def close(stream: Any) -> None:
    leave(stream)
    stream.close()


# A stream that is dropped unread takes its socket with it, with or without us.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", [leave, close])
def test_a_converse_stream_left_early(
    on: Any, client: Any, provider: Any, reply: Any, how: Callable[[Any], None]
) -> None:
    provider.replies.append(events_reply(reply, converse_events(), waits_after=3))
    response = client.converse_stream(modelId=HAIKU, messages=MESSAGES)
    how(response["stream"])
    if how is leave:
        response.clear()
        gc.collect()
    assert on.usage() == {"partial": True}
    assert on.attributes()["spanledger.notes"] == ("stream_ended_early",)
    assert on.span().status.is_unset


def test_a_converse_stream_closed_after_its_usage(on: Any, client: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(events_reply(reply, converse_events()))
    stream = client.converse_stream(modelId=HAIKU, messages=MESSAGES)["stream"]
    for one in stream:
        if "metadata" in one:
            stream.close()
            break
    assert on.usage() == CLASSES


def test_a_broken_stream(on: Any, client: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(events_reply(reply, converse_events()[:3], breaks_off=True))
    stream = client.converse_stream(modelId=HAIKU, messages=MESSAGES)["stream"]
    with pytest.raises(Exception, match=r"IncompleteRead|Connection broken|prematurely") as raised:
        list(stream)
    stream.close()
    assert on.attributes()["error.type"] == type(raised.value).__qualname__
    assert on.usage() == {"partial": True}


def test_an_error_inside_a_stream(on: Any, client: Any, provider: Any, reply: Any) -> None:
    broken = event("throttlingException", {"message": "slow down"}, "exception")
    provider.replies.append(events_reply(reply, [*converse_events()[:2], broken]))
    stream = client.converse_stream(modelId=HAIKU, messages=MESSAGES)["stream"]
    with pytest.raises(exceptions.EventStreamError):
        list(stream)
    stream.close()
    assert on.attributes()["error.type"] == "throttlingException"
    assert on.span().status.status_code.name == "ERROR"
    assert on.usage() == {"partial": True}


@pytest.mark.parametrize("method", ["converse", "converse_stream", "invoke_model"])
def test_an_error(on: Any, client: Any, provider: Any, reply: Any, method: str) -> None:
    headers = {**IDENTITY, "x-amzn-errortype": "ValidationException"}
    provider.replies.append(reply({"message": "bad: Why is the sky blue?"}, status=400, headers=headers))
    asked: dict[str, Any] = {"body": "{}"} if method == "invoke_model" else {"messages": MESSAGES}
    with pytest.raises(client.exceptions.ValidationException) as raised:
        getattr(client, method)(modelId=HAIKU, **asked)
    assert raised.value.response["ResponseMetadata"]["RequestId"] == REQUEST_ID
    attributes = on.attributes()
    assert attributes["error.type"] == "ValidationException"
    assert attributes["http.response.status_code"] == 400
    assert attributes["spanledger.request_id"] == REQUEST_ID
    assert on.span().status.description == "ValidationException"
    assert on.usage() == {}
    assert "sky" not in on.span().to_json()


def test_no_connection(aws: Any, on: Any) -> None:
    made = aws.create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:1",
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 0}),
    )
    with pytest.raises(exceptions.EndpointConnectionError):
        made.converse(modelId=HAIKU, messages=MESSAGES)
    made.close()
    assert on.attributes()["error.type"] == "EndpointConnectionError"


def test_tools(on: Any, client: Any, provider: Any, reply: Any) -> None:
    asked = {"toolUse": {"toolUseId": "t2", "name": "weather", "input": {"city": "Rome"}}}
    provider.replies.append(converse_reply(reply, asked))
    talk = [
        *MESSAGES,
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "weather", "input": {}}}]},
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "no"}], "status": "error"}}],
        },
    ]
    client.converse(modelId=NOVA, messages=talk)
    result, use = json.loads(on.attributes()["spanledger.tool_calls"])
    assert result == {
        "name": "weather",
        "id": "t1",
        "kind": "result",
        "is_error": True,
        "output_bytes": len('[{"text":"no"}]'),
    }
    assert (use["name"], use["id"], use["kind"], use["input_bytes"]) == ("weather", "t2", "use", len('{"city":"Rome"}'))


CLAUDE_USAGE = {
    "input_tokens": 300,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 50,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    "output_tokens": 120,
}
CLAUDE = {
    "id": "msg_bdrk_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": "Rayleigh."}],
    "stop_reason": "end_turn",
    "usage": CLAUDE_USAGE,
}
CHAT_BODY = {"max_tokens": 400, "messages": [{"role": "user", "content": "Why?"}]}
PROMPT_BODY = {"prompt": "Why?", "max_gen_len": 400}
COUNTED = {"x-amzn-bedrock-input-token-count": "11", "x-amzn-bedrock-output-token-count": "22"}
TWO = {"input_uncached": 11, "output_text": 22}

# model, request body, answer, headers, operation, classes, finish reasons
BODIES: dict[str, tuple[str, Any, Any, dict[str, str], str, dict[str, int], tuple[str, ...]]] = {
    "claude": (HAIKU, CHAT_BODY, CLAUDE, COUNTED, "chat", CLASSES, ("end_turn",)),
    "nova": (
        NOVA,
        {"messages": MESSAGES, "inferenceConfig": {"maxTokens": 400}},
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Rayleigh."}]}},
            "stopReason": "end_turn",
            "usage": {
                "inputTokens": 11,
                "outputTokens": 22,
                "totalTokens": 76,
                "cacheReadInputTokenCount": 40,
                "cacheWriteInputTokenCount": 3,
            },
        },
        {},
        "chat",
        {**TWO, "cache_read": 40, "cache_write": 3},
        ("end_turn",),
    ),
    "llama": (
        "us.meta.llama3-3-70b-instruct-v1:0",
        PROMPT_BODY,
        {"generation": "Rayleigh.", "prompt_token_count": 11, "generation_token_count": 22, "stop_reason": "stop"},
        {},
        "text_completion",
        TWO,
        ("stop",),
    ),
    "mistral": (
        "mistral.mistral-7b-instruct-v0:2",
        {"prompt": "Why?", "max_tokens": 400},
        {"outputs": [{"text": "Rayleigh.", "stop_reason": "stop"}]},
        COUNTED,
        "text_completion",
        TWO,
        ("stop",),
    ),
    "mistral chat": (
        "mistral.mistral-large-2407-v1:0",
        CHAT_BODY,
        {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "R"}, "stop_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33},
        },
        {},
        "chat",
        TWO,
        ("stop",),
    ),
    "cohere": (
        "cohere.command-r-v1:0",
        {"message": "Why?", "max_tokens": 400},
        {"generation_id": "g1", "text": "Rayleigh.", "finish_reason": "COMPLETE"},
        COUNTED,
        "chat",
        TWO,
        ("COMPLETE",),
    ),
    "titan": (
        "amazon.titan-text-express-v1",
        {"inputText": "Why?", "textGenerationConfig": {"maxTokenCount": 400}},
        {
            "inputTextTokenCount": 11,
            "results": [{"tokenCount": 22, "outputText": "Rayleigh.", "completionReason": "FINISH"}],
        },
        {},
        "text_completion",
        TWO,
        ("FINISH",),
    ),
    "titan embeddings": (
        "amazon.titan-embed-text-v2:0",
        {"inputText": "sky", "max_tokens": 400},
        {"embedding": [0.1, 0.2], "inputTextTokenCount": 11},
        {},
        "embeddings",
        {"input_uncached": 11},
        (),
    ),
    "cache headers alone": (
        "example.unheard-of-v1",
        {"prompt": "Why?", "max_tokens": 400},
        {"text": "Rayleigh."},
        {
            **COUNTED,
            "x-amzn-bedrock-cache-read-input-token-count": "40",
            "x-amzn-bedrock-cache-write-input-token-count": "3",
        },
        "text_completion",
        {**TWO, "cache_read": 40, "cache_write": 3},
        (),
    ),
}


def whole(body: Any) -> bytes:
    return body.read()


def pieces(body: Any) -> bytes:
    return b"".join(body.iter_chunks(7))


def lines(body: Any) -> bytes:
    return b"\n".join(body.iter_lines())


def into(body: Any) -> bytes:
    found = bytearray()
    buffer = bytearray(16)
    while count := body.readinto(buffer):
        found += buffer[:count]
    return bytes(found)


def entered(body: Any) -> bytes:
    with body as raw:
        return raw.read()


@pytest.mark.parametrize("case", BODIES)
def test_invoke_model(on: Any, client: Any, provider: Any, reply: Any, case: str) -> None:
    model, asked, answer, headers, operation, classes, reasons = BODIES[case]
    provider.replies.append(reply(answer, headers={**IDENTITY, **headers}))
    got = client.invoke_model(modelId=model, body=json.dumps(asked))
    assert type(got["body"]) is StreamingBody
    assert json.loads(got["body"].read()) == answer
    assert got["body"].read() == b""
    assert on.span().name == f"{operation} {model}"
    assert on.usage() == classes
    attributes = on.attributes()
    assert attributes.get("gen_ai.response.finish_reasons", ()) == reasons
    assert attributes["gen_ai.request.max_tokens"] == 400
    assert attributes["spanledger.provider"] == "aws_bedrock"
    assert attributes["spanledger.request_id"] == REQUEST_ID
    if case == "claude":
        assert attributes["gen_ai.response.id"] == "msg_bdrk_1"
        assert attributes["gen_ai.response.model"] == "claude-haiku-4-5-20251001"


@pytest.mark.parametrize("read", [whole, pieces, lines, into, entered])
def test_a_body_is_read_as_ever(on: Any, client: Any, provider: Any, reply: Any, read: Callable[[Any], bytes]) -> None:
    provider.replies.append(reply(CLAUDE))
    body = client.invoke_model(modelId=HAIKU, body=json.dumps(CHAT_BODY).encode())["body"]
    assert json.loads(read(body)) == CLAUDE
    assert on.usage() == CLASSES
    assert on.span().status.is_unset


def test_a_body_that_nobody_reads(on: Any, client: Any, provider: Any, reply: Any) -> None:
    """Bedrock's headers say what is billed."""
    provider.replies.append(reply(CLAUDE, headers=COUNTED))
    got = client.invoke_model(modelId=HAIKU, body=json.dumps(CHAT_BODY))
    got["body"].close()
    assert on.usage() == TWO
    assert on.attributes()["spanledger.notes"] == ("body_not_read",)


def test_a_stubbed_client(on: Any, client: Any) -> None:
    body = json.dumps(CLAUDE).encode()
    with Stubber(client) as stubber:
        stubbed = {"body": StreamingBody(io.BytesIO(body), len(body)), "contentType": "application/json"}
        stubber.add_response("invoke_model", stubbed)
        got = client.invoke_model(modelId=HAIKU, body="{}")
        assert got["body"].read() == body
    assert on.span().name == f"chat {HAIKU}"
    assert on.usage() == CLASSES


METRICS = {
    "inputTokenCount": 11,
    "outputTokenCount": 22,
    "cacheReadInputTokenCount": 40,
    "invocationLatency": 9,
    "firstByteLatency": 3,
}
CLAUDE_EVENTS = [
    {"type": "message_start", "message": {**CLAUDE, "content": [], "usage": {**CLAUDE_USAGE, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Rayleigh."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 120}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 300, "outputTokenCount": 120}},
]
CHUNKS: dict[str, tuple[str, list[Any], dict[str, int], tuple[str, ...]]] = {
    "claude": (HAIKU, CLAUDE_EVENTS, CLASSES, ("end_turn",)),
    "nova": (
        NOVA,
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"delta": {"text": "Rayleigh."}, "contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "end_turn"}},
            {
                "metadata": {"usage": {"inputTokens": 11, "outputTokens": 22, "cacheReadInputTokenCount": 40}},
                "amazon-bedrock-invocationMetrics": METRICS,
            },
        ],
        {**TWO, "cache_read": 40},
        ("end_turn",),
    ),
    "llama": (
        "meta.llama3-8b-instruct-v1:0",
        [
            {"generation": "Ray", "prompt_token_count": 11, "generation_token_count": 1, "stop_reason": None},
            {
                "generation": "leigh.",
                "prompt_token_count": None,
                "generation_token_count": 22,
                "stop_reason": "stop",
                "amazon-bedrock-invocationMetrics": METRICS,
            },
        ],
        {**TWO, "cache_read": 40},
        ("stop",),
    ),
    "cohere": (
        "cohere.command-r-v1:0",
        [
            {"event_type": "text-generation", "text": "Rayleigh."},
            {"event_type": "stream-end", "finish_reason": "COMPLETE", "amazon-bedrock-invocationMetrics": METRICS},
        ],
        {**TWO, "cache_read": 40},
        ("COMPLETE",),
    ),
    "titan": (
        "amazon.titan-text-express-v1",
        [
            {
                "outputText": "Rayleigh.",
                "index": 0,
                "totalOutputTextTokenCount": 22,
                "completionReason": "FINISH",
                "inputTextTokenCount": 11,
            }
        ],
        TWO,
        ("FINISH",),
    ),
}


@pytest.mark.parametrize("case", CHUNKS)
def test_invoke_model_with_a_stream(on: Any, client: Any, provider: Any, reply: Any, case: str) -> None:
    model, chunks, classes, reasons = CHUNKS[case]
    provider.replies.append(events_reply(reply, [chunk(one) for one in chunks]))
    stream = client.invoke_model_with_response_stream(modelId=model, body=json.dumps(CHAT_BODY))["body"]
    assert [json.loads(one["chunk"]["bytes"]) for one in stream] == chunks
    assert on.usage() == classes
    assert on.attributes()["gen_ai.response.finish_reasons"] == reasons
    assert on.attributes()["gen_ai.request.stream"] is True


def test_a_stream_of_chunks_left_early_invents_no_output(on: Any, client: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(events_reply(reply, [chunk(one) for one in CLAUDE_EVENTS], waits_after=3))
    stream = client.invoke_model_with_response_stream(modelId=HAIKU, body=json.dumps(CHAT_BODY))["body"]
    close(stream)
    assert on.usage() == {**{name: CLASSES[name] for name in CLASSES if name != "output_text"}, "partial": True}


@pytest.mark.parametrize(
    "model",
    [
        f"us.{HAIKU}",
        f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{HAIKU}",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456",
    ],
)
def test_profiles_and_arns_are_the_request_model(on: Any, client: Any, provider: Any, reply: Any, model: str) -> None:
    provider.replies.append(reply(CLAUDE))
    client.invoke_model(modelId=model, body=json.dumps(CHAT_BODY))["body"].read()
    attributes = on.attributes()
    assert attributes["gen_ai.request.model"] == model
    assert attributes["spanledger.provider"] == "aws_bedrock"
    # the profile is the product: an application profile says nothing of its rates
    known = None if "application" in model else "0.0013035"
    assert attributes.get("spanledger.cost.total") == known


@pytest.mark.parametrize(
    ("changes", "tier"),
    [({"serviceTier": {"type": "flex"}}, "flex"), ({"performanceConfig": {"latency": "optimized"}}, "performance")],
)
def test_the_tier_that_served(on: Any, client: Any, provider: Any, reply: Any, changes: Any, tier: str) -> None:
    members = client.meta.service_model.operation_model("Converse").output_shape.members
    if next(iter(changes)) not in members:
        pytest.skip("this version of the SDK does not know the tier")
    provider.replies.append(converse_reply(reply, **changes))
    client.converse(modelId=NOVA, messages=MESSAGES)
    assert on.attributes()["spanledger.service_tier"] == tier


def test_a_retried_request_is_one_span(on: Any, provider: Any, reply: Any, client: Any) -> None:
    client.meta.events.register(
        "needs-retry.bedrock-runtime.Converse", lambda attempts, **_: 0 if attempts == 1 else None
    )
    provider.replies += [
        reply(
            {"message": "slow down"},
            status=429,
            headers={"x-amzn-errortype": "ThrottlingException", "x-amzn-requestid": "r1"},
        ),
        converse_reply(reply),
    ]
    client.converse(modelId=NOVA, messages=MESSAGES)
    assert len(provider.requests) == 2
    assert on.attributes()["http.request.resend_count"] == 1
    assert on.usage() == as_parsed(client)[1]
    (event,) = on.span().events
    assert event.name == "spanledger.failed_attempt"
    assert event.attributes == {
        "error.type": "ThrottlingException",
        "http.response.status_code": 429,
        "spanledger.request_id": "r1",
    }


def test_an_attempt_that_nobody_answered(on: Any, provider: Any, reply: Any, client: Any) -> None:
    client.meta.events.register(
        "needs-retry.bedrock-runtime.Converse", lambda attempts, **_: 0 if attempts == 1 else None
    )
    provider.replies += [reply(cuts=True), converse_reply(reply)]
    client.converse(modelId=NOVA, messages=MESSAGES)
    (event,) = on.span().events
    assert event.attributes == {"error.type": "ConnectionClosedError"}
    assert on.usage() == as_parsed(client)[1]


def test_other_services_and_operations_make_no_span(aws: Any, on: Any, provider: Any, reply: Any, client: Any) -> None:
    provider.replies += [reply({"action": "NONE", "usage": {}, "outputs": [], "assessments": []}), reply({})]
    client.apply_guardrail(guardrailIdentifier="g1", guardrailVersion="1", source="INPUT", content=[])
    other = aws.create_client(
        "bedrock",
        region_name="us-east-1",
        endpoint_url=provider.url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
    )
    other.list_foundation_models()
    other.close()
    assert on.spans() == []


def test_labels_of_a_client(on: Any, provider: Any, reply: Any, client: Any) -> None:
    provider.replies.append(converse_reply(reply))
    label_client(client, team_id="search").converse(modelId=NOVA, messages=MESSAGES)
    assert on.attributes()["spanledger.team_id"] == "search"


def test_content_is_captured_under_the_switch(switch_on: Any, client: Any, provider: Any, reply: Any) -> None:
    on = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    provider.replies.append(events_reply(reply, converse_events()))
    list(client.converse_stream(modelId=NOVA, messages=MESSAGES)["stream"])
    attributes = on.attributes()
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Why is the sky blue?"}]}
    ]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Rayleigh."}], "finish_reason": "end_turn"}
    ]


def test_boto3(on: Any, provider: Any, reply: Any) -> None:
    boto3 = pytest.importorskip("boto3")
    made = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=provider.url,
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
    )
    provider.replies.append(converse_reply(reply))
    made.converse(modelId=NOVA, messages=MESSAGES)
    assert on.usage() == as_parsed(made)[1]
    made.close()


ROUTER = "arn:aws:bedrock:us-east-1:123456789012:default-prompt-router/anthropic.claude:1"
CHOSEN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0"


def test_the_model_that_a_prompt_router_chose(on: Any, provider: Any, reply: Any, client: Any) -> None:
    provider.replies.append(converse_reply(reply, trace={"promptRouter": {"invokedModelId": CHOSEN}}))
    client.converse(modelId=ROUTER, messages=MESSAGES)
    attributes = on.attributes()
    assert attributes["gen_ai.request.model"] == ROUTER
    assert attributes["gen_ai.response.model"] == CHOSEN
    assert float(attributes["spanledger.cost.total"]) > 0


@pytest.mark.parametrize(
    ("model", "document", "name", "usage"),
    [
        ("amazon.nova-canvas-v1:0", {"images": ["AA==", "AA=="]}, "image_generation", {"count.images": 2}),
        (
            "stability.stable-image-core-v1:1",
            {"images": ["AA=="], "seeds": [1]},
            "image_generation",
            {"count.images": 1},
        ),
        ("cohere.rerank-v3-5:0", {"results": [{"index": 0, "relevance_score": 0.9}]}, "rerank", {}),
    ],
)
def test_bodies_that_are_no_text(
    on: Any, provider: Any, reply: Any, client: Any, model: str, document: Any, name: str, usage: Any
) -> None:
    provider.replies.append(reply(document))
    client.invoke_model(modelId=model, body=json.dumps({"prompt": "a blue sky"}))["body"].read()
    assert on.span().name == f"{name} {model}"
    assert on.usage() == usage
    assert "sky" not in on.span().to_json()
