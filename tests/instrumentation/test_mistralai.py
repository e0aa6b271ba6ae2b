"""The Mistral SDK: chat, agents, fill-in-the-middle, embeddings, document recognition and conversations."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from llm_wire import RESPONSE_CLASSES, response, response_events
from opentelemetry import trace

from spanledger import instrumentation
from spanledger.instrumentation import label_client, labels, status
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._sdks import SDKS

pytest.importorskip("mistralai")
try:
    sdk: Any = importlib.import_module("mistralai.client")
    sdk.Mistral  # noqa: B018 - version 1 has an empty module of this name
    PACKAGE = "mistralai.client"
except (AttributeError, ImportError):
    sdk = importlib.import_module("mistralai")
    PACKAGE = "mistralai"
IS_FIRST = PACKAGE == "mistralai"
models: Any = importlib.import_module(f"{PACKAGE}.models")
basesdk: Any = sys.modules[f"{PACKAGE}.basesdk"]
http: Any = basesdk.httpx  # httpx, and httpx2 in the newest versions

KEY = "mistral-test-key"
MODEL = "mistral-small-latest"
HEADERS = {"mistral-correlation-id": "corr-1"}
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 400},
    "service_tier": "standard",
}
CLASSES = {"input_uncached": 600, "cache_read": 400, "output_text": 100}
# 600 x 0.15 + 400 x 0.015 + 100 x 0.60 USD a million
COST = "0.000156"


def answer(**changes: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 1795000000,
        "model": "mistral-small-2603",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Rayleigh.", "tool_calls": None},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
        **changes,
    }


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "chat.completion.chunk",
        "created": 1795000000,
        "model": "mistral-small-2603",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


def chunks() -> list[Any]:
    return [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Ray"}),
        chunk({"content": "leigh."}),
        chunk({"content": ""}, "stop", usage=USAGE),
        b"data: [DONE]\n\n",
    ]


class Mistral:
    """Clients of the SDK, and its methods in the wanted style."""

    def __init__(self, provider: Any, style: Any) -> None:
        self._url = provider.url
        self.style = style
        self.suffix = "_async" if style.is_async else ""

    def client(self, **options: Any) -> Any:
        # No connection outlives its response: there is nothing to close after a test.
        limits = http.Limits(max_keepalive_connections=0)
        return sdk.Mistral(
            **{
                "api_key": KEY,
                "server_url": self._url,
                "client": http.Client(limits=limits, verify=False),
                "async_client": http.AsyncClient(limits=limits, verify=False),
                **options,
            }
        )

    def method(self, client: Any, path: str) -> Any:
        for name in path.split("."):
            client = getattr(client, name)
        return client

    def call(self, path: str, client: Any = None, **arguments: Any) -> Any:
        """Call ``path`` (``chat.complete``) or its asynchronous twin."""
        client = client or self.client()
        return self.style.call(lambda: self.method(client, path + self.suffix)(**arguments))

    def read(self, path: str, count: int | None = None, **arguments: Any) -> list[Any]:
        """The events of a stream, all or the first ones; the stream is dropped then, or left if it is asynchronous."""
        client = self.client()
        make = partial(self.method(client, path + self.suffix), **arguments)
        if not self.style.is_async:
            return [event.data for event in self.style.chunks(make, count)]

        async def read() -> list[Any]:
            found: list[Any] = []
            async with await make() as stream:
                async for event in stream:
                    found.append(event.data)
                    if len(found) == count:
                        break
            return found

        return asyncio.run(read())


class Synchronous:
    """The style of tests that have only one."""

    is_async = False

    @staticmethod
    def call(make: Any) -> Any:
        return make()

    @staticmethod
    def chunks(make: Any, count: int | None) -> list[Any]:
        return list(make())[:count]


class Asynchronous:
    is_async = True


@pytest.fixture
def mistral(provider: Any, style: Any) -> Mistral:
    return Mistral(provider, style)


@pytest.fixture
def once(provider: Any) -> Mistral:
    """For what does not differ between the styles."""
    return Mistral(provider, Synchronous)


def test_an_answer(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer(), headers=HEADERS))
    got = mistral.call("chat.complete", **ASK, max_tokens=400, temperature=0.5, random_seed=7, stop="END")
    assert type(got) is models.ChatCompletionResponse
    assert got.choices[0].message.content == "Rayleigh."
    assert provider.requests[0].path == "/v1/chat/completions"
    assert on.span().name == f"chat {MODEL}"
    assert on.usage() == CLASSES
    attributes = on.attributes()
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.max_tokens": 400,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "cmpl-1",
        "gen_ai.response.model": "mistral-small-2603",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": provider.port,
        "spanledger.provider": "mistral",
        "spanledger.request_id": "corr-1",
        "spanledger.service_tier": "standard",
        "spanledger.sdk": "mistralai",
        "spanledger.cost.total": COST,
        "spanledger.cost.status": "list",
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert "openai.api.type" not in attributes
    assert attributes["spanledger.sdk.version"][0].isdigit()
    assert attributes["spanledger.api_key_fingerprint"]
    assert KEY not in str(attributes)
    assert "Rayleigh" not in str(attributes)


def test_a_stream(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chunks(), headers=HEADERS))
    got = mistral.read("chat.stream", **ASK)
    assert "".join(one.choices[0].delta.content for one in got) == "Rayleigh."
    assert {type(one) for one in got} == {models.CompletionChunk}
    assert provider.requests[0].body["stream"] is True
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.response.id"] == "cmpl-1"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["spanledger.request_id"] == "corr-1"
    assert attributes["spanledger.service_tier"] == "standard"
    assert attributes["spanledger.cost.total"] == COST


def test_a_stream_left_early(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chunks(), waits_after=3))
    assert len(mistral.read("chat.stream", 2, **ASK)) == 2
    gc.collect()
    assert on.usage() == {"partial": True}
    attributes = on.attributes()
    assert attributes["spanledger.notes"] == ("stream_ended_early",)
    assert attributes["gen_ai.response.id"] == "cmpl-1"
    assert attributes.get("spanledger.cost.total") is None
    assert on.span().status.is_unset


def test_a_stream_left_by_its_context(on: Any, once: Mistral, provider: Any, reply: Any) -> None:
    """The SDK's stream is what it is without us, and closing it ends the call."""
    provider.replies.append(reply(events=chunks(), waits_after=3))
    client = once.client()  # older versions close their connections with it
    with client.chat.stream(**ASK) as stream:
        assert type(stream).__name__ == "EventStream"
        next(stream)
    assert on.usage() == {"partial": True}


