"""Ollama: a model server of one's own, whose streams are lines of JSON."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import pytest

ollama = pytest.importorskip("ollama")
httpx = pytest.importorskip("httpx")

MODEL = "llama3.2"
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
CLASSES = {"input_uncached": 26, "output_text": 298}
COUNTS = {
    "total_duration": 4_935_886_791,
    "load_duration": 534_986_708,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 107_345_000,
    "eval_count": 298,
    "eval_duration": 4_289_432_000,
}
drops_a_socket = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def said(content: str = "", *, is_last: bool = False, **message: Any) -> dict[str, Any]:
    document = {
        "model": MODEL,
        "created_at": "2026-11-21T07:00:00.000000Z",
        "message": {"role": "assistant", "content": content, **message},
        "done": is_last,
    }
    return {**document, "done_reason": "stop", **COUNTS} if is_last else document


def line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def pieces() -> list[bytes]:
    return [line(said("Ray")), line(said("leigh.")), line(said(is_last=True))]


Make = Callable[..., Any]


@pytest.fixture
def client(provider: Any, style: Any) -> Any:
    """A client without connections that outlive their response."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return getattr(ollama, f"{style.prefix}Client")(host=provider.url, limits=limits)


def test_chat(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(said("Rayleigh.", is_last=True)))
    options = {"temperature": 0.5, "num_predict": 300, "seed": 7, "top_k": 40, "stop": ["end"]}
    answer = style.call(lambda: client.chat(MODEL, MESSAGES, options=options, format="json"))
    assert type(answer) is ollama.ChatResponse
    assert answer.message.content == "Rayleigh."
    assert on.span().name == f"chat {MODEL}"
    assert on.usage() == CLASSES
    attributes = on.attributes()
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 300,
        "gen_ai.request.seed": 7,
        "gen_ai.request.top_k": 40,
        "gen_ai.request.stop_sequences": ("end",),
        "gen_ai.output.type": "json",
        "gen_ai.usage.input_tokens": 26,
        "gen_ai.usage.output_tokens": 298,
        "spanledger.sdk": "ollama",
        "server.address": "127.0.0.1",
        "server.port": provider.port,
        "http.response.status_code": 200,
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert attributes["spanledger.sdk.version"][0].isdigit()
    assert not any("Rayleigh" in str(value) or "sky" in str(value) for value in attributes.values())


def test_nobody_bills_ones_own_machine(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(said("Rayleigh.", is_last=True)))
    style.call(lambda: client.chat(MODEL, MESSAGES))
    attributes = on.attributes()
    assert attributes["gen_ai.provider.name"] == "self_hosted"
    assert attributes["spanledger.cost.status"] == "unpriced"
    assert attributes["spanledger.cost.reason"] == "self_hosted"
    assert "spanledger.cost.total" not in attributes


def test_a_stream(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=pieces()))
    chunks = style.chunks(lambda: client.chat(MODEL, MESSAGES, stream=True))
    assert [type(chunk) for chunk in chunks] == [ollama.ChatResponse] * 3
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["http.response.status_code"] == 200
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < 60


def test_streams_keep_their_types(on: Any, provider: Any) -> None:
    def types() -> list[type]:
        async def make() -> Any:
            return await ollama.AsyncClient(host=provider.url).chat(MODEL, MESSAGES, stream=True)

        return [type(ollama.Client(host=provider.url).chat(MODEL, MESSAGES, stream=True)), type(asyncio.run(make()))]

    ours = types()
    from spanledger import instrumentation

    instrumentation.uninstrument()
    assert ours == types()
    assert on.spans() == [], "nothing was sent"


def test_a_stream_that_is_never_read_is_no_call(on: Any, client: Any, style: Any, provider: Any) -> None:
    made = style.call(lambda: client.chat(MODEL, MESSAGES, stream=True))
    del made
    gc.collect()
    assert provider.requests == []
    assert on.spans() == []


@drops_a_socket
def test_left_early(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=pieces(), waits_after=2))
    style.chunks(lambda: client.chat(MODEL, MESSAGES, stream=True), 1)
    gc.collect()
    assert on.usage() == {"partial": True}
    attributes = on.attributes()
    assert attributes["gen_ai.response.model"] == MODEL
    assert attributes["spanledger.notes"] == ("stream_ended_early",)
    assert "error.type" not in attributes


@drops_a_socket
def test_closed_early(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=pieces(), waits_after=2))
    if style.is_async:

        async def read() -> None:
            stream = await client.chat(MODEL, MESSAGES, stream=True)
            await anext(stream)
            await stream.aclose()
            assert on.usage() == {"partial": True}, "as soon as it is closed"

        asyncio.run(read())
    else:
        stream = client.chat(MODEL, MESSAGES, stream=True)
        next(stream)
        stream.close()
        assert on.usage() == {"partial": True}, "as soon as it is closed"
    assert len(on.spans()) == 1


