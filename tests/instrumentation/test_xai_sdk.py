"""The xAI SDK, against a gRPC server that speaks its protocol."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import pytest

pytest.importorskip("xai_sdk")
grpc = pytest.importorskip("grpc")

import xai_sdk  # noqa: E402
from xai_sdk.chat import system, tool_result, user  # noqa: E402
from xai_sdk.proto import (  # noqa: E402
    chat_pb2,
    chat_pb2_grpc,
    deferred_pb2,
    image_pb2,
    image_pb2_grpc,
    sample_pb2,
    usage_pb2,
)

MODEL = "grok-3"
KEY = "xai-test-key"
CLASSES = {"input_uncached": 1000, "cache_read": 100, "output_text": 200, "reasoning": 30}
# 1000 x 3 + 100 x 0.75 + 230 x 15 USD a million: what the price list would say; xAI charges less
LISTED = "0.006525"
CHARGED = "0.0037756"
TELLS_COST = "cost_in_usd_ticks" in usage_pb2.SamplingUsage.DESCRIPTOR.fields_by_name
USAGE_FIELDS: dict[str, Any] = {
    "prompt_tokens": 1100,
    "prompt_text_tokens": 1100,
    "cached_prompt_text_tokens": 100,
    "completion_tokens": 200,
    "reasoning_tokens": 30,
    "total_tokens": 1330,
}
tells_cost = pytest.mark.skipif(not TELLS_COST, reason="this SDK does not know the cost")


def usage(**changes: Any) -> Any:
    cost = {"cost_in_usd_ticks": 37_756_000} if TELLS_COST else {}
    return usage_pb2.SamplingUsage(**{**USAGE_FIELDS, **cost, **changes})


def response(*texts: str, **changes: Any) -> Any:
    outputs = [
        chat_pb2.CompletionOutput(
            finish_reason=sample_pb2.FinishReason.REASON_STOP,
            index=index,
            message=chat_pb2.CompletionMessage(content=text, role=chat_pb2.MessageRole.ROLE_ASSISTANT),
        )
        for index, text in enumerate(texts or ("Rayleigh.",))
    ]
    made = chat_pb2.GetChatCompletionResponse(
        **{"id": "resp-1", "model": "grok-3", "outputs": outputs, "usage": usage(), **changes}
    )
    made.created.seconds = 1_790_000_000
    return made


def chunk(text: str = "", *, is_last: bool = False, **usage_changes: Any) -> Any:
    reason = sample_pb2.FinishReason.REASON_STOP if is_last else sample_pb2.FinishReason.REASON_INVALID
    output = chat_pb2.CompletionOutputChunk(
        finish_reason=reason,
        delta=chat_pb2.Delta(content=text, role=chat_pb2.MessageRole.ROLE_ASSISTANT),
    )
    return chat_pb2.GetChatCompletionChunk(id="resp-1", model="grok-3", outputs=[output], usage=usage(**usage_changes))


def chunks() -> list[Any]:
    started = {"completion_tokens": 0, "reasoning_tokens": 0, "total_tokens": 1100}
    return [chunk("Ray", **started), chunk("leigh.", **started), chunk(is_last=True)]


class Server:
    """Answers with what a test queues: a message, a list of chunks, or a status to fail with."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.requests: list[Any] = []
        self.stopping = threading.Event()
        server = self

        def answer(request: Any, context: Any) -> Any:
            server.requests.append(request)
            reply = server.replies.pop(0)
            if isinstance(reply, grpc.StatusCode):
                context.abort(reply, "secret words")
            return reply

        class Chat(chat_pb2_grpc.ChatServicer):
            GetCompletion = StartDeferredCompletion = GetDeferredCompletion = GetStoredCompletion = staticmethod(answer)
            CompactContext = staticmethod(answer)

            def GetCompletionChunk(self, request: Any, context: Any) -> Iterator[Any]:
                for reply in answer(request, context):
                    if isinstance(reply, grpc.StatusCode):
                        context.abort(reply, "secret words")
                    if reply is None:
                        server.stopping.wait(20)
                        return
                    yield reply

        class Image(image_pb2_grpc.ImageServicer):
            GenerateImage = staticmethod(answer)

        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        chat_pb2_grpc.add_ChatServicer_to_server(Chat(), self._server)
        image_pb2_grpc.add_ImageServicer_to_server(Image(), self._server)
        self._server = with_later_services(self._server, answer)
        self.port = self._server.add_secure_port("localhost:0", grpc.local_server_credentials())
        self._server.start()

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def close(self) -> None:
        self.stopping.set()
        self._server.stop(None).wait(10)


