"""The Cohere SDK: both API versions, sync and async, whole and streamed; billed units, not tokens."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from spanledger import instrumentation
from spanledger.instrumentation import label_client, labels
from spanledger.instrumentation._sdks import SDKS
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.overrides_file import load_overrides

cohere = pytest.importorskip("cohere")
httpx: Any = pytest.importorskip("httpx")

KEY = "co-test-key"
MODEL = "command-r-08-2024"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
# 66 tokens of Cohere's own template around the prompt, and two after the answer, are not billed.
USAGE = {
    "billed_units": {"input_tokens": 1000.0, "output_tokens": 100.0},
    "tokens": {"input_tokens": 1066.0, "output_tokens": 102.0},
    "cached_tokens": 400.0,
}
CLASSES = {"input_uncached": 600, "cache_read": 400, "output_text": 100}
# 1000 x 0.15 + 100 x 0.60 USD a million: the price book has no rate of its own for cached tokens
COST = "0.00021"
HEADERS = {"x-debug-trace-id": "trace-1"}


def answer(**changes: Any) -> dict[str, Any]:
    return {
        "id": "chat-1",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "Rayleigh."}]},
        "usage": USAGE,
        **changes,
    }


def events(usage: Any = USAGE) -> list[dict[str, Any]]:
    def piece(text: str) -> dict[str, Any]:
        return {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}

    started = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
    return [
        {"id": "chat-1", "type": "message-start", "delta": started},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        piece("Ray"),
        piece("leigh."),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    ]


def stream(reply: Any, **options: Any) -> Any:
    return reply(events=[*events(), b"data: [DONE]\n\n"], headers=HEADERS, **options)


def old_answer(**changes: Any) -> dict[str, Any]:
    return {
        "text": "Rayleigh.",
        "generation_id": "gen-1",
        "response_id": "resp-1",
        "finish_reason": "COMPLETE",
        "chat_history": [],
        "meta": {"api_version": {"version": "1"}, **USAGE},
        **changes,
    }


def lines(*documents: dict[str, Any]) -> list[bytes]:
    return [json.dumps(document).encode() + b"\n" for document in documents]


def old_lines() -> list[bytes]:
    return lines(
        {"is_finished": False, "event_type": "stream-start", "generation_id": "gen-1"},
        {"is_finished": False, "event_type": "text-generation", "text": "Ray"},
        {"is_finished": False, "event_type": "text-generation", "text": "leigh."},
        {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": old_answer()},
    )


def sdk(provider: Any, name: str = "ClientV2", **options: Any) -> Any:
    """A client whose connections end with their responses: there is nothing to close after a test."""
    kind = httpx.AsyncClient if name.startswith("Async") else httpx.Client
    http = kind(limits=httpx.Limits(max_keepalive_connections=0), verify=False)
    return getattr(cohere, name)(**{"api_key": KEY, "base_url": provider.url, "httpx_client": http, **options})


class Client:
    """Clients of the SDK in the wanted style."""

    def __init__(self, provider: Any, style: Any) -> None:
        self._provider = provider
        self._style = style

    def make(self, name: str = "ClientV2", **options: Any) -> Any:
        return sdk(self._provider, ("Async" if self._style.is_async else "") + name, **options)

    def call(self, do: Any, name: str = "ClientV2", **options: Any) -> Any:
        """``do(client)``, awaited where the style is asynchronous."""
        return self._style.call(lambda: do(self.make(name, **options)))

    def read(self, do: Any, name: str = "ClientV2", count: int | None = None) -> list[Any]:
        """The chunks of a stream, all or the first ones; the stream is dropped then."""
        if not self._style.is_async:
            return self._style.chunks(lambda: do(self.make(name)), count)

        async def chunks() -> list[Any]:
            found: list[Any] = []
            stream = do(self.make(name))
            try:
                async for chunk in stream:
                    found.append(chunk)
                    if len(found) == count:
                        break
            finally:
                await stream.aclose()
            return found

        return asyncio.run(chunks())


@pytest.fixture
def client(provider: Any, style: Any) -> Client:
    return Client(provider, style)


def chat(client: Any, **more: Any) -> Any:
    return client.chat(**ASK, **more)


def chat_stream(client: Any) -> Any:
    return client.chat_stream(**ASK)


def old_chat(client: Any, **more: Any) -> Any:
    return client.chat(model=MODEL, message="Why is the sky blue?", **more)


def old_stream(client: Any) -> Any:
    return client.chat_stream(model=MODEL, message="Why is the sky blue?")


def test_an_answer(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer(), headers=HEADERS))
    got = client.call(lambda co: chat(co, max_tokens=400, temperature=0.5, p=0.9, k=3, seed=7, stop_sequences=["END"]))
    assert got.message.content[0].text == "Rayleigh."
    assert got.usage.tokens.input_tokens == 1066
    assert provider.requests[0].path == "/v2/chat"
    assert on.span().name == f"chat {MODEL}"
    assert on.usage() == CLASSES
    attributes = on.attributes()
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "cohere",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.max_tokens": 400,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "chat-1",
        "gen_ai.response.finish_reasons": ("COMPLETE",),
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 400,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": provider.port,
        "spanledger.provider": "cohere",
        "spanledger.request_id": "trace-1",
        "spanledger.sdk": "cohere",
        "spanledger.cost.total": COST,
        "spanledger.cost.status": "list",
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert attributes["spanledger.api_key_fingerprint"]
    assert KEY not in str(attributes)
    assert "Rayleigh" not in str(attributes)


def test_a_stream(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(stream(reply))
    got = client.read(chat_stream)
    assert [chunk.type for chunk in got] == [event["type"] for event in events()]
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.response.id"] == "chat-1"
    assert attributes["gen_ai.response.finish_reasons"] == ("COMPLETE",)
    assert attributes["spanledger.request_id"] == "trace-1"
    assert attributes["spanledger.cost.total"] == COST
    assert "spanledger.usage.partial" not in attributes


def test_the_streams_are_the_sdks_own(switch_on: Any, client: Client, style: Any, provider: Any, reply: Any) -> None:
    kinds = [inspect.isasyncgen, inspect.isgenerator]
    is_generator = kinds[0] if style.is_async else kinds[1]
    co = client.make()
    assert is_generator(chat_stream(co))
    switch_on()
    assert is_generator(chat_stream(co))
    assert provider.requests == []  # nothing is sent before the first chunk is asked for
    assert switch_on().spans() == []


def test_a_stream_left_early(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(stream(reply, waits_after=4))
    assert len(client.read(chat_stream, count=3)) == 3
    gc.collect()
    assert on.usage() == {"partial": True}
    attributes = on.attributes()
    assert attributes["spanledger.notes"] == ("stream_ended_early",)
    assert attributes["gen_ai.response.id"] == "chat-1"
    assert attributes.get("spanledger.cost.total") is None
    assert on.span().status.is_unset


def test_a_stream_left_after_its_usage_had_come(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(stream(reply))
    assert len(client.read(chat_stream, count=6)) == 6
    gc.collect()
    assert on.usage() == CLASSES


def test_a_broken_stream(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=events()[:3], breaks_off=True))
    with pytest.raises(Exception, match="peer closed"):
        client.read(chat_stream)
    assert on.usage() == {"partial": True}
    assert on.attributes()["error.type"] == "RemoteProtocolError"
    assert on.span().status.status_code.name == "ERROR"


def test_a_cancelled_task(on: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(stream(reply, waits_after=4))

    async def read() -> None:
        seen = asyncio.Event()

        async def consume() -> None:
            async for chunk in chat_stream(sdk(provider, "AsyncClientV2")):
                if chunk.type == "content-delta":
                    seen.set()

        task = asyncio.create_task(consume())
        await asyncio.wait_for(seen.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(read())
    assert on.usage() == {"partial": True}
    assert on.attributes()["error.type"] == "CancelledError"


def test_an_answer_that_ends_in_an_error(on: Any, client: Client, provider: Any, reply: Any) -> None:
    ended = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "sky broke", "usage": USAGE}}
    provider.replies.append(reply(events=[*events()[:-1], ended, b"data: [DONE]\n\n"]))
    client.read(chat_stream)
    assert on.attributes()["error.type"] == "ERROR"
    assert on.span().status.status_code.name == "ERROR"
    assert on.usage() == CLASSES
    assert "sky" not in on.span().to_json()


def test_tool_calls(on: Any, client: Client, provider: Any, reply: Any) -> None:
    call = {"id": "weather_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    message = {"role": "assistant", "tool_plan": "Look.", "tool_calls": [call]}
    provider.replies.append(reply(answer(finish_reason="TOOL_CALL", message=message)))
    got = client.call(chat)
    assert got.message.tool_calls[0].function.name == "weather"
    assert json.loads(on.attributes()["spanledger.tool_calls"]) == [
        {"name": "weather", "id": "weather_1", "kind": "use", "input_bytes": 16}
    ]


def test_tool_calls_of_a_stream_and_results(on: Any, client: Client, provider: Any, reply: Any) -> None:
    def told(kind: str, **call: Any) -> dict[str, Any]:
        return {"type": kind, "index": 0, "delta": {"message": {"tool_calls": call}}}

    provider.replies.append(
        reply(
            events=[
                events()[0],
                told("tool-call-start", id="t2", type="function", function={"name": "weather", "arguments": ""}),
                told("tool-call-delta", function={"arguments": '{"city":'}),
                told("tool-call-delta", function={"arguments": '"Rome"}'}),
                {"type": "tool-call-end", "index": 0},
                events()[-1],
                b"data: [DONE]\n\n",
            ]
        )
    )
    before = {"id": "t1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        *ASK["messages"],
        {"role": "assistant", "tool_calls": [before]},
        {"role": "tool", "tool_call_id": "t1", "content": "19:00"},
    ]
    client.read(lambda co: co.chat_stream(model=MODEL, messages=messages))
    assert json.loads(on.attributes()["spanledger.tool_calls"]) == [
        {"name": "clock", "id": "t1", "kind": "result", "output_bytes": 5},
        {"name": "weather", "id": "t2", "kind": "use", "input_bytes": 15},
    ]


def test_version_1(on: Any, client: Client, provider: Any, reply: Any) -> None:
    call = {"name": "weather", "parameters": {"city": "Paris"}}
    provider.replies.append(reply(old_answer(tool_calls=[call]), headers=HEADERS))
    results = [{"call": {"name": "clock", "parameters": {}}, "outputs": [{"time": "19:00"}]}]
    got = client.call(lambda co: old_chat(co, temperature=0.5, tool_results=results), "Client")
    assert type(got) is cohere.NonStreamedChatResponse
    assert got.text == "Rayleigh."
    assert provider.requests[0].path == "/v1/chat"
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.response.id"] == "resp-1"
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["spanledger.cost.total"] == COST
    assert attributes["spanledger.request_id"] == "trace-1"
    assert json.loads(attributes["spanledger.tool_calls"]) == [
        {"name": "clock", "kind": "result", "output_bytes": 18},
        {"name": "weather", "kind": "use", "input_bytes": 16},
    ]


def test_a_stream_of_version_1(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=old_lines(), headers=HEADERS))
    got = client.read(old_stream, "Client")
    assert [chunk.event_type for chunk in got] == ["stream-start", "text-generation", "text-generation", "stream-end"]
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.response.id"] == "resp-1"
    assert attributes["gen_ai.response.finish_reasons"] == ("COMPLETE",)
    assert attributes["spanledger.cost.total"] == COST


def test_a_stream_of_version_1_left_early(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=old_lines(), waits_after=2))
    assert len(client.read(old_stream, "Client", count=2)) == 2
    gc.collect()
    assert on.usage() == {"partial": True}
    assert on.attributes()["gen_ai.response.id"] == "gen-1"


def test_a_default_model_is_not_invented(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(old_answer()))
    client.call(lambda co: co.chat(message="Why?"), "Client")
    assert on.span().name == "chat"
    attributes = on.attributes()
    assert "gen_ai.request.model" not in attributes
    assert "spanledger.cost.total" not in attributes
    assert on.usage() == CLASSES


def test_generate(on: Any, client: Client, provider: Any, reply: Any) -> None:
    generation = {"id": "g", "text": "Rayleigh.", "finish_reason": "COMPLETE"}
    provider.replies.append(reply({"id": "gen-2", "prompt": "Why?", "generations": [generation], "meta": USAGE}))
    client.call(lambda co: co.generate(model="command", prompt="Why?"), "Client")
    assert on.span().name == "text_completion command"
    assert on.usage() == CLASSES
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("COMPLETE",)


EMBEDDED = {
    "id": "embed-1",
    "embeddings": {"float": [[0.1, 0.2]]},
    "texts": ["sky"],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 1000.0}},
}


def test_embeddings(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(EMBEDDED))
    got = client.call(
        lambda co: co.embed(model="embed-v4.0", texts=["sky"], input_type="search_query", embedding_types=["float"])
    )
    assert got.embeddings.float_ == [[0.1, 0.2]]
    assert on.span().name == "embeddings embed-v4.0"
    assert on.usage() == {"input_uncached": 1000}
    attributes = on.attributes()
    assert attributes["gen_ai.response.id"] == "embed-1"
    assert attributes["spanledger.cost.total"] == "0.00012"
    assert "gen_ai.usage.output_tokens" not in attributes


def test_batches_of_embeddings_keep_the_callers_context(
    on: Any, client: Client, style: Any, provider: Any, reply: Any
) -> None:
    """Texts are sent 96 at a time, from threads: each request is billed, all belong to the caller's span and labels."""
    embedded = {
        "id": "e",
        "response_type": "embeddings_floats",
        "embeddings": [[0.1]] * 60,
        "texts": ["sky"] * 60,
        "meta": {"billed_units": {"input_tokens": 60.0}, "api_version": {"version": "1"}},
    }
    provider.replies += [reply(embedded), reply(embedded)]
    tracer = trace.get_tracer("test", tracer_provider=on.tracer_provider)
    with tracer.start_as_current_span("request") as parent, labels(team_id="search"):
        got = client.call(lambda co: co.embed(model="embed-english-v3.0", texts=["sky"] * 120), "Client")
    assert len(got.embeddings) == 120
    first, second = (span for span in on.spans() if span.name != "request")
    for span in (first, second):
        assert span.parent is not None
        assert span.parent.span_id == parent.get_span_context().span_id
        assert span.attributes["spanledger.team_id"] == "search"
        assert span.attributes["spanledger.usage.input_uncached"] == 60


