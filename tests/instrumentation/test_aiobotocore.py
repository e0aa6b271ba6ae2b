"""Amazon Bedrock through aiobotocore: what is awaited is read as botocore's is."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aws_wire import event

pytest.importorskip("aiobotocore")
import aiobotocore.session
from aiobotocore.config import AioConfig
from aiobotocore.eventstream import AioEventStream
from aiobotocore.response import StreamingBody

from spanledger.instrumentation import label_client

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "Why is the sky blue?"}]}]
REQUEST_ID = "5f1b7c2e-0000-4000-8000-000000000001"
IDENTITY = {"x-amzn-requestid": REQUEST_ID}
USAGE = {"inputTokens": 300, "outputTokens": 120, "totalTokens": 420}
CLASSES = {"input_uncached": 300, "output_text": 120}
COST = "0.00099"  # regional, 10 % dearer than 300 x 1.00 + 120 x 5.00 USD a million
BODY = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "Rayleigh."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 300, "output_tokens": 120},
}
drops_a_socket = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def backends() -> list[Any]:
    found: list[Any] = [pytest.param(None, id="aiohttp")]
    try:
        import httpx  # noqa: F401
        from aiobotocore.httpxsession import HttpxSession
        from aiobotocore.response import AioHttpxStreamingBody  # noqa: F401 - earlier ones could not read bodies
    except ImportError:
        return found
    return [*found, pytest.param(HttpxSession, id="httpx")]


@pytest.fixture(scope="module")
def aws() -> Any:
    """One session: it reads the service's long description once."""
    return aiobotocore.session.get_session()


Do = Callable[[Any], Awaitable[Any]]


@pytest.fixture
def run(aws: Any, provider: Any) -> Callable[..., Any]:
    """``run(do, http=...)`` awaits ``do(client)`` in a loop of its own."""

    def running(do: Do, http: Any = None) -> Any:
        async def main() -> Any:
            own = {} if http is None else {"http_session_cls": http}
            config = AioConfig(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=5, **own)
            async with aws.create_client(
                "bedrock-runtime",
                region_name="us-east-1",
                endpoint_url=provider.url,
                aws_access_key_id="AKIATEST",
                aws_secret_access_key="secret",
                config=config,
            ) as client:
                return await do(client)

        return asyncio.run(main())

    return running


def converse_events() -> list[bytes]:
    return [
        event("messageStart", {"role": "assistant"}),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Rayleigh."}}),
        event("messageStop", {"stopReason": "end_turn"}),
        event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 9}}),
    ]


def chunk(document: Any) -> bytes:
    return event("chunk", {"bytes": base64.b64encode(json.dumps(document).encode()).decode(), "p": "abc"})