def with_later_services(server: Any, answer: Callable[..., Any]) -> Any:
    """Videos and batches, which the oldest SDK does not know."""
    try:
        from xai_sdk.proto import batch_pb2_grpc, video_pb2_grpc
    except ImportError:
        return server

    class Batch(batch_pb2_grpc.BatchMgmtServicer):
        ListBatchResults = staticmethod(answer)

    class Video(video_pb2_grpc.VideoServicer):
        GenerateVideo = GetDeferredVideo = staticmethod(answer)

    batch_pb2_grpc.add_BatchMgmtServicer_to_server(Batch(), server)
    video_pb2_grpc.add_VideoServicer_to_server(Video(), server)
    return server


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def xai(running: Server) -> Iterator[Server]:
    running.requests.clear()
    yield running
    running.stopping.set()
    assert not running.replies, "replies that nobody asked for"
    running.stopping.clear()


class Asking:
    """The same request in the synchronous and in the asynchronous SDK, each with a client of its own."""

    def __init__(self, server: Server, style: Any) -> None:
        self._server = server
        self._style = style
        self.is_async = style.is_async

    def client(self) -> Any:
        client = xai_sdk.AsyncClient if self.is_async else xai_sdk.Client
        return client(api_key=KEY, api_host=self._server.host)

    def once(self, make: Callable[[Any], Any]) -> Any:
        if not self.is_async:
            client = self.client()
            try:
                return make(client)
            finally:
                close(client)

        async def run() -> Any:
            client = self.client()
            try:
                return await make(client)
            finally:
                await close(client)

        return asyncio.run(run())

    def read(self, make: Callable[[Any], Any], count: int | None = None) -> list[Any]:
        found: list[Any] = []
        if not self.is_async:
            client = self.client()
            try:
                for one in make(client):
                    found.append(one)
                    if len(found) == count:
                        break
            finally:
                close(client)
            return found

        async def run() -> None:
            client = self.client()
            try:
                stream = make(client)
                async for one in stream:
                    found.append(one)
                    if len(found) == count:
                        break
                await stream.aclose()
            finally:
                await close(client)

        asyncio.run(run())
        return found


def close(client: Any) -> Any:
    """Close a client, and return what is to be awaited; the oldest SDK leaves that to the garbage collector."""
    if hasattr(client, "close"):
        return client.close()
    return asyncio.sleep(0) if isinstance(client, xai_sdk.AsyncClient) else None


@pytest.fixture
def asking(xai: Server, style: Any) -> Asking:
    return Asking(xai, style)


def chat(client: Any, **settings: Any) -> Any:
    return client.chat.create(**{"model": MODEL, "messages": [user("Why is the sky blue?")], **settings})


