"""The Google Gen AI SDK: Gemini API and Vertex AI, sync and async, streams, chats, function calling, embeddings."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from spanledger.instrumentation import label_client

genai = pytest.importorskip("google.genai")
errors: Any = pytest.importorskip("google.genai.errors")

# Where aiohttp is installed, the SDK sends asynchronous requests through a class of its own that aiohttp frowns on.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

MODEL = "gemini-2.5-flash"
# prompt 1200 of which 200 cached; 30 thoughts beside 70 said
USAGE = {
    "promptTokenCount": 1200,
    "cachedContentTokenCount": 200,
    "candidatesTokenCount": 70,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 1300,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1200}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 200}],
}
CLASSES = {"input_uncached": 1000, "cache_read": 200, "output_text": 70, "reasoning": 30}


def candidate(*parts: dict[str, Any], finish: str = "STOP", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}
    return {**found, "finishReason": finish} if finish else found


def answer(*candidates: dict[str, Any], usage: Any = USAGE, **changes: Any) -> dict[str, Any]:
    return {
        "candidates": list(candidates) or [candidate({"text": "Rayleigh."})],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "resp-1",
        **changes,
    }


def stream() -> list[dict[str, Any]]:
    """Three chunks; usage is a running total."""
    started = {**USAGE, "candidatesTokenCount": 10, "totalTokenCount": 1240}
    return [
        answer(candidate({"text": "Ray"}, finish=""), usage={"promptTokenCount": 1200, "totalTokenCount": 1200}),
        answer(candidate({"text": "leigh"}, finish=""), usage=started),
        answer(candidate({"text": "."}), usage=USAGE),
    ]


class Gemini:
    """Clients of the SDK, and its methods in the wanted style."""

    def __init__(self, provider: Any, style: Any) -> None:
        self._provider = provider
        self.style = style
        self._stack = contextlib.ExitStack()

    def client(self, **options: Any) -> Any:
        http_options = {"base_url": self._provider.url, **options.pop("http_options", {})}
        client = genai.Client(**{"api_key": "AIza-test", "http_options": http_options, **options})
        self._stack.callback(client.close)
        return client

    def call(self, client: Any, do: Any) -> Any:
        """``do(client)``, in the client's asynchronous half if that is the style."""
        if not self.style.is_async:
            return do(client)

        async def wait() -> Any:
            try:
                return await do(client.aio)
            finally:
                await client.aio.aclose()

        return asyncio.run(wait())

    def chunks(self, client: Any, do: Any, count: int | None = None) -> list[Any]:
        if not self.style.is_async:
            return self.style.chunks(lambda: do(client), count)

        async def read() -> list[Any]:
            found: list[Any] = []
            try:
                async for chunk in await do(client.aio):
                    found.append(chunk)
                    if len(found) == count:
                        break
            finally:
                await client.aio.aclose()
            return found

        return asyncio.run(read())

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def gemini(provider: Any, style: Any) -> Iterator[Gemini]:
    gemini = Gemini(provider, style)
    yield gemini
    gemini.close()


def generate(half: Any, **config: Any) -> Any:
    return half.models.generate_content(model=MODEL, contents="Why is the sky blue?", config=config or None)


def generate_stream(half: Any) -> Any:
    return half.models.generate_content_stream(model=MODEL, contents="Why is the sky blue?")


def test_an_answer(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer()))
    config = {
        "max_output_tokens": 400,
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "cached_content": "cachedContents/1",
    }
    got = gemini.call(gemini.client(), lambda half: generate(half, **config))
    assert type(got) is genai.types.GenerateContentResponse
    assert got.text == "Rayleigh."
    assert got.usage_metadata.prompt_token_count == 1200
    assert provider.requests[0].body["cachedContent"] == "cachedContents/1"
    assert on.span().name == f"generate_content {MODEL}"
    assert on.usage() == CLASSES
    attributes = on.attributes()
    wanted = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.max_tokens": 400,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "resp-1",
        "gen_ai.response.model": "gemini-2.5-flash-001",
        "gen_ai.response.finish_reasons": ("STOP",),
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 200,
        "gen_ai.usage.reasoning.output_tokens": 30,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": provider.port,
        "spanledger.provider": "google",
        "spanledger.sdk": "google-genai",
        # 1000 x 0.30 + 200 x 0.03 + 100 x 2.50 USD a million
        "spanledger.cost.total": "0.000556",
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert "AIza" not in json.dumps({name: str(value) for name, value in attributes.items()})
    assert "Rayleigh" not in str(attributes)