@drops_a_socket
def test_left_after_its_last_piece_is_whole(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=pieces(), waits_after=3))
    style.chunks(lambda: client.chat(MODEL, MESSAGES, stream=True), 3)
    gc.collect()
    assert on.usage() == CLASSES


def test_broken_off(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=pieces()[:2], breaks_off=True))
    with pytest.raises(httpx.RemoteProtocolError):
        style.chunks(lambda: client.chat(MODEL, MESSAGES, stream=True))
    assert on.usage() == {"partial": True}
    assert on.attributes()["error.type"] == "RemoteProtocolError"
    assert on.span().status.status_code.name == "ERROR"


def test_an_error_inside_the_stream(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=[*pieces()[:1], line({"error": "out of memory"})]))
    with pytest.raises(ollama.ResponseError, match="out of memory"):
        style.chunks(lambda: client.chat(MODEL, MESSAGES, stream=True))
    assert on.usage() == {"partial": True}
    assert on.attributes()["error.type"] == "ResponseError"


@drops_a_socket
def test_cancelled(on: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=pieces(), waits_after=1))

    async def run() -> None:
        client = ollama.AsyncClient(host=provider.url)
        got_one = asyncio.Event()

        async def read() -> None:
            async for _ in await client.chat(MODEL, MESSAGES, stream=True):
                got_one.set()

        reading = asyncio.create_task(read())
        await got_one.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(run())
    assert on.usage() == {"partial": True}
    assert on.attributes()["error.type"] == "CancelledError"


@pytest.mark.parametrize("is_stream", [False, True])
def test_errors(on: Any, client: Any, style: Any, provider: Any, reply: Any, is_stream: bool) -> None:
    provider.replies.append(reply({"error": "model 'secret' not found"}, status=404))
    read = style.chunks if is_stream else style.call
    with pytest.raises(ollama.ResponseError) as raised:
        read(lambda: client.chat(MODEL, MESSAGES, stream=is_stream))
    assert raised.value.status_code == 404
    span = on.span()
    assert span.attributes["error.type"] == "ResponseError"
    assert span.attributes["http.response.status_code"] == 404
    assert span.status.status_code.name == "ERROR"
    assert "secret" not in span.to_json()
    assert on.usage() == {}


def test_no_server(on: Any, style: Any) -> None:
    client = getattr(ollama, f"{style.prefix}Client")(host="http://127.0.0.1:9")
    with pytest.raises(ConnectionError):
        style.call(lambda: client.chat(MODEL, MESSAGES))
    assert on.attributes()["error.type"] == "ConnectionError"
    assert "http.response.status_code" not in on.attributes()


@pytest.mark.parametrize("is_stream", [False, True])
def test_tools(on: Any, client: Any, style: Any, provider: Any, reply: Any, is_stream: bool) -> None:
    asked = [{"function": {"name": "weather", "arguments": {"city": "Lyon"}}}]
    documents = [said(tool_calls=asked), said(is_last=True)] if is_stream else [said(tool_calls=asked, is_last=True)]
    provider.replies.append(reply(events=[line(one) for one in documents]))
    messages = [
        {"role": "user", "content": "Weather in Paris?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}]},
        {"role": "tool", "tool_name": "weather", "content": "19 °C"},
    ]
    read = style.chunks if is_stream else style.call
    read(lambda: client.chat(MODEL, messages, stream=is_stream))
    result, use = json.loads(on.attributes()["spanledger.tool_calls"])
    assert (result["kind"], result["output_bytes"]) == ("result", 6)
    assert use == {"name": "weather", "kind": "use", "input_bytes": 15}
    assert on.usage() == CLASSES


@pytest.mark.parametrize("is_stream", [False, True])
def test_generate(on: Any, client: Any, style: Any, provider: Any, reply: Any, is_stream: bool) -> None:
    last = {"model": MODEL, "created_at": "x", "response": "Rayleigh.", "done": True, "done_reason": "length", **COUNTS}
    provider.replies.append(reply(events=[line(last)]))
    read = style.chunks if is_stream else style.call
    read(lambda: client.generate(MODEL, "Why?", stream=is_stream))
    assert on.span().name == f"text_completion {MODEL}"
    assert on.usage() == CLASSES
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("length",)


def test_embed(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    document = {"model": "all-minilm", "embeddings": [[0.1, 0.2]], "total_duration": 1, "prompt_eval_count": 8}
    provider.replies.append(reply(document))
    answer = style.call(lambda: client.embed("all-minilm", "hello"))
    assert answer.embeddings == [[0.1, 0.2]]
    assert on.span().name == "embeddings all-minilm"
    assert on.usage() == {"input_uncached": 8}


def test_embeddings_that_count_nothing(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"embedding": [0.1, 0.2]}))
    style.call(lambda: client.embeddings("all-minilm", "hello"))
    assert on.usage() == {}
    assert "gen_ai.usage.input_tokens" not in on.attributes()