def test_sample(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append(response())
    settings: dict[str, Any] = {"temperature": 0.7, "max_tokens": 300, "seed": 7, "stop": ["end"]}
    answer = asking.once(lambda client: chat(client, reasoning_effort="low", **settings).sample())
    assert type(answer) is xai_sdk.chat.Response
    assert answer.content == "Rayleigh."
    assert xai.requests[0].n == 1
    assert on.span().name == f"chat {MODEL}"
    assert on.usage() == CLASSES
    attributes = on.attributes()
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "x_ai",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": "grok-3",
        "gen_ai.response.id": "resp-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.request.temperature": 0.7,
        "gen_ai.request.max_tokens": 300,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("end",),
        "gen_ai.request.reasoning.level": "low",
        "spanledger.sdk": "xai-sdk",
        "spanledger.sdk.version": xai_sdk.__version__,
        "server.address": "localhost",
        "server.port": xai.port,
        "spanledger.cost.status": "exact" if TELLS_COST else "list",
        "spanledger.cost.total": CHARGED if TELLS_COST else LISTED,
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert attributes["spanledger.api_key_fingerprint"]
    assert not any(word in str(value) for value in attributes.values() for word in ("Rayleigh", "sky", KEY))


def test_a_call_that_tells_no_cost_is_priced_by_the_list(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append(response(usage=usage_pb2.SamplingUsage(**USAGE_FIELDS)))
    asking.once(lambda client: chat(client).sample())
    assert on.attributes()["spanledger.cost.status"] == "list"
    assert on.attributes()["spanledger.cost.total"] == LISTED


def test_an_answer_without_usage(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append(response(usage=None))
    asking.once(lambda client: chat(client).sample())
    assert on.usage() == {}
    assert "spanledger.cost.total" not in on.attributes()


@tells_cost
def test_a_free_call_costs_nothing(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append(response(usage=usage(cost_in_usd_ticks=0)))
    asking.once(lambda client: chat(client).sample())
    assert on.attributes()["spanledger.cost.status"] == "exact"
    assert on.attributes()["spanledger.cost.total"] == "0"


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_several_answers_are_one_call(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append(response("Rayleigh.", "Scattering."))
    found = asking.once(lambda client: chat(client).sample_batch(2))
    assert [one.content for one in found] == ["Rayleigh.", "Scattering."]
    assert on.usage() == CLASSES
    assert on.attributes()["gen_ai.request.choice.count"] == 2
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("stop", "stop")


def test_a_stream(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append(chunks())
    found = asking.read(lambda client: chat(client).stream())
    assert [piece.content for _, piece in found] == ["Ray", "leigh.", ""]
    assert found[-1][0].content == "Rayleigh."
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.id"] == "resp-1"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["spanledger.cost.total"] == (CHARGED if TELLS_COST else LISTED)
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < 60


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_stream_of_several_answers(on: Any, asking: Asking, xai: Server) -> None:
    second = chunk("b", is_last=True)
    second.outputs[0].index = 1
    xai.replies.append([chunk("a", is_last=True), second])
    asking.read(lambda client: chat(client).stream_batch(2))
    assert on.usage() == CLASSES
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("stop", "stop")


def test_left_early(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append([*chunks()[:1], None])
    asking.read(lambda client: chat(client, max_tokens=400).stream(), 1)
    gc.collect()
    # what its first chunk told: a lower bound
    assert on.usage() == {"input_uncached": 1000, "cache_read": 100, "output_text": 0, "reasoning": 0, "partial": True}
    attributes = on.attributes()
    assert attributes["spanledger.notes"] == ("stream_ended_early",)
    assert attributes["spanledger.cost.status"] == "bounded"
    # 1000 x 3 + 100 x 0.75 USD a million, and 400 x 15 at the most
    assert (attributes["spanledger.cost.low"], attributes["spanledger.cost.high"]) == ("0.003075", "0.009075")
    assert "error.type" not in attributes


def test_left_after_its_last_chunk_is_whole(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append([*chunks(), None])
    asking.read(lambda client: chat(client).stream(), 3)
    gc.collect()
    assert on.usage() == CLASSES
    assert on.attributes()["spanledger.cost.total"] == (CHARGED if TELLS_COST else LISTED)


def test_broken_off(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append([*chunks()[:1], grpc.StatusCode.INTERNAL])
    with pytest.raises(grpc.RpcError):
        asking.read(lambda client: chat(client).stream())
    assert on.usage()["partial"] is True
    span = on.span()
    assert span.status.status_code.name == "ERROR"
    assert span.status.description == "INTERNAL"
    assert span.attributes["error.type"]
    assert "secret words" not in span.to_json()


def test_cancelled(on: Any, xai: Server) -> None:
    xai.replies.append([*chunks()[:1], None])

    async def run() -> None:
        client = xai_sdk.AsyncClient(api_key=KEY, api_host=xai.host)
        got_one = asyncio.Event()

        async def read() -> None:
            async for _ in chat(client).stream():
                got_one.set()

        reading = asyncio.create_task(read())
        await got_one.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await close(client)

    asyncio.run(run())
    assert on.usage()["partial"] is True
    assert on.attributes()["error.type"] == "CancelledError"


def test_errors(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies.append(grpc.StatusCode.RESOURCE_EXHAUSTED)
    with pytest.raises(grpc.RpcError) as raised:
        asking.once(lambda client: chat(client).sample())
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    span = on.span()
    assert span.attributes["error.type"] == type(raised.value).__qualname__
    assert span.attributes["rpc.response.status_code"] == "RESOURCE_EXHAUSTED"
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "RESOURCE_EXHAUSTED")
    assert "secret words" not in span.to_json()
    assert on.usage() == {}


def test_parse(on: Any, asking: Asking, xai: Server) -> None:
    from pydantic import BaseModel

    class Colour(BaseModel):
        name: str

    xai.replies.append(response('{"name": "blue"}'))
    _, parsed = asking.once(lambda client: chat(client).parse(Colour))
    assert parsed == Colour(name="blue")
    assert on.usage() == CLASSES
    assert on.attributes()["gen_ai.output.type"] == "json"


def test_an_answer_that_does_not_parse_is_billed_all_the_same(on: Any, asking: Asking, xai: Server) -> None:
    from pydantic import BaseModel, ValidationError

    class Colour(BaseModel):
        name: str

    xai.replies.append(response("blue"))
    with pytest.raises(ValidationError):
        asking.once(lambda client: chat(client).parse(Colour))
    assert on.usage() == CLASSES
    assert "error.type" not in on.attributes()


def deferred(status: Any, **fields: Any) -> Any:
    return chat_pb2.GetDeferredCompletionResponse(status=status, **fields)


def test_defer_is_one_call(on: Any, asking: Asking, xai: Server) -> None:
    from datetime import timedelta

    xai.replies += [
        deferred_pb2.StartDeferredResponse(request_id="d1"),
        deferred(deferred_pb2.DeferredStatus.PENDING),
        deferred(deferred_pb2.DeferredStatus.DONE, response=response()),
    ]
    answer = asking.once(lambda client: chat(client).defer(interval=timedelta(milliseconds=1)))
    assert answer.content == "Rayleigh."
    assert on.span().name == f"chat {MODEL}"
    assert on.usage() == CLASSES
    assert on.attributes()["gen_ai.response.id"] == "resp-1"


def test_a_deferred_call_that_expired(on: Any, asking: Asking, xai: Server) -> None:
    xai.replies += [
        deferred_pb2.StartDeferredResponse(request_id="d1"),
        deferred(deferred_pb2.DeferredStatus.EXPIRED),
    ]
    with pytest.raises(RuntimeError):
        asking.once(lambda client: chat(client).defer())
    assert on.attributes()["error.type"] == "RuntimeError"
    assert on.usage() == {}


def test_tools(on: Any, asking: Asking, xai: Server) -> None:
    def weather(call_id: str, city: str) -> Any:
        return chat_pb2.ToolCall(
            id=call_id, function=chat_pb2.FunctionCall(name="weather", arguments=json.dumps({"city": city}))
        )

    asked = response("")
    asked.outputs[0].finish_reason = sample_pb2.FinishReason.REASON_TOOL_CALLS
    asked.outputs[0].message.tool_calls.append(weather("c2", "Lyon"))
    xai.replies.append(asked)
    earlier = chat_pb2.Message(role=chat_pb2.MessageRole.ROLE_ASSISTANT, tool_calls=[weather("c1", "Paris")])
    try:
        told = tool_result("19 °C", tool_call_id="c1")
    except TypeError:
        told = tool_result("19 °C")
    asking.once(lambda client: chat(client, messages=[user("Weather?"), earlier, told]).sample())
    result, use = json.loads(on.attributes()["spanledger.tool_calls"])
    assert (result["kind"], result["output_bytes"]) == ("result", 6)
    assert use == {"name": "weather", "id": "c2", "kind": "use", "is_error": False, "input_bytes": 16}
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("tool_calls",)


@tells_cost
def test_uses_of_xais_own_tools(on: Any, asking: Asking, xai: Server) -> None:
    tools = usage_pb2.ServerSideTool
    used = [tools.SERVER_SIDE_TOOL_WEB_SEARCH] * 2 + [tools.SERVER_SIDE_TOOL_X_SEARCH]
    xai.replies.append(response(usage=usage(server_side_tools_used=used)))
    asking.once(lambda client: chat(client).sample())
    assert on.usage() == {**CLASSES, "count.web_searches": 2, "count.social_searches": 1}
    assert on.attributes()["spanledger.cost.total"] == CHARGED


def test_images(on: Any, asking: Asking, xai: Server) -> None:
    if "usage" not in image_pb2.ImageResponse.DESCRIPTOR.fields_by_name:
        xai.replies.append(image_pb2.ImageResponse(model="grok-2-image", images=[image_pb2.GeneratedImage(url="u")]))
        asking.once(lambda client: client.image.sample("a sky", "grok-2-image"))
        assert on.usage() == {"count.images": 1}
        return
    told = usage_pb2.SamplingUsage(cost_in_usd_ticks=200_000_000)
    images = [image_pb2.GeneratedImage(url="u"), image_pb2.GeneratedImage(url="v")]
    xai.replies.append(image_pb2.ImageResponse(model="grok-imagine-image", images=images, usage=told))
    found = asking.once(lambda client: client.image.sample_batch("a sky", "grok-imagine-image", 2))
    assert [one.url for one in found] == ["u", "v"]
    assert on.span().name == "image_generation grok-imagine-image"
    assert on.usage()["count.images"] == 2
    assert on.attributes()["spanledger.cost.status"] == "exact"
    assert on.attributes()["spanledger.cost.total"] == "0.02"


def test_videos_are_billed_when_they_are_there(on: Any, asking: Asking, xai: Server) -> None:
    video_pb2 = getattr(xai_sdk.proto, "video_pb2", None) or pytest.skip("this SDK has none")
    video = video_pb2.VideoResponse(
        model="grok-imagine-video",
        video=video_pb2.GeneratedVideo(url="u", duration=6, respect_moderation=True),
        usage=usage_pb2.SamplingUsage(cost_in_usd_ticks=3_000_000_000),
    )
    pending = video_pb2.GetDeferredVideoResponse(status=deferred_pb2.DeferredStatus.PENDING)
    done = video_pb2.GetDeferredVideoResponse(status=deferred_pb2.DeferredStatus.DONE, response=video)
    xai.replies += [pending, grpc.StatusCode.UNAUTHENTICATED, done]
    asking.once(lambda client: client.video.get("v1"))
    with pytest.raises(grpc.RpcError):
        asking.once(lambda client: client.video.get("v1"))
    asking.once(lambda client: client.video.get("v1"))
    assert on.span().name == "video_generation grok-imagine-video"
    attributes = on.attributes()
    assert attributes["gen_ai.response.id"] == "v1"
    assert attributes["spanledger.cost.total"] == "0.3"


def test_batch_results(on: Any, asking: Asking, xai: Server) -> None:
    batch_pb2 = getattr(xai_sdk.proto, "batch_pb2", None) or pytest.skip("this SDK has none")
    page = batch_pb2.ListBatchResultsResponse()
    for name in ("a", "b", "failed"):
        result = page.results.add(batch_request_id=name)
        if name == "failed":
            result.error.code = 3
        else:
            result.response.completion_response.CopyFrom(response(id=f"resp-{name}"))
    xai.replies.append(page)
    got = asking.once(lambda client: client.batch.list_batch_results("batch_1"))
    assert len(got.results) == 3
    spans = on.spans()
    assert [span.attributes["gen_ai.response.id"] for span in spans] == ["resp-a", "resp-b"]
    for span in spans:
        assert span.attributes["spanledger.is_batch"] is True
        assert span.attributes["spanledger.batch_id"] == "batch_1"
        assert span.attributes["spanledger.cost.total"] == CHARGED
        assert span.start_time == 1_790_000_000_000_000_000


def test_compaction(on: Any, asking: Asking, xai: Server) -> None:
    if not hasattr(chat_pb2, "CompactContextResponse"):
        pytest.skip("this SDK does not compact")
    xai.replies.append(chat_pb2.CompactContextResponse(id="c1", encrypted_content="x", usage=usage()))
    asking.once(lambda client: client.chat.compact_context(MODEL, [user("Why is the sky blue?")]))
    assert on.span().name == f"chat {MODEL}"
    assert on.usage() == CLASSES


def test_what_was_billed_before_is_no_call(on: Any, asking: Asking, xai: Server) -> None:
    if not hasattr(chat_pb2, "GetStoredCompletionRequest"):
        pytest.skip("this SDK stores nothing")
    xai.replies.append(response())
    asking.once(lambda client: client.chat.get_stored_completion("resp-1"))
    assert on.spans() == []


@pytest.mark.parametrize("is_stream", [False, True])
def test_content_under_the_switch(switch_on: Any, asking: Asking, xai: Server, is_stream: bool) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    messages = [system("Be brief."), user("Why is the sky blue?")]
    if is_stream:
        xai.replies.append(chunks())
        asking.read(lambda client: chat(client, messages=messages).stream())
    else:
        xai.replies.append(response())
        asking.once(lambda client: chat(client, messages=messages).sample())
    attributes = telemetry.attributes()
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Why is the sky blue?"}]},
    ]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Rayleigh."}], "finish_reason": "stop"}
    ]


def test_labels(on: Any, xai: Server) -> None:
    from spanledger.instrumentation import label_client, labels

    xai.replies.append(response())
    client = label_client(xai_sdk.Client(api_key=KEY, api_host=xai.host), team_id="search", feature="x")
    with labels(feature="summaries"):
        chat(client).sample()
    close(client)
    attributes = on.attributes()
    assert (attributes["spanledger.team_id"], attributes["spanledger.feature"]) == ("search", "summaries")


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_sdks_own_span_is_not_made(on: Any, asking: Asking, xai: Server, monkeypatch: Any, is_stream: bool) -> None:
    """One billable span; and what the SDK traces without us comes back with `uninstrument`."""
    from opentelemetry import trace

    from spanledger import instrumentation

    module = xai_sdk.aio.chat if asking.is_async else xai_sdk.sync.chat
    if not hasattr(module, "tracer"):
        pytest.skip("this SDK does not trace itself")
    instrumentation.uninstrument()
    monkeypatch.setattr(module, "tracer", on.tracer_provider.get_tracer(module.__name__))
    instrumentation.instrument(tracer_provider=on.tracer_provider, environment={}, raise_errors=True)

    def ask() -> None:
        xai.replies.append(chunks() if is_stream else response())
        if is_stream:
            asking.read(lambda client: chat(client).stream())
        else:
            asking.once(lambda client: chat(client).sample())

    before = trace.get_current_span()
    with on.tracer_provider.get_tracer("app").start_as_current_span("work"):
        ask()
    spans = {span.name: span for span in on.spans()}
    assert set(spans) == {"work", f"chat {MODEL}"}
    assert spans[f"chat {MODEL}"].parent.span_id == spans["work"].context.span_id
    assert trace.get_current_span() is before
    instrumentation.uninstrument()
    ask()
    assert on.spans()[2].name == f"chat.{'stream' if is_stream else 'sample'} {MODEL}"


def test_a_conversation(on: Any, asking: Asking, xai: Server) -> None:
    if "conversation_id" not in xai_sdk.chat.BaseClient.create.__code__.co_varnames:
        pytest.skip("this SDK has no conversations")
    xai.replies.append(response())
    asking.once(lambda client: chat(client, conversation_id="conv-1").sample())
    assert on.attributes()["gen_ai.conversation.id"] == "conv-1"


def test_clients_that_were_made_before(switch_on: Any, xai: Server) -> None:
    client = xai_sdk.Client(api_key=KEY, api_host=xai.host)
    earlier = chat(client)
    telemetry = switch_on()
    xai.replies += [response(), response(id="resp-2")]
    earlier.sample()
    chat(client).sample()
    close(client)
    spans = telemetry.spans()
    assert [span.attributes["gen_ai.response.id"] for span in spans] == ["resp-1", "resp-2"]
    assert all(span.attributes["gen_ai.provider.name"] == "x_ai" for span in spans)


def test_uninstrument_leaves_nothing_behind(on: Any, xai: Server) -> None:
    from spanledger import instrumentation

    client = xai_sdk.Client(api_key=KEY, api_host=xai.host)
    open_chat = chat(client)
    instrumentation.uninstrument()
    assert "_stub" not in vars(type(open_chat))
    assert type(open_chat._stub).__name__ == "ChatStub"
    assert open_chat._stub is client.chat._stub
    xai.replies.append(response())
    open_chat.sample()
    close(client)
    assert on.spans() == []


def test_an_sdk_that_changed(switch_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from spanledger import instrumentation

    monkeypatch.delattr(xai_sdk.sync.chat.Chat, "_defer")
    switch_on(raise_errors=False)
    assert instrumentation.problems() == [
        f"xai-sdk {xai_sdk.__version__} has no Chat._defer: calls through it are not recorded"
    ]


def seen(asking: Asking, xai: Server) -> list[Any]:
    """Everything that a caller can see of a round of calls: types, values, errors and what went over the wire."""
    found: list[Any] = []
    for answer in (response(), grpc.StatusCode.INVALID_ARGUMENT):
        xai.replies.append(answer)
        try:
            got = asking.once(lambda client: chat(client).sample())
        except grpc.RpcError as error:
            found.append((type(error), error.code(), error.details()))
        else:
            found.append((type(got), got.proto.SerializeToString()))
    xai.replies.append(chunks())
    pairs = asking.read(lambda client: chat(client).stream())
    found += [(type(whole), type(piece), piece.proto.SerializeToString()) for whole, piece in pairs]
    found += [request.SerializeToString() for request in xai.requests]
    xai.requests.clear()
    return found


def test_the_same_as_without_us(switch_on: Any, asking: Asking, xai: Server) -> None:
    bare = seen(asking, xai)
    switch_on()
    assert seen(asking, xai) == bare


def test_streams_keep_their_types(on: Any, xai: Server) -> None:
    from spanledger import instrumentation

    def types() -> list[type]:
        sync = xai_sdk.Client(api_key=KEY, api_host=xai.host)
        found = [type(chat(sync).stream())]
        close(sync)

        async def look() -> None:
            client = xai_sdk.AsyncClient(api_key=KEY, api_host=xai.host)
            found.append(type(chat(client).stream()))
            await close(client)

        asyncio.run(look())
        return found

    ours = types()
    instrumentation.uninstrument()
    assert ours == types()
    assert on.spans() == [], "nothing was sent"