def test_a_stream(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=stream()))
    got = gemini.chunks(gemini.client(), generate_stream)
    assert [chunk.text for chunk in got] == ["Ray", "leigh", "."]
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.response.finish_reasons"] == ("STOP",)
    assert attributes["spanledger.cost.total"] == "0.000556"


def test_a_stream_left_early(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    """What was billed until then is known, and that there may be more."""
    provider.replies.append(reply(events=stream(), waits_after=2))
    assert len(gemini.chunks(gemini.client(), generate_stream, 2)) == 2
    gc.collect()
    assert on.usage() == {**CLASSES, "output_text": 10, "partial": True}
    assert on.attributes()["spanledger.notes"] == ("stream_ended_early",)
    assert on.span().status.is_unset


def test_a_stream_left_after_its_end_was_told(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=stream()))
    gemini.chunks(gemini.client(), generate_stream, 3)
    gc.collect()
    assert on.usage() == CLASSES


def test_a_stream_that_nobody_reads_sends_nothing(on: Any, provider: Any) -> None:
    with genai.Client(api_key="AIza-test", http_options={"base_url": provider.url}) as client:
        generate_stream(client).close()
    assert provider.requests == []
    assert on.spans() == []


def test_a_broken_stream(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=stream()[:2], breaks_off=True))
    with pytest.raises(Exception, match=r"peer closed|payload is not completed|incomplete"):
        gemini.chunks(gemini.client(), generate_stream)
    assert on.usage() == {**CLASSES, "output_text": 10, "partial": True}
    assert not on.span().status.is_ok
    assert on.span().status.status_code.name == "ERROR"