def test_a_stream_left_after_its_usage_had_come(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chunks()))
    assert len(mistral.read("chat.stream", 4, **ASK)) == 4
    gc.collect()
    assert on.usage() == CLASSES


def test_a_broken_stream(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chunks()[:2], breaks_off=True))
    with pytest.raises(Exception, match="peer closed"):
        mistral.read("chat.stream", **ASK)
    assert on.usage() == {"partial": True}
    assert on.attributes()["error.type"] == "RemoteProtocolError"
    assert on.span().status.status_code.name == "ERROR"


def test_a_cancelled_task(on: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chunks(), waits_after=3))

    async def read() -> None:
        seen = asyncio.Event()

        client = Mistral(provider, Asynchronous).client()

        async def consume() -> None:
            async for _ in await client.chat.stream_async(**ASK):
                seen.set()

        task = asyncio.create_task(consume())
        await asyncio.wait_for(seen.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(read())
    assert on.usage() == {"partial": True}
    assert on.attributes()["error.type"] == "CancelledError"


def test_tool_calls(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    call = {"id": "t2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}, "index": 0}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": ""}}
    choice["message"]["tool_calls"] = [call]
    provider.replies.append(reply(answer(choices=[choice])))
    before = {"id": "t1", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        *ASK["messages"],
        {"role": "assistant", "content": "", "tool_calls": [before]},
        {"role": "tool", "tool_call_id": "t1", "name": "clock", "content": "19:00"},
    ]
    got = mistral.call("chat.complete", model=MODEL, messages=messages)
    assert got.choices[0].message.tool_calls[0].function.name == "weather"
    assert json.loads(on.attributes()["spanledger.tool_calls"]) == [
        {"name": "clock", "id": "t1", "kind": "result", "output_bytes": 5},
        {"name": "weather", "id": "t2", "kind": "use", "input_bytes": 15},
    ]


def test_an_agents_model_is_in_its_answer(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer()))
    mistral.call("agents.complete", agent_id="ag_1", messages=ASK["messages"])
    assert provider.requests[0].path == "/v1/agents/completions"
    assert on.span().name == "chat"
    attributes = on.attributes()
    assert attributes["gen_ai.agent.id"] == "ag_1"
    assert "gen_ai.request.model" not in attributes
    assert attributes["gen_ai.response.model"] == "mistral-small-2603"
    assert attributes["spanledger.cost.total"] == COST