def chunks() -> list[bytes]:
    start = {**BODY, "content": [], "stop_reason": None, "usage": {"input_tokens": 300, "output_tokens": 1}}
    return [
        chunk({"type": "message_start", "message": start}),
        chunk({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Rayleigh."}}),
        chunk({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 120}}),
        chunk({"type": "message_stop"}),
    ]


def events_reply(reply: Any, events: list[bytes], **options: Any) -> Any:
    return reply(events=events, headers=IDENTITY, **options)


async def converse(client: Any, **changes: Any) -> Any:
    return await client.converse(modelId=HAIKU, messages=MESSAGES, **changes)


async def converse_stream(client: Any) -> Any:
    return (await client.converse_stream(modelId=HAIKU, messages=MESSAGES))["stream"]


def test_converse(on: Any, run: Any, provider: Any, reply: Any) -> None:
    message = {"role": "assistant", "content": [{"text": "Rayleigh."}]}
    document = {"output": {"message": message}, "stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 9}}
    provider.replies.append(reply(document, headers=IDENTITY))
    got = run(lambda client: converse(client, inferenceConfig={"maxTokens": 400}))
    assert got["output"]["message"]["content"][0]["text"] == "Rayleigh."
    assert on.span().name == f"chat {HAIKU}"
    assert on.usage() == CLASSES
    attributes = on.attributes()
    wanted = {
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.max_tokens": 400,
        "gen_ai.response.finish_reasons": ("end_turn",),
        "http.response.status_code": 200,
        "server.port": provider.port,
        "spanledger.request_id": REQUEST_ID,
        "spanledger.sdk": "aiobotocore",
        "spanledger.sdk.version": aiobotocore.__version__,
        "spanledger.cost.total": COST,
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert attributes["spanledger.api_key_fingerprint"]
    for secret in ("AKIATEST", "Rayleigh", "sky"):
        assert secret not in on.span().to_json()


def test_a_stream(on: Any, run: Any, provider: Any, reply: Any) -> None:
    async def read(client: Any) -> list[Any]:
        stream = await converse_stream(client)
        assert type(stream) is AioEventStream
        return [one async for one in stream]

    provider.replies.append(events_reply(reply, converse_events()))
    assert [next(iter(one)) for one in run(read)] == [
        "messageStart",
        "contentBlockDelta",
        "messageStop",
        "metadata",
    ]
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert attributes["spanledger.cost.total"] == COST


def test_a_stream_of_chunks(on: Any, run: Any, provider: Any, reply: Any) -> None:
    async def read(client: Any) -> int:
        got = await client.invoke_model_with_response_stream(modelId=HAIKU, body='{"messages": []}')
        return len([one async for one in got["body"]])

    provider.replies.append(events_reply(reply, chunks()))
    assert run(read) == 4
    assert on.usage() == CLASSES
    assert on.attributes()["gen_ai.response.id"] == "msg_1"


@drops_a_socket
@pytest.mark.parametrize("is_closed", [False, True])
def test_a_stream_left_early(on: Any, run: Any, provider: Any, reply: Any, is_closed: bool) -> None:
    async def leave(client: Any) -> None:
        stream = await converse_stream(client)
        async for _ in stream:
            break
        if is_closed:
            stream.close()
        else:
            del stream, _
            gc.collect()

    provider.replies.append(events_reply(reply, converse_events(), waits_after=2))
    run(leave)
    gc.collect()
    assert on.usage() == {"partial": True}
    assert on.attributes()["spanledger.notes"] == ("stream_ended_early",)
    assert on.span().status.is_unset


def test_a_broken_stream(on: Any, run: Any, provider: Any, reply: Any) -> None:
    async def read(client: Any) -> None:
        async for _ in await converse_stream(client):
            pass

    provider.replies.append(events_reply(reply, converse_events()[:2], breaks_off=True))
    with pytest.raises(Exception, match=r"[Pp]ayload|incomplete|closed") as raised:
        run(read)
    assert on.attributes()["error.type"] == type(raised.value).__qualname__
    assert on.usage() == {"partial": True}


@drops_a_socket
def test_an_error_inside_a_stream(on: Any, run: Any, provider: Any, reply: Any) -> None:
    from botocore.exceptions import EventStreamError

    async def read(client: Any) -> None:
        async for _ in await converse_stream(client):
            pass

    broken = event("throttlingException", {"message": "slow down"}, "exception")
    provider.replies.append(events_reply(reply, [*converse_events()[:2], broken]))
    with pytest.raises(EventStreamError):
        run(read)
    gc.collect()
    assert on.attributes()["error.type"] == "throttlingException"
    assert on.usage() == {"partial": True}


@drops_a_socket
def test_a_cancelled_stream(on: Any, run: Any, provider: Any, reply: Any) -> None:
    async def cancel(client: Any) -> None:
        got_one = asyncio.Event()

        async def read() -> None:
            async for _ in await converse_stream(client):
                got_one.set()

        reading = asyncio.create_task(read())
        await got_one.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    provider.replies.append(events_reply(reply, converse_events(), waits_after=1))
    run(cancel)
    gc.collect()
    assert on.attributes()["error.type"] == "CancelledError"
    assert on.usage() == {"partial": True}


async def whole(body: Any) -> bytes:
    read: bytes = await body.read()
    return read


async def pieces(body: Any) -> bytes:
    return b"".join([piece async for piece in body.iter_chunks(7)])


async def exactly(body: Any) -> bytes:
    """Not asking once more for what is not there."""
    read: bytes = await body.read(len(json.dumps(BODY)))
    return read


async def entered(body: Any) -> bytes:
    async with body as opened:
        read: bytes = await opened.read()
    return read


@pytest.mark.parametrize("read", [whole, pieces, exactly, entered])
@pytest.mark.parametrize("http", backends())
def test_a_body_is_read_as_ever(on: Any, run: Any, provider: Any, reply: Any, read: Any, http: Any) -> None:
    async def invoke(client: Any) -> bytes:
        got = await client.invoke_model(modelId=HAIKU, body='{"messages": []}')
        if http is None:
            assert type(got["body"]) is StreamingBody
        data: bytes = await read(got["body"])
        assert on.usage() == CLASSES, "with the last byte"
        return data

    provider.replies.append(reply(BODY, headers=IDENTITY))
    assert json.loads(run(invoke, http)) == BODY
    attributes = on.attributes()
    assert attributes["gen_ai.response.id"] == "msg_1"
    assert attributes["spanledger.cost.total"] == COST
    assert "gen_ai.response.time_to_first_chunk" not in attributes


@drops_a_socket
@pytest.mark.parametrize("http", backends())
def test_a_body_that_nobody_reads(on: Any, run: Any, provider: Any, reply: Any, http: Any) -> None:
    async def invoke(client: Any) -> None:
        got = await client.invoke_model(modelId=HAIKU, body='{"messages": []}')
        got.clear()
        del got
        gc.collect()

    counts = {"x-amzn-bedrock-input-token-count": "300", "x-amzn-bedrock-output-token-count": "120"}
    provider.replies.append(reply(BODY, headers={**IDENTITY, **counts}))
    run(invoke, http)
    gc.collect()
    assert on.usage() == CLASSES
    assert on.attributes()["spanledger.notes"] == ("body_not_read",)


@pytest.mark.parametrize("method", ["converse", "converse_stream", "invoke_model"])
def test_an_error(on: Any, run: Any, provider: Any, reply: Any, method: str) -> None:
    async def fail(client: Any) -> None:
        asked: dict[str, Any] = {"body": "{}"} if method == "invoke_model" else {"messages": MESSAGES}
        with pytest.raises(client.exceptions.ValidationException):
            await getattr(client, method)(modelId=HAIKU, **asked)

    headers = {**IDENTITY, "x-amzn-errortype": "ValidationException"}
    provider.replies.append(reply({"message": "bad: Why is the sky blue?"}, status=400, headers=headers))
    run(fail)
    attributes = on.attributes()
    assert attributes["error.type"] == "ValidationException"
    assert attributes["http.response.status_code"] == 400
    assert attributes["spanledger.request_id"] == REQUEST_ID
    assert on.span().status.description == "ValidationException"
    assert "sky" not in on.span().to_json()


def test_labels_of_a_client(on: Any, run: Any, provider: Any, reply: Any) -> None:
    async def ask(client: Any) -> None:
        await converse(label_client(client, team_id="search"))

    message = {"role": "assistant", "content": [{"text": "Rayleigh."}]}
    provider.replies.append(reply({"output": {"message": message}, "stopReason": "end_turn", "usage": USAGE}))
    run(ask)
    assert on.attributes()["spanledger.team_id"] == "search"


def test_other_operations_make_no_span(on: Any, run: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"action": "NONE", "outputs": [], "assessments": []}))
    run(
        lambda client: client.apply_guardrail(
            guardrailIdentifier="g", guardrailVersion="1", source="INPUT", content=[{"text": {"text": "x"}}]
        )
    )
    assert on.spans() == []


def test_an_sdk_that_changed(switch_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiobotocore.client import AioBaseClient

    from spanledger import instrumentation

    monkeypatch.delattr(AioBaseClient, "_make_api_call")
    switch_on(raise_errors=False)
    assert instrumentation.problems() == [
        f"aiobotocore {aiobotocore.__version__} has no AioBaseClient._make_api_call: calls through it are not recorded"
    ]