def test_an_error_inside_a_stream(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    broken = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    provider.replies.append(reply(events=[*stream()[:1], broken]))
    with pytest.raises(errors.ServerError) as raised:
        gemini.chunks(gemini.client(), generate_stream)
    assert raised.value.code == 503
    assert on.attributes()["error.type"] == "ServerError"
    assert on.usage() == {"input_uncached": 1200, "partial": True}


@pytest.mark.parametrize("method", [generate, generate_stream])
def test_an_error(on: Any, gemini: Gemini, provider: Any, reply: Any, method: Any) -> None:
    document = {"error": {"code": 400, "message": "bad: Why is the sky blue?", "status": "INVALID_ARGUMENT"}}
    provider.replies.append(reply(document, status=400))
    with pytest.raises(errors.ClientError) as raised:
        (gemini.call if method is generate else gemini.chunks)(gemini.client(), method)
    assert raised.value.status == "INVALID_ARGUMENT"
    assert raised.value.details == document
    attributes = on.attributes()
    assert attributes["error.type"] == "ClientError"
    assert attributes["http.response.status_code"] == 400
    assert on.span().status.description == "INVALID_ARGUMENT"
    assert on.usage() == {}
    assert "sky" not in str(on.span().to_json())


def test_a_retried_request_is_one_span(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies += [reply({"error": {"code": 503}}, status=503), reply({}, status=500), reply(answer())]
    retry = {"attempts": 3, "initial_delay": 0.001, "max_delay": 0.001, "jitter": 0}
    gemini.call(gemini.client(http_options={"retry_options": retry}), generate)
    assert len(provider.requests) == 3
    assert on.usage() == CLASSES
    assert on.attributes()["http.request.resend_count"] == 2
    first, second = on.span().events
    assert first.name == second.name == "spanledger.failed_attempt"
    assert first.attributes == {"error.type": "503", "http.response.status_code": 503}
    assert second.attributes == {"error.type": "500", "http.response.status_code": 500}
    assert on.span().start_time <= first.timestamp <= second.timestamp <= on.span().end_time


def test_retries_in_vain_are_one_span(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies += [reply({"error": {"code": 429}}, status=429), reply({"error": {"code": 503}}, status=503)]
    retry = {"attempts": 2, "initial_delay": 0.001, "max_delay": 0.001, "jitter": 0}
    with pytest.raises(errors.ServerError):
        gemini.call(gemini.client(http_options={"retry_options": retry}), generate)
    assert on.attributes()["http.response.status_code"] == 503
    assert on.attributes()["http.request.resend_count"] == 1
    assert [event.attributes["error.type"] for event in on.span().events] == ["429"]


def test_a_chat_is_one_span_a_message(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies += [reply(answer()), reply(events=stream())]
    client = gemini.client()
    if not gemini.style.is_async:
        chat = client.chats.create(model=MODEL)
        assert chat.send_message("Why?").text == "Rayleigh."
        assert len(list(chat.send_message_stream("Why?"))) == 3
    else:

        async def talk() -> None:
            chat = client.aio.chats.create(model=MODEL)
            assert (await chat.send_message("Why?")).text == "Rayleigh."
            assert len([chunk async for chunk in await chat.send_message_stream("Why?")]) == 3
            await client.aio.aclose()

        asyncio.run(talk())
    assert [span.name for span in on.spans()] == [f"generate_content {MODEL}"] * 2
    assert len(provider.requests[1].body["contents"]) == 3


def weather(city: str) -> str:
    """The weather in a city."""
    return f"19 °C in {city}"


weather.__annotations__ = {"city": str, "return": str}  # older versions of the SDK cannot read them from a text


def test_automatic_function_calling_is_a_span_for_each_billed_request(
    on: Any, gemini: Gemini, provider: Any, reply: Any
) -> None:
    asked = candidate({"functionCall": {"name": "weather", "args": {"city": "Paris"}}})
    first = {"promptTokenCount": 90, "candidatesTokenCount": 12, "totalTokenCount": 102}
    provider.replies += [reply(answer(asked, usage=first, responseId="resp-0")), reply(answer())]
    got = gemini.call(gemini.client(), lambda half: generate(half, tools=[weather]))
    assert got.text == "Rayleigh."
    one, two = on.spans()
    assert one.attributes["spanledger.usage.input_uncached"] == 90
    assert one.attributes["gen_ai.response.id"] == "resp-0"
    assert two.attributes["spanledger.usage.cache_read"] == 200
    assert json.loads(one.attributes["spanledger.tool_calls"]) == [
        {"name": "weather", "kind": "use", "input_bytes": len('{"city":"Paris"}')}
    ]
    (result,) = json.loads(two.attributes["spanledger.tool_calls"])
    assert (result["name"], result["kind"]) == ("weather", "result")
    assert result["output_bytes"] == len('{"result":"19 °C in Paris"}'.encode())


# What a usage document says, and the classes that it stands for.
USAGES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "tool results are input beside the prompt": (
        {"promptTokenCount": 100, "toolUsePromptTokenCount": 40, "candidatesTokenCount": 9, "totalTokenCount": 149},
        {"input_uncached": 140, "output_text": 9},
    ),
    "audio, part of it cached": (
        {
            "promptTokenCount": 1000,
            "cachedContentTokenCount": 500,
            "candidatesTokenCount": 9,
            "totalTokenCount": 1009,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 400}, {"modality": "AUDIO", "tokenCount": 600}],
            "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 200}, {"modality": "AUDIO", "tokenCount": 300}],
        },
        {"input_uncached": 200, "input_audio": 300, "cache_read": 200, "count.cache_read_audio": 300, "output_text": 9},
    ),
    "an image asked about, another made": (
        {
            "promptTokenCount": 300,
            "candidatesTokenCount": 1300,
            "totalTokenCount": 1600,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 42}, {"modality": "IMAGE", "tokenCount": 258}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
        },
        {"input_uncached": 42, "input_image": 258, "output_text": 10, "output_image": 1290},
    ),
    "speech": (
        {
            "promptTokenCount": 10,
            "candidatesTokenCount": 200,
            "totalTokenCount": 210,
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 200}],
        },
        {"input_uncached": 10, "output_text": 0, "output_audio": 200},
    ),
    "nothing but thoughts": (
        {"promptTokenCount": 10, "thoughtsTokenCount": 90, "totalTokenCount": 100},
        {"input_uncached": 10, "output_text": 0, "reasoning": 90},
    ),
    "an output that is not told": ({"promptTokenCount": 10}, {"input_uncached": 10}),
    "nothing": ({}, {}),
}


@pytest.mark.parametrize("case", USAGES)
def test_usage(on: Any, provider: Any, reply: Any, case: str) -> None:
    usage, classes = USAGES[case]
    provider.replies.append(reply(answer(usage=usage)))
    with genai.Client(api_key="AIza-test", http_options={"base_url": provider.url}) as client:
        generate(client)
    assert on.usage() == classes
    told = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
    # every token stands in exactly one class
    assert sum(count for name, count in on.usage().items() if "input" in name or "cache" in name) == told