RANKED = {
    "id": "rank-1",
    "results": [{"index": 0, "relevance_score": 0.9}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 2.0}},
}


@pytest.mark.parametrize("name", ["ClientV2", "Client"])
def test_reranking_is_billed_by_the_search(on: Any, client: Client, provider: Any, reply: Any, name: str) -> None:
    provider.replies.append(reply(RANKED))
    client.call(lambda co: co.rerank(model="rerank-v3.5", query="sky", documents=["a", "b"]), name)
    assert on.span().name == "rerank rerank-v3.5"
    assert on.usage() == {"count.rerank_searches": 2}
    attributes = on.attributes()
    # The price book has no rate: unknown, with a reason, and not 0.
    assert attributes["spanledger.cost.status"] == "unpriced"
    assert attributes["spanledger.cost.reason"] == "unknown_model"
    assert "gen_ai.usage.cost" not in attributes


def test_a_rate_that_was_agreed_on_prices_searches(switch_on: Any, tmp_path: Path, provider: Any, reply: Any) -> None:
    rates = tmp_path / "prices.toml"
    rates.write_text('[[rates]]\nprovider = "cohere"\nmodel = "rerank-*"\nper_thousand = { rerank_searches = 2 }\n')
    telemetry = switch_on(prices=PriceBook(load_overrides(rates)))
    provider.replies.append(reply(RANKED))
    sdk(provider).rerank(model="rerank-v3.5", query="sky", documents=["a", "b"])
    assert telemetry.attributes()["spanledger.cost.total"] == "0.004"