def test_an_agents_stream(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chunks()))
    assert len(mistral.read("agents.stream", agent_id="ag_1", messages=ASK["messages"])) == 4
    assert on.usage() == CLASSES


@pytest.mark.parametrize("streamed", [False, True])
def test_fill_in_the_middle(on: Any, mistral: Mistral, provider: Any, reply: Any, streamed: bool) -> None:
    provider.replies.append(reply(events=chunks()) if streamed else reply(answer()))
    ask = {"model": "codestral-latest", "prompt": "def f(", "suffix": "return"}
    if streamed:
        mistral.read("fim.stream", **ask)
    else:
        mistral.call("fim.complete", **ask)
    assert provider.requests[0].path == "/v1/fim/completions"
    assert on.span().name == "text_completion codestral-latest"
    assert on.usage() == CLASSES


def test_embeddings(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(
        reply(
            {
                "id": "emb-1",
                "object": "list",
                "model": "mistral-embed",
                "data": [{"object": "embedding", "embedding": [0.1], "index": 0}],
                "usage": {"prompt_tokens": 1000, "total_tokens": 1000, "completion_tokens": 0},
            }
        )
    )
    got = mistral.call("embeddings.create", model="mistral-embed", inputs=["sky"])
    assert got.data[0].embedding == [0.1]
    assert on.span().name == "embeddings mistral-embed"
    assert on.usage() == {"input_uncached": 1000}
    attributes = on.attributes()
    assert attributes["gen_ai.response.id"] == "emb-1"
    assert attributes["spanledger.cost.total"] == "0.0001"


PAGES: dict[str, Any] = {
    "pages": [{"index": 0, "markdown": "# Sky", "images": [], "dimensions": None}],
    "model": "mistral-ocr-2512",
    "usage_info": {"pages_processed": 3, "doc_size_bytes": 1000},
}
DOCUMENT = {"type": "document_url", "document_url": "https://example.com/sky.pdf"}


def test_pages_are_the_billed_unit(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(PAGES))
    mistral.call("ocr.process", model="mistral-ocr-2512", document=DOCUMENT)
    assert on.span().name == "ocr mistral-ocr-2512"
    assert on.usage() == {"count.input_document_pages": 3}
    attributes = on.attributes()
    assert attributes["spanledger.cost.total"] == "0.006"  # 2 USD a thousand
    assert attributes["spanledger.cost.status"] == "list"
    assert "sky.pdf" not in str(attributes)


def test_annotated_pages_are_dearer(on: Any, once: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({**PAGES, "document_annotation": "{}"}))
    wanted = {"type": "json_schema", "json_schema": {"name": "sky", "schema": {"type": "object"}}}
    once.call("ocr.process", model="mistral-ocr-2512", document=DOCUMENT, document_annotation_format=wanted)
    assert on.usage() == {"count.input_annotated_document_pages": 3}
    assert on.attributes()["spanledger.cost.total"] == "0.009"  # 3 USD a thousand


def test_pages_of_an_unpriced_model(on: Any, once: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({**PAGES, "model": "mistral-ocr-next"}))
    once.call("ocr.process", model="mistral-ocr-next", document=DOCUMENT)
    attributes = on.attributes()
    assert (attributes["spanledger.cost.status"], attributes["spanledger.cost.reason"]) == ("unpriced", "unknown_model")
    assert "gen_ai.usage.cost" not in attributes


def test_moderation(on: Any, once: Mistral, provider: Any, reply: Any) -> None:
    usage = {"prompt_tokens": 9, "total_tokens": 9, "completion_tokens": 0}
    provider.replies.append(reply({"id": "mod-1", "model": "mistral-moderation-2411", "results": [], "usage": usage}))
    once.call("classifiers.moderate", model="mistral-moderation-latest", inputs=["sky"])
    assert on.span().name == "moderation mistral-moderation-latest"
    assert on.usage() == {"input_uncached": 9}


# A web search: the tokens that it fed to the model are in no count but their own and the total.
SEARCHED = {
    "prompt_tokens": 188,
    "completion_tokens": 55,
    "total_tokens": 7355,
    "connector_tokens": 7112,
    "connectors": {"web_search": 1},
}
CONVERSATION = {
    "object": "conversation.response",
    "conversation_id": "conv_1",
    "outputs": [
        {"type": "tool.execution", "name": "web_search", "id": "tool_1", "arguments": "{}"},
        {
            "type": "message.output",
            "id": "msg_1",
            "role": "assistant",
            "model": "mistral-medium-2508",
            "content": [{"type": "text", "text": "Rayleigh."}],
        },
    ],
    "usage": SEARCHED,
}


@pytest.fixture
def conversations(once: Mistral) -> Mistral:
    if not hasattr(once.client(), "beta") or not hasattr(once.client().beta, "conversations"):
        pytest.skip("older versions have none")
    return once


def test_a_conversation(on: Any, conversations: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(CONVERSATION))
    conversations.call("beta.conversations.start", model="mistral-medium-latest", inputs="Why is the sky blue?")
    assert provider.requests[0].path == "/v1/conversations"
    assert on.usage() == {
        "input_uncached": 188,
        "output_text": 55,
        "count.input_tool": 7112,
        "count.web_searches": 1,
    }
    attributes = on.attributes()
    assert attributes["gen_ai.conversation.id"] == "conv_1"
    assert attributes["gen_ai.response.id"] == "msg_1"
    assert attributes["gen_ai.response.model"] == "mistral-medium-2508"
    # Nobody published a rate for searches: what is known is a lower bound.
    assert attributes["spanledger.cost.status"] == "bounded"
    assert attributes["spanledger.cost.reason"] == "no_rate"


def test_a_conversations_stream(on: Any, conversations: Mistral, provider: Any, reply: Any) -> None:
    said = {"type": "message.output.delta", "id": "msg_1", "model": "mistral-medium-2508", "role": "assistant"}
    called = {"type": "function.call.delta", "id": "fc_1", "name": "weather", "tool_call_id": "t1"}
    usage = {"prompt_tokens": 90, "completion_tokens": 30, "total_tokens": 120}
    provider.replies.append(
        reply(
            events=[
                {"type": "conversation.response.started", "conversation_id": "conv_1"},
                {**said, "content": "Ray"},
                {**said, "content": "leigh."},
                {**called, "arguments": '{"city":'},
                {**called, "arguments": '"Rome"}'},
                {"type": "conversation.response.done", "usage": usage},
            ]
        )
    )
    results = [{"type": "function.result", "tool_call_id": "t0", "result": "19:00"}]
    got = conversations.read("beta.conversations.append_stream", conversation_id="conv_1", inputs=results)
    assert len(got) == 6
    assert on.usage() == {"input_uncached": 90, "output_text": 30}
    attributes = on.attributes()
    assert attributes["gen_ai.conversation.id"] == "conv_1"
    assert attributes["gen_ai.response.model"] == "mistral-medium-2508"
    assert json.loads(attributes["spanledger.tool_calls"]) == [
        {"id": "t0", "kind": "result", "output_bytes": 5},
        {"name": "weather", "id": "t1", "kind": "use", "input_bytes": 15},
    ]


def test_a_conversation_that_fails(on: Any, conversations: Mistral, provider: Any, reply: Any) -> None:
    failure = {"type": "conversation.response.error", "message": "sky broke", "code": 3000}
    provider.replies.append(
        reply(events=[{"type": "conversation.response.started", "conversation_id": "conv_1"}, failure])
    )
    conversations.read("beta.conversations.start_stream", model=MODEL, inputs="Why?")
    assert on.attributes()["error.type"] == "conversation.response.error"
    assert on.usage() == {"partial": True}
    assert "sky" not in on.span().to_json()


def test_the_results_of_a_batch_job(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    """Each answer in the file is a call at the batch's rates; failed ones, and other files, are none."""

    def line(custom_id: str, body: Any, status: int = 200) -> bytes:
        response = {"status_code": status, "body": body}
        return json.dumps({"id": f"r-{custom_id}", "custom_id": custom_id, "response": response}).encode() + b"\n"

    lines = [line("0", answer()), line("1", {"message": "bad" * 100_000}, 400), line("2", PAGES), b'{"text": "sky"}\n']
    file = b"".join(lines)
    downloaded = reply(content_type="application/octet-stream")
    downloaded.body = lambda: file
    provider.replies.append(downloaded)
    client = mistral.client()

    async def download() -> bytes:
        return await (await client.files.download_async(file_id="file-1")).aread()

    got = asyncio.run(download()) if mistral.style.is_async else client.files.download(file_id="file-1").read()
    assert got == file
    chat, pages = on.spans()
    assert chat.attributes["gen_ai.response.id"] == "cmpl-1"
    assert chat.attributes["spanledger.usage.cache_read"] == 400
    assert chat.start_time == 1795000000 * 10**9
    assert pages.attributes["gen_ai.response.id"] == "file-1/2"
    assert pages.attributes["spanledger.usage.count.input_document_pages"] == 3
    for span in (chat, pages):
        assert span.attributes["spanledger.is_batch"] is True
        assert span.attributes["spanledger.provider"] == "mistral"


# What a usage document says, and the classes that it stands for.
USAGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "cache hits beside the totals": (
        {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "num_cached_tokens": 4},
        {"input_uncached": 6, "cache_read": 4, "output_text": 2},
    ),
    "nothing cached": (
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0}},
        {"input_uncached": 10, "cache_read": 0, "output_text": 2},
    ),
    "sound": (
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_audio_seconds": 60},
        {"input_uncached": 10, "output_text": 2, "count.input_audio_seconds": 60},
    ),
    "reasoning": (
        {"prompt_tokens": 10, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 5}},
        {"input_uncached": 10, "output_text": 4, "reasoning": 5},
    ),
    "more cached than sent": (
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 11}},
        {"input_uncached": 10, "output_text": 2},
    ),
    "nothing": ({}, {}),
}