@pytest.mark.parametrize(("version", "billed"), [("gemini-2.5-flash", 1), ("gemini-3-flash", 2)])
def test_google_search(on: Any, provider: Any, reply: Any, version: str, billed: int) -> None:
    grounded = candidate({"text": "Yes."}, groundingMetadata={"webSearchQueries": ["sky", "blue"]})
    provider.replies.append(reply(answer(grounded, modelVersion=version)))
    with genai.Client(api_key="AIza-test", http_options={"base_url": provider.url}) as client:
        generate(client)
    assert on.usage()["count.web_searches"] == billed


def test_the_tier_that_served(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer(), headers={"x-gemini-service-tier": "flex"}))
    gemini.call(gemini.client(), generate)
    assert on.attributes()["spanledger.service_tier"] == "flex"


def test_vertex(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer(usage={**USAGE, "trafficType": "PROVISIONED_THROUGHPUT"})))
    gemini.call(gemini.client(vertexai=True), generate)
    assert provider.requests[0].path.startswith("/v1beta1/publishers/google/models/gemini-2.5-flash:")
    attributes = on.attributes()
    assert attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert attributes["spanledger.provider"] == "google_vertex"
    assert attributes["gen_ai.request.model"] == MODEL
    assert attributes["spanledger.service_tier"] == "provisioned_throughput"
    assert on.usage() == CLASSES


def embed(half: Any) -> Any:
    config = {"output_dimensionality": 2}
    return half.models.embed_content(model="gemini-embedding-001", contents=["sky", "blue"], config=config)