def test_classification(on: Any, client: Client, provider: Any, reply: Any) -> None:
    document = {"id": "class-1", "classifications": [], "meta": {"billed_units": {"classifications": 3.0}}}
    provider.replies.append(reply(document))
    client.call(lambda co: co.classify(model="embed-english-v3.0", inputs=["a", "b", "c"]), "Client")
    assert on.usage() == {"count.classifications": 3}
    assert on.attributes()["spanledger.cost.status"] == "unpriced"


# What a usage document says, the classes that it stands for, and what could not be read of it.
USAGES: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "nothing billed is told": (
        {"tokens": {"input_tokens": 1066.0, "output_tokens": 102.0}},
        {"input_uncached": 1066, "output_text": 102},
        ("billed_units_missing",),
    ),
    "empty billed units": (
        {"billed_units": {}, "tokens": {"input_tokens": 5}},
        {"input_uncached": 5},
        ("billed_units_missing",),
    ),
    "a template from the cache": (
        {"billed_units": {"input_tokens": 10, "output_tokens": 2}, "cached_tokens": 480},
        {"input_uncached": 10, "output_text": 2},
        ("cache_beyond_billed_tokens",),
    ),
    "searches beside tokens": (
        {"billed_units": {"input_tokens": 10, "output_tokens": 2, "search_units": 1}},
        {"input_uncached": 10, "output_text": 2, "count.rerank_searches": 1},
        (),
    ),
    "no usage": (None, {}, ()),
    "of wrong types": ({"billed_units": {"input_tokens": "10", "output_tokens": -1}, "tokens": 7}, {}, ()),
    "what Bedrock's headers did not tell": ({"billed_units": {"input_tokens": -1, "output_tokens": -1}}, {}, ()),
    "a list": ([], {}, ()),
}