@pytest.mark.parametrize("is_stream", [False, True])
def test_content_under_the_switch(
    switch_on: Any, client: Any, style: Any, provider: Any, reply: Any, is_stream: bool
) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    provider.replies.append(reply(events=pieces() if is_stream else [line(said("Rayleigh.", is_last=True))]))
    read = style.chunks if is_stream else style.call
    read(lambda: client.chat(MODEL, MESSAGES, stream=is_stream))
    attributes = telemetry.attributes()
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Why is the sky blue?"}]}
    ]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Rayleigh."}], "finish_reason": "stop"}
    ]


def test_labels(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    from spanledger.instrumentation import label_client, labels

    label_client(client, team_id="search", feature="x")
    provider.replies.append(reply(events=pieces()))
    with labels(feature="summaries"):
        style.chunks(lambda: client.chat(MODEL, MESSAGES, stream=True))
    attributes = on.attributes()
    assert (attributes["spanledger.team_id"], attributes["spanledger.feature"]) == ("search", "summaries")


def test_the_cloud_is_no_machine_of_ones_own(on: Any, provider: Any, reply: Any) -> None:
    class Redirecting(httpx.HTTPTransport):
        def handle_request(self, request: Any) -> Any:
            request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=provider.port)
            return super().handle_request(request)

    transport = Redirecting(limits=httpx.Limits(max_keepalive_connections=0))
    client = ollama.Client(host="https://ollama.com", transport=transport, headers={"authorization": "Bearer secret"})
    provider.replies.append(reply(said("Rayleigh.", is_last=True)))
    client.chat("gpt-oss:120b", MESSAGES)
    attributes = on.attributes()
    assert attributes["gen_ai.provider.name"] == "ollama_cloud"
    assert attributes["spanledger.cost.status"] == "unpriced"
    assert attributes["spanledger.api_key_fingerprint"] != "secret"


def test_the_functions_of_the_module(on: Any, provider: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    provider.replies.append(reply(said("Rayleigh.", is_last=True)))
    monkeypatch.setattr(ollama.chat.__self__, "_client", httpx.Client(base_url=provider.url))
    ollama.chat(MODEL, MESSAGES)
    ollama.chat.__self__._client.close()
    assert on.usage() == CLASSES


def test_other_requests_make_no_span(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"models": []}))
    style.call(lambda: client.list())
    provider.replies.append(reply(events=[line({"status": "success"})]))
    style.chunks(lambda: client.pull(MODEL, stream=True))
    assert on.spans() == []


def test_an_sdk_that_changed(switch_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from spanledger import instrumentation

    monkeypatch.delattr(ollama.AsyncClient, "_request")
    switch_on(raise_errors=False)
    (told,) = instrumentation.problems()
    assert told.startswith("ollama ")
    assert told.endswith("has no AsyncClient._request: calls through it are not recorded")


def seen(client: Any, style: Any, provider: Any, reply: Any) -> list[Any]:
    """Everything that a caller can see of a round of calls: types, values, errors and what went over the wire."""
    found: list[Any] = []
    for answer in (reply(said("Rayleigh.", is_last=True)), reply({"error": "no"}, status=500)):
        provider.replies.append(answer)
        try:
            got = style.call(lambda: client.chat(MODEL, MESSAGES))
        except ollama.ResponseError as error:
            found.append((type(error), str(error)))
        else:
            found.append((type(got), got.model_dump()))
    provider.replies.append(reply(events=pieces()))
    chunks = style.chunks(lambda: client.chat(MODEL, MESSAGES, stream=True))
    found += [(type(one), one.model_dump()) for one in chunks]
    found += [(request.method, request.path, request.body) for request in provider.requests]
    provider.requests.clear()
    return found


def test_the_same_as_without_us(switch_on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    bare = seen(client, style, provider, reply)
    switch_on()
    assert seen(client, style, provider, reply) == bare


def test_a_stream_belongs_where_it_was_asked_for(on: Any, client: Any, style: Any, provider: Any, reply: Any) -> None:
    from spanledger.instrumentation import labels

    tracer = on.tracer_provider.get_tracer("app")
    provider.replies.append(reply(events=pieces()))
    with labels(team_id="search"), tracer.start_as_current_span("request") as request:
        stream = style.call(lambda: client.chat(MODEL, MESSAGES, stream=True))
    if style.is_async:

        async def read() -> None:
            async for _ in stream:
                pass

        asyncio.run(read())
    else:
        list(stream)
    span = next(span for span in on.spans() if span.name == f"chat {MODEL}")
    assert span.parent.span_id == request.get_span_context().span_id
    assert span.attributes["spanledger.team_id"] == "search"
    assert {name.removeprefix("spanledger.usage.") for name in span.attributes if "spanledger.usage" in name} == set(
        CLASSES
    )