def test_embeddings(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    document = {
        "embeddings": [{"values": [0.1, 0.2]}, {"values": [0.3, 0.4]}],
        "usageMetadata": {"promptTokenCount": 7},
    }
    provider.replies.append(reply(document))
    got = gemini.call(gemini.client(), embed)
    assert [one.values for one in got.embeddings] == [[0.1, 0.2], [0.3, 0.4]]
    assert on.span().name == "embeddings gemini-embedding-001"
    assert on.usage() == {"input_uncached": 7}
    assert on.attributes()["gen_ai.embeddings.dimension.count"] == 2


def test_embeddings_of_vertex(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    predictions = [{"embeddings": {"values": [0.1], "statistics": {"token_count": count}}} for count in (4, 5)]
    provider.replies.append(reply({"predictions": predictions, "metadata": {"billableCharacterCount": 7}}))
    gemini.call(gemini.client(vertexai=True), embed)
    assert on.span().name == "embeddings gemini-embedding-001"
    assert on.usage() == {"input_uncached": 9}
    assert on.attributes()["spanledger.provider"] == "google_vertex"


@pytest.mark.filterwarnings("ignore:The generate_images method is deprecated")
def test_images_that_are_billed_apiece(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    made = {"mimeType": "image/png", "bytesBase64Encoded": "aW1hZ2U="}
    provider.replies.append(reply({"predictions": [made, made, {"raiFilteredReason": "no faces"}]}))
    model = "imagen-4.0-generate-001"
    config = {"number_of_images": 3, "include_rai_reason": True}
    got = gemini.call(
        gemini.client(vertexai=True),
        lambda half: half.models.generate_images(model=model, prompt="the sky", config=config),
    )
    assert len(got.generated_images) == 3
    assert on.span().name == f"image_generation {model}"
    assert on.usage() == {"count.images": 2}, "one was filtered out"


def test_a_batchs_answers(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    """Each once it is looked up, with an id that is the same whenever it is."""
    one = {"response": answer()}
    without_id = {"response": {name: value for name, value in answer().items() if name != "responseId"}}
    failed = {"error": {"code": 3, "message": "no"}}
    job: dict[str, Any] = {
        "name": "batches/b-1",
        "metadata": {
            "name": "batches/b-1",
            "model": f"models/{MODEL}",
            "state": "BATCH_STATE_SUCCEEDED",
            "createTime": "2026-11-20T10:00:00.5Z",
            "output": {"inlinedResponses": {"inlinedResponses": [one, failed, without_id]}},
        },
    }
    running = {**job, "metadata": {"name": "batches/b-1", "model": f"models/{MODEL}", "state": "BATCH_STATE_RUNNING"}}
    provider.replies += [reply(running), reply(job)]
    for _ in range(2):
        gemini.call(gemini.client(), lambda half: half.batches.get(name="batches/b-1"))
    spans = on.spans()
    assert [span.attributes["gen_ai.response.id"] for span in spans] == ["resp-1", "b-1/2"]
    for span in spans:
        assert span.attributes["spanledger.is_batch"] is True
        assert span.attributes["spanledger.batch_id"] == "b-1"
        assert span.attributes["gen_ai.usage.input_tokens"] == 1200
        assert span.start_time == 1_795_168_800_000_000_000


def file_reply(reply: Any, body: bytes) -> Any:
    class File(reply):  # type: ignore[misc]
        content_type = "application/octet-stream"

        def body(self) -> bytes:
            return body

    return File()


def test_the_answers_in_a_batchs_file(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    lines = [
        {"key": "a", "response": answer(responseId="resp-1")},
        {"key": "b", "error": {"code": 8, "message": "no"}},
        {"key": "c", "response": {name: value for name, value in answer().items() if name != "responseId"}},
    ]
    body = "\n".join(map(json.dumps, lines)).encode()
    provider.replies.append(file_reply(reply, body))
    assert gemini.call(gemini.client(), lambda half: half.files.download(file="files/out-1")) == body
    first, second = on.spans()
    assert first.attributes["gen_ai.response.id"] == "resp-1"
    assert second.attributes["gen_ai.response.id"] == "files/out-1/c"
    for span in (first, second):
        assert span.attributes["spanledger.is_batch"] is True
        assert span.attributes["gen_ai.usage.input_tokens"] == 1200
        # 1000 x 0.15 + 200 x 0.03 + 100 x 1.25 USD a million
        assert span.attributes["spanledger.cost.total"] == "0.000281"


@pytest.mark.parametrize("body", [b"", b"\x00\x01" * 500, b'{"response": broken', b'{"name": "x"}\n'])
def test_other_files_are_left_alone(on: Any, gemini: Gemini, provider: Any, reply: Any, body: bytes) -> None:
    provider.replies.append(file_reply(reply, body))
    assert gemini.call(gemini.client(), lambda half: half.files.download(file="files/out-1")) == body
    assert on.spans() == []


def test_what_is_not_billed_makes_no_span(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"totalTokens": 5}))
    got = gemini.call(gemini.client(), lambda half: half.models.count_tokens(model=MODEL, contents="sky"))
    assert got.total_tokens == 5
    assert on.spans() == []


def test_a_blocked_prompt(on: Any, provider: Any, reply: Any) -> None:
    usage = {"promptTokenCount": 8, "totalTokenCount": 8}
    provider.replies.append(reply({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage}))
    with genai.Client(api_key="AIza-test", http_options={"base_url": provider.url}) as client:
        generate(client)
    assert on.usage() == {"input_uncached": 8, "output_text": 0}
    assert on.attributes()["spanledger.notes"] == ("prompt_blocked:SAFETY",)


def test_labels_of_a_client(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer()))
    gemini.call(label_client(gemini.client(), team_id="search"), generate)
    assert on.attributes()["spanledger.team_id"] == "search"


def test_content_is_captured_under_the_switch(switch_on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    on = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    provider.replies.append(reply(events=stream()))
    gemini.chunks(gemini.client(), generate_stream)
    attributes = on.attributes()
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Why is the sky blue?"}]}
    ]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Rayleigh."}], "finish_reason": "STOP"}
    ]


def test_an_odd_body_harms_nobody(switch_on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    on = switch_on(raise_errors=False)
    provider.replies.append(reply({"candidates": "none", "usageMetadata": [1], "modelVersion": 3}))
    with contextlib.suppress(Exception):  # the SDK's own types do not like it
        gemini.call(gemini.client(), generate)
    assert on.span().name == f"generate_content {MODEL}"
    assert on.usage() == {}


def test_switched_off_again(on: Any, provider: Any, reply: Any) -> None:
    from spanledger.instrumentation import uninstrument

    uninstrument()
    provider.replies.append(reply(answer()))
    with genai.Client(api_key="AIza-test", http_options={"base_url": provider.url}) as client:
        assert generate(client).text == "Rayleigh."
    assert on.spans() == []