@pytest.mark.parametrize("case", USAGES)
def test_usage(on: Any, provider: Any, reply: Any, case: str) -> None:
    usage, classes, notes = USAGES[case]
    provider.replies.append(reply(answer(usage=usage)))
    chat(sdk(provider))
    assert on.usage() == classes
    assert on.attributes().get("spanledger.notes", ()) == notes


@pytest.mark.parametrize(
    ("billed", "classes"),
    [
        ({"images": 2}, {"count.images": 2}),
        ({"image_tokens": 500}, {"input_image": 500}),
        ({"input_tokens": 700, "image_tokens": 500}, {"input_uncached": 200, "input_image": 500}),
        ({"text_tokens": 20, "image_tokens": 500}, {"input_uncached": 20, "input_image": 500}),
    ],
)
def test_pictures_are_told_apart(on: Any, provider: Any, reply: Any, billed: Any, classes: Any) -> None:
    provider.replies.append(reply({**EMBEDDED, "meta": {"billed_units": billed}}))
    sdk(provider).embed(
        model="embed-v4.0", images=["data:image/png;base64,AA=="], input_type="image", embedding_types=["float"]
    )
    assert on.usage() == classes


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 498, 499, 500, 501, 503, 504, 418])
def test_errors(on: Any, provider: Any, reply: Any, status: int) -> None:
    """The span says what the SDK raises, which it does out of our sight."""
    document = {"message": "bad: Why is the sky blue?"}
    provider.replies.append(reply(document, status=status, headers=HEADERS))
    with pytest.raises(importlib.import_module("cohere.core").ApiError) as raised:
        chat(sdk(provider), request_options={"max_retries": 0})
    assert (raised.value.status_code, raised.value.body) == (status, document)
    attributes = on.attributes()
    assert attributes["error.type"] == type(raised.value).__name__
    assert attributes["http.response.status_code"] == status
    assert attributes["spanledger.request_id"] == "trace-1"
    assert on.span().status.status_code.name == "ERROR"
    assert on.usage() == {}
    assert "sky" not in on.span().to_json()