@pytest.mark.parametrize("case", USAGES)
def test_usage(on: Any, once: Mistral, provider: Any, reply: Any, case: str) -> None:
    usage, classes = USAGES[case]
    provider.replies.append(reply(answer(usage=usage)))
    once.call("chat.complete", **ASK)
    assert on.usage() == classes


def test_the_tier_that_served(on: Any, once: Mistral, provider: Any, reply: Any) -> None:
    """It stands in the usage; what was asked for is a wish."""
    provider.replies.append(reply(answer(usage={**USAGE, "service_tier": "priority"})))
    once.call("chat.complete", **ASK)
    attributes = on.attributes()
    assert attributes["spanledger.service_tier"] == "priority"
    assert attributes["spanledger.cost.status"] == "bounded"  # no rate is known for it


@pytest.mark.parametrize("code", [400, 401, 404, 422, 429, 500, 503])
def test_errors(on: Any, mistral: Mistral, provider: Any, reply: Any, code: int) -> None:
    """The span says what the SDK raises, which it does out of our sight."""
    document: dict[str, Any] = {"object": "error", "message": "bad: sky", "type": "invalid_request", "code": "3051"}
    if code == 422:
        document = {"detail": [{"loc": ["body"], "msg": "bad: sky", "type": "missing"}]}
    provider.replies.append(reply(document, status=code, headers=HEADERS))
    with pytest.raises(Exception) as raised:
        mistral.call("chat.complete", **ASK)
    attributes = on.attributes()
    assert attributes["error.type"] == type(raised.value).__name__
    assert attributes["http.response.status_code"] == code
    assert attributes["spanledger.request_id"] == "corr-1"
    assert on.span().status.description == ("" if code == 422 else "invalid_request")
    assert on.span().status.status_code.name == "ERROR"
    assert on.usage() == {}
    assert "sky" not in on.span().to_json()