@pytest.mark.parametrize("name", ["ClientV2", "Client"])
def test_an_error_before_a_stream(on: Any, client: Client, provider: Any, reply: Any, name: str) -> None:
    provider.replies.append(reply({"message": "invalid api token"}, status=401))
    with pytest.raises(cohere.UnauthorizedError):
        client.read(chat_stream if name == "ClientV2" else old_stream, name)
    assert on.attributes()["error.type"] == "UnauthorizedError"
    assert on.usage() == {}


def test_nobody_answers(on: Any, client: Client, provider: Any) -> None:
    with pytest.raises(Exception, match="nect"):
        client.call(lambda co: chat(co, request_options={"max_retries": 0}), base_url="http://127.0.0.1:9")
    assert on.attributes()["error.type"] == "ConnectError"
    assert on.usage() == {}


def test_a_retried_request_is_one_span(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies += [
        reply({}, status=503, headers={"retry-after-ms": "1", "x-debug-trace-id": "t1"}),
        reply(answer()),
    ]
    client.call(lambda co: chat(co, request_options={"max_retries": 3}))
    assert len(provider.requests) == 2
    assert on.attributes()["http.request.resend_count"] == 1
    (event,) = on.span().events
    assert event.name == "spanledger.failed_attempt"
    assert event.attributes == {"error.type": "503", "http.response.status_code": 503, "spanledger.request_id": "t1"}
    assert on.usage() == CLASSES


def test_raw_responses(on: Any, client: Client, provider: Any, reply: Any) -> None:
    if not hasattr(cohere.ClientV2, "with_raw_response"):
        pytest.skip("older versions have none")
    provider.replies.append(reply(answer(), headers=HEADERS))
    got = client.call(lambda co: co.with_raw_response.chat(**ASK))
    assert got.headers["x-debug-trace-id"] == "trace-1"
    assert got.data.id == "chat-1"
    assert on.usage() == CLASSES


def test_what_is_not_billed(on: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"models": []}))
    sdk(provider).models.list()
    assert on.spans() == []


def test_labels(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer()))

    def ask(co: Any) -> Any:
        return chat(label_client(co, team_id="client", feature="sky"))

    with labels(team_id="block"):
        client.call(ask)
    attributes = on.attributes()
    assert (attributes["spanledger.team_id"], attributes["spanledger.feature"]) == ("block", "sky")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_content_is_captured_under_the_switch(
    switch_on: Any, provider: Any, reply: Any, streamed: bool, version: int
) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    if version == 2:
        provider.replies.append(stream(reply) if streamed else reply(answer()))
        co = sdk(provider)
        list(chat_stream(co)) if streamed else chat(co)
    else:
        provider.replies.append(reply(events=old_lines()) if streamed else reply(old_answer()))
        co = sdk(provider, "Client")
        list(old_stream(co)) if streamed else old_chat(co, preamble="Be brief.")
    attributes = telemetry.attributes()
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Why is the sky blue?"}]}
    ]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Rayleigh."}], "finish_reason": "COMPLETE"}
    ]
    if version == 1 and not streamed:
        assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]


def test_threads_and_switching_off(switch_on: Any, provider: Any, reply: Any) -> None:
    core: Any = importlib.import_module("cohere.core.http_client")
    classes = (core.HttpClient, core.AsyncHttpClient, importlib.import_module("cohere.client").Client)

    def members() -> list[dict[str, int]]:
        return [{name: id(member) for name, member in vars(cls).items()} for cls in classes]

    before = members()
    telemetry = switch_on()
    assert members() != before
    co = sdk(provider)
    provider.replies += [reply(answer()), reply(answer()), reply(answer())]
    threads = [threading.Thread(target=chat, args=(co,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(telemetry.spans()) == 2
    instrumentation.uninstrument()
    chat(co)
    assert len(telemetry.spans()) == 2
    assert members() == before


def test_a_version_without_what_we_know(caplog: pytest.LogCaptureFixture) -> None:
    """A method that is gone is told, once; nothing else is touched."""
    from spanledger.instrumentation._problems import Problems

    class Changed:
        __name__ = "cohere.core.http_client"

    problems = Problems()
    recorder: Any = None
    SDKS["cohere"].patch(Changed(), recorder, problems).restore()
    (line,) = problems.lines()
    missing = line.split(" has no ")[1].split(":")[0].split(", ")
    assert missing == ["HttpClient.request", "HttpClient.stream", "AsyncHttpClient.request", "AsyncHttpClient.stream"]


@pytest.fixture
def bedrock(provider: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client for Bedrock, whose requests are signed for Amazon's host and sent to the provider."""
    boto3 = pytest.importorskip("boto3")
    assert boto3

    class Transport(httpx.HTTPTransport):
        def handle_request(self, request: Any) -> Any:
            request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=provider.port)
            return super().handle_request(request)

    def make(name: str = "BedrockClientV2") -> Any:
        co = getattr(cohere, name)(aws_access_key="AKIA", aws_secret_key="secret", aws_region="us-east-1")
        transport = Transport(limits=httpx.Limits(max_keepalive_connections=0))
        co._client_wrapper.httpx_client.httpx_client._transport = transport
        return co

    return make


def test_bedrock_is_billed_by_amazon(on: Any, bedrock: Any, provider: Any, reply: Any) -> None:
    counted = {"X-Amzn-Bedrock-Input-Token-Count": "12", "X-Amzn-Bedrock-Output-Token-Count": "3"}
    provider.replies.append(reply({"results": [], "id": "rank-1"}, headers=counted))
    bedrock().rerank(model="cohere.rerank-v3-5:0", query="sky", documents=["a"])
    attributes = on.attributes()
    assert attributes["spanledger.provider"] == "aws_bedrock"
    assert attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert provider.requests[0].path == "/model/cohere.rerank-v3-5:0/invoke"
    assert on.usage() == {"input_uncached": 12, "output_text": 3}


def test_sagemaker_is_billed_by_the_hour(on: Any, bedrock: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"results": [], "id": "rank-1"}))
    bedrock("SagemakerClientV2").rerank(model="my-endpoint", query="sky", documents=["a"])
    attributes = on.attributes()
    assert attributes["spanledger.provider"] == "aws_sagemaker"
    assert "gen_ai.usage.cost" not in attributes


EMBED_JOB = {
    "job_id": "job-1",
    "status": "processing",
    "created_at": "2026-11-01T00:00:00Z",
    "input_dataset_id": "data-1",
    "model": "embed-v4.0",
    "truncate": "END",
}


def test_an_embed_job_is_a_call_once_it_is_done(on: Any, client: Client, provider: Any, reply: Any) -> None:
    done = {**EMBED_JOB, "status": "complete", "meta": {"billed_units": {"input_tokens": 7000.0}}}
    provider.replies += [reply(EMBED_JOB), reply({}, status=404)]
    client.call(lambda co: co.embed_jobs.get("job-1"))
    with pytest.raises(cohere.NotFoundError):
        client.call(lambda co: co.embed_jobs.get("job-2"))
    assert on.spans() == []
    provider.replies.append(reply(done))
    client.call(lambda co: co.embed_jobs.get("job-1"))
    assert on.span().name == "embeddings embed-v4.0"
    assert on.usage() == {"input_uncached": 7000}
    assert on.attributes()["gen_ai.response.id"] == "job-1"
    # 7000 x 0.12 USD a million
    assert on.attributes()["spanledger.cost.total"] == "0.00084"


@pytest.mark.skipif(importlib.util.find_spec("cohere.batches") is None, reason="this SDK has no batches")
def test_a_batch_is_a_call_once_it_is_done(on: Any, client: Client, provider: Any, reply: Any) -> None:
    batch = {"id": "b-1", "name": "n", "input_dataset_id": "d", "model": MODEL, "status": "BATCH_STATUS_IN_PROGRESS"}
    told = {"input_tokens": "5000", "output_tokens": "200", "num_successful_records": 5}
    provider.replies += [
        reply({"batch": batch}),
        reply({"batch": {**batch, **told, "status": "BATCH_STATUS_COMPLETED"}}),
    ]
    for _ in range(2):
        client.call(lambda co: co.batches.retrieve("b-1"))
    assert on.span().name == f"batch {MODEL}"
    assert on.usage() == {"input_uncached": 5000, "output_text": 200}
    attributes = on.attributes()
    assert attributes["spanledger.batch_id"] == attributes["gen_ai.response.id"] == "b-1"
    assert attributes["spanledger.is_batch"] is True
    assert attributes["spanledger.notes"] == ("billed_units_missing",)


@pytest.mark.skipif(importlib.util.find_spec("cohere.audio") is None, reason="this SDK knows no sound")
def test_a_transcription_tells_no_usage(on: Any, client: Client, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"text": "hi"}))
    client.call(
        lambda co: co.audio.transcriptions.create(model="cohere-transcribe", language="en", file=("a.wav", b"RIFF"))
    )
    assert on.span().name == "transcription cohere-transcribe"
    assert on.usage() == {}
    assert "spanledger.cost.total" not in on.attributes()