def test_an_error_before_a_stream(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"message": "Unauthorized"}, status=401))
    with pytest.raises(Exception, match="401") as raised:
        mistral.read("chat.stream", **ASK)
    assert on.attributes()["error.type"] == type(raised.value).__name__
    assert on.usage() == {}


def test_nobody_answers(on: Any, mistral: Mistral) -> None:
    with pytest.raises(Exception, match="nect"):
        mistral.call("chat.complete", mistral.client(server_url="http://127.0.0.1:9"), **ASK)
    assert on.attributes()["error.type"] == "ConnectError"
    assert on.usage() == {}


def test_a_retried_request_is_one_span(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    retries: Any = importlib.import_module(f"{PACKAGE}.utils")
    config = retries.RetryConfig("backoff", retries.BackoffStrategy(1, 1, 1, 10_000), True)
    provider.replies += [
        reply({}, status=503, headers={"retry-after": "0.001", "mistral-correlation-id": "c1"}),
        reply(answer()),
    ]
    mistral.call("chat.complete", **ASK, retries=config)
    assert len(provider.requests) == 2
    assert on.usage() == CLASSES
    assert on.attributes()["http.request.resend_count"] == 1
    (event,) = on.span().events
    assert event.name == "spanledger.failed_attempt"
    assert event.attributes == {
        "error.type": "503",
        "http.response.status_code": 503,
        "spanledger.request_id": "c1",
    }


def test_an_attempt_that_is_the_only_one_is_no_failed_attempt(
    on: Any, mistral: Mistral, provider: Any, reply: Any
) -> None:
    retries: Any = importlib.import_module(f"{PACKAGE}.utils")
    config = retries.RetryConfig("backoff", retries.BackoffStrategy(1, 1, 1, 10_000), True)
    provider.replies += [reply({"message": "no"}, status=400)]
    with pytest.raises(Exception, match="400"):
        mistral.call("chat.complete", **ASK, retries=config)
    assert on.attributes()["http.response.status_code"] == 400
    assert "http.request.resend_count" not in on.attributes()
    assert on.span().events == ()


def test_what_is_not_billed(on: Any, once: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"object": "list", "data": []}))
    once.call("models.list")
    assert on.spans() == []


def test_labels(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer()))
    client = label_client(mistral.client(), team_id="client", feature="sky")
    with labels(team_id="block"):
        mistral.call("chat.complete", client, **ASK)
    attributes = on.attributes()
    assert (attributes["spanledger.team_id"], attributes["spanledger.feature"]) == ("block", "sky")


@pytest.mark.parametrize("streamed", [False, True])
def test_content_is_captured_under_the_switch(
    switch_on: Any, once: Mistral, provider: Any, reply: Any, streamed: bool
) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    said = [thought, {"type": "text", "text": "Rayleigh."}]
    if streamed:
        provider.replies.append(reply(events=[chunk({"content": said}), *chunks()[3:]]))
        once.read("chat.stream", **ASK)
    else:
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        provider.replies.append(reply(answer(choices=[choice])))
        once.call("chat.complete", **ASK)
    attributes = telemetry.attributes()
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Why is the sky blue?"}]}
    ]
    (message,) = json.loads(attributes["gen_ai.output.messages"])
    assert message["parts"][-1] == {"type": "text", "content": "Rayleigh."}
    assert message["finish_reason"] == "stop"
    if not streamed:
        assert message["parts"][0] == {"type": "reasoning", "content": "Hm."}


@pytest.fixture
def traced_globally(on: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The application's provider is the global one, to which the SDK writes spans of its own."""
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", on.tracer_provider)
    return on


@pytest.mark.parametrize("streamed", [False, True])
def test_the_sdks_own_span_is_not_made(
    traced_globally: Any, mistral: Mistral, provider: Any, reply: Any, streamed: bool
) -> None:
    provider.replies.append(reply(events=chunks()) if streamed else reply(answer()))
    if streamed:
        mistral.read("chat.stream", **ASK)
    else:
        mistral.call("chat.complete", **ASK)
    assert traced_globally.usage() == CLASSES  # of the one span


def test_the_sdks_other_spans_stay(traced_globally: Any, once: Mistral, provider: Any, reply: Any) -> None:
    if not _traces_itself():
        pytest.skip("older versions do not trace themselves")
    provider.replies.append(reply({"object": "list", "data": []}))
    once.call("models.list")
    assert [span.instrumentation_scope.name for span in traced_globally.spans()] == ["mistralai_sdk_tracer"]


def test_a_provider_of_the_sdks_own_gets_its_span(on: Any, once: Mistral, provider: Any, reply: Any) -> None:
    telemetry: Any = pytest.importorskip("mistralai.extra.observability.telemetry")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    theirs, own = InMemorySpanExporter(), TracerProvider()
    own.add_span_processor(SimpleSpanProcessor(theirs))
    client = once.client()
    telemetry.configure_telemetry(client, provider=own)
    provider.replies.append(reply(answer()))
    once.call("chat.complete", client, **ASK)
    assert on.usage() == CLASSES
    assert len(theirs.get_finished_spans()) == 1
    own.shutdown()


def _traces_itself() -> bool:
    return f"{PACKAGE}._hooks.tracing" in sys.modules


def test_switching_off_restores_every_class(switch_on: Any, once: Mistral, provider: Any, reply: Any) -> None:
    owners = [basesdk.BaseSDK]
    if _traces_itself():
        owners.append(sys.modules[f"{PACKAGE}._hooks.tracing"])

    def members() -> list[dict[str, int]]:
        return [{name: id(member) for name, member in vars(owner).items()} for owner in owners]

    before = members()
    telemetry = switch_on()
    assert members() != before
    assert {one.sdk: one.state for one in status()}["mistralai"] == "instrumented"
    instrumentation.uninstrument()
    assert members() == before
    provider.replies.append(reply(answer()))
    once.call("chat.complete", **ASK)
    assert telemetry.spans() == []


def test_a_version_without_what_we_know() -> None:
    """A method that is gone is told, once; nothing else is touched."""

    class Changed:
        __name__ = f"{PACKAGE}.basesdk"

    problems = Problems()
    recorder: Any = None
    SDKS["mistralai"].patch(Changed(), recorder, problems).restore()
    (line,) = problems.lines()
    missing = line.split(" has no ")[1].split(":")[0].split(", ")
    assert missing == ["BaseSDK.do_request", "BaseSDK.do_request_async"]


@pytest.mark.filterwarnings("ignore:.*model_fields")  # the older versions' clients, with the newest pydantic
def test_azure_bills_its_own_clients(on: Any, provider: Any, reply: Any) -> None:
    azure: Any = _cloud("azure")
    limits = http.Limits(max_keepalive_connections=0)
    options: dict[str, Any] = {
        "client": http.Client(limits=limits, verify=False),
        "async_client": http.AsyncClient(limits=limits, verify=False),
    }
    named = "azure_endpoint" if IS_FIRST else "server_url"
    client = azure.MistralAzure(**{named: provider.url, ("azure_api_key" if IS_FIRST else "api_key"): "k"}, **options)
    provider.replies.append(reply(answer()))
    client.chat.complete(**{**ASK, "model": "azureai"})
    assert on.usage() == CLASSES
    assert on.attributes()["spanledger.provider"] == "azure_openai"


def test_google_bills_its_own_clients(on: Any, provider: Any, reply: Any) -> None:
    if IS_FIRST:
        pytest.skip("older versions ask Google for credentials")
    gcp: Any = _cloud("gcp")
    limits = http.Limits(max_keepalive_connections=0)
    client = gcp.MistralGCP(
        project_id="p",
        region="europe-west4",
        access_token="token",
        server_url=provider.url,
        client=http.Client(limits=limits, verify=False),
        async_client=http.AsyncClient(limits=limits, verify=False),
    )
    provider.replies += [reply(answer()), reply(answer())]
    client.chat.complete(**ASK)
    client.fim.complete(model="codestral-2501", prompt="def f(")
    chat, fim = on.spans()
    assert (chat.name, fim.name) == (f"chat {MODEL}", "text_completion codestral-2501")
    for span in (chat, fim):
        assert span.attributes["spanledger.provider"] == "google_vertex"
        assert "spanledger.api_key_fingerprint" not in span.attributes
    assert provider.requests[0].path.endswith(":rawPredict")


def _cloud(name: str) -> Any:
    """One of the clouds' clients; what they need is not always installed."""
    return pytest.importorskip(f"mistralai_{name}" if IS_FIRST else f"mistralai.{name}.client", exc_type=ImportError)


HEARD = {
    "model": "voxtral-mini-2602",
    "text": "hi",
    "language": "en",
    "segments": [],
    "usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "total_tokens": 3264, "completion_tokens": 635},
}
needs_audio = pytest.mark.skipif(not hasattr(sdk.Mistral(api_key=KEY), "audio"), reason="this SDK knows no sound")


@needs_audio
def test_a_transcription_is_billed_by_the_second(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(HEARD))
    file = {"file_name": "a.wav", "content": b"RIFF" * 1000}
    got = mistral.call("audio.transcriptions.complete", model="voxtral-mini-latest", file=file)
    assert got.text == "hi"
    assert b"RIFF" * 1000 in provider.requests[0].body
    assert on.span().name == "transcription voxtral-mini-latest"
    assert on.attributes()["gen_ai.response.model"] == "voxtral-mini-2602"
    assert on.usage() == {"count.input_audio_seconds": 203}
    # 203 s x 0.18 USD an hour
    assert on.attributes()["spanledger.cost.total"] == "0.01015"
    assert "RIFF" not in on.span().to_json()


@needs_audio
def test_a_streamed_transcription(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(
        reply(events=[{"type": "transcription.text.delta", "text": "hi"}, {"type": "transcription.done", **HEARD}])
    )
    mistral.read("audio.transcriptions.stream", model="voxtral-mini-latest", file_url="https://example.com/a.wav")
    assert on.span().name == "transcription voxtral-mini-latest"
    assert on.attributes()["gen_ai.request.stream"] is True
    assert on.usage() == {"count.input_audio_seconds": 203}


@pytest.mark.skipif(not hasattr(getattr(sdk.Mistral(api_key=KEY), "audio", None), "speech"), reason="no speech")
def test_speech(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"audio_data": "AA=="}))
    mistral.call("audio.speech.complete", model="voxtral-tts", input="hello")
    assert on.span().name == "text_to_speech voxtral-tts"
    assert on.usage() == {"count.input_characters": 5}


@pytest.mark.skipif(not hasattr(sdk.Mistral(api_key=KEY), "responses"), reason="this SDK has no responses")
def test_a_response(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(response(model="mistral-small-2603", service_tier="priority")))
    mistral.call("responses.create", model=MODEL, input="Why is the sky blue?")
    assert on.span().name == f"chat {MODEL}"
    assert on.attributes()["gen_ai.response.id"] == "resp_1"
    assert on.attributes()["spanledger.service_tier"] == "priority"
    assert on.usage() == RESPONSE_CLASSES


@pytest.mark.skipif(not hasattr(sdk.Mistral(api_key=KEY), "responses"), reason="this SDK has no responses")
def test_a_streamed_response(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=response_events()))
    mistral.read("responses.create", model=MODEL, input="Why is the sky blue?", stream=True)
    assert on.usage() == RESPONSE_CLASSES
    assert on.attributes()["gen_ai.response.id"] == "resp_1"
