"""LiteLLM as a client: one span per request, whether it uses the OpenAI SDK below or its own HTTP client."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import time
from importlib.util import find_spec
from typing import Any

import pytest
from llm_wire import (
    CHAT_CLASSES,
    CHAT_USAGE,
    MESSAGE_CLASSES,
    MESSAGES,
    RESPONSE_CLASSES,
    chat,
    chat_events,
    message,
    message_events,
    response,
    response_events,
)

from spanledger import instrumentation
from spanledger.instrumentation import labels, problems, status

if find_spec("litellm") is None:
    pytest.skip("LiteLLM holds the OpenAI SDK back: it has an environment of its own", allow_module_level=True)
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no request of its own at import
import litellm
from litellm.caching import caching_handler

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own

CLAUDE = "anthropic/claude-haiku-4-5"
GPT = "openai/gpt-4o"
REFUSED = {"error": {"message": "slow down", "type": "rate_limit_error"}}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    monkeypatch.setattr(litellm, "num_retries", None)
    monkeypatch.setattr(litellm, "disable_aiohttp_transport", True)


@pytest.fixture
def to(provider: Any) -> dict[str, Any]:
    """Where requests go."""
    return {"api_base": provider.url, "api_key": "sk-test", "max_retries": 0}


def ask(style: Any, function: str, **options: Any) -> Any:
    return style.call(lambda: getattr(litellm, f"a{function}" if style.is_async else function)(**options))


def stream(style: Any, function: str, count: int | None = None, **options: Any) -> list[Any]:
    def make() -> Any:
        return getattr(litellm, f"a{function}" if style.is_async else function)(stream=True, **options)

    return style.chunks(make, count)


def ended(on: Any) -> None:
    """A stream that was dropped ends when the last of LiteLLM's threads has let it go."""
    deadline = time.monotonic() + 30
    while not on.spans() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)


def test_through_the_openai_sdk(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies.append(reply(chat(), headers={"x-request-id": "req_1"}))
    answer = ask(style, "completion", model=GPT, messages=MESSAGES, **to)
    assert type(answer) is litellm.ModelResponse
    found = on.attributes()
    assert found["gen_ai.response.id"] == "chatcmpl-1"
    assert found["spanledger.request_id"] == "req_1"
    assert found["spanledger.sdk"] == "openai"
    assert found["gen_ai.request.model"] == "gpt-4o"
    assert on.usage() == CHAT_CLASSES


def test_through_its_own_client(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies.append(reply(message(), headers={"request-id": "req_2"}))
    ask(style, "completion", model=CLAUDE, messages=MESSAGES, temperature=0.5, max_tokens=400, **to)
    found = on.attributes()
    assert on.span().name == "chat claude-haiku-4-5"
    assert found["spanledger.provider"] == "anthropic"
    assert found["spanledger.sdk"] == "litellm"
    assert found["gen_ai.response.id"] == "msg_1", "the provider's, not LiteLLM's"
    assert found["gen_ai.response.model"] == "claude-haiku-4-5-20251001"
    assert found["spanledger.request_id"] == "req_2"
    assert found["gen_ai.request.temperature"] == 0.5
    assert found["server.address"] == "127.0.0.1"
    assert found["http.response.status_code"] == 200
    assert len(found["spanledger.api_key_fingerprint"]) == 16
    assert "sk-test" not in str(found)
    assert found["spanledger.cost.total"]
    assert on.usage() == MESSAGE_CLASSES


@pytest.mark.parametrize("sdks", [("openai", "litellm"), ("litellm",)], ids=["both", "alone"])
def test_a_stream_through_the_openai_sdk(
    switch_on: Any, provider: Any, reply: Any, style: Any, to: Any, sdks: tuple[str, ...]
) -> None:
    """Usage is asked for, and kept from whoever did not ask, whichever of the two is instrumented."""
    telemetry = switch_on(sdks=sdks)
    is_asked = "openai" in sdks
    provider.replies.append(reply(events=chat_events(usage=CHAT_USAGE if is_asked else None)))
    chunks = stream(style, "completion", model=GPT, messages=MESSAGES, **to)
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Rayleigh"
    assert ("stream_options" in provider.requests[0].body) is is_asked
    found = telemetry.attributes()
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert found["gen_ai.response.id"] == "chatcmpl-1"
    assert telemetry.usage() == (CHAT_CLASSES if is_asked else {})


def test_a_stream_through_its_own_client(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies.append(reply(events=message_events()))
    chunks = stream(style, "completion", model=CLAUDE, messages=MESSAGES, **to)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Rayleigh"
    found = on.attributes()
    assert found["gen_ai.response.time_to_first_chunk"] > 0
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert "spanledger.usage.partial" not in found, "LiteLLM closes its streams itself at the end"
    assert "gen_ai.response.id" not in found, "LiteLLM invents one"
    of_unknown_lifetime = {"input_uncached": 300, "cache_read": 2000, "cache_write": 50, "output_text": 120}
    assert on.usage() in (MESSAGE_CLASSES, of_unknown_lifetime), (
        "before 1.106, LiteLLM left the lifetime out of streams"
    )


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_stream_that_is_left(on: Any, provider: Any, reply: Any, style: Any, to: Any, model: str) -> None:
    events = chat_events(usage=None) if model == GPT else message_events()
    provider.replies.append(reply(events=events, waits_after=2 if model == GPT else 5))
    stream(style, "completion", count=1, model=model, messages=MESSAGES, **to)
    ended(on)
    found = on.attributes()
    assert found["spanledger.usage.partial"] is True
    assert "gen_ai.usage.output_tokens" not in found
    assert found.get("gen_ai.usage.input_tokens") == (None if model == GPT else 2350)


def test_a_stream_that_is_closed(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    """Its call ends there and then, however long the application keeps the stream."""
    closing = "aclose" if style.is_async else "close"
    if not hasattr(litellm.CustomStreamWrapper, closing):
        pytest.skip(f"this LiteLLM has no {closing} of streams")
    provider.replies.append(reply(events=message_events(), waits_after=5))
    kept = {"model": CLAUDE, "messages": MESSAGES, "stream": True, **to}

    async def leave() -> None:
        stream = await litellm.acompletion(**kept)
        await anext(stream)
        await stream.aclose()
        assert on.attributes()["spanledger.usage.partial"] is True

    if style.is_async:
        asyncio.run(leave())
    else:
        stream = litellm.completion(**kept)
        next(stream)
        stream.close()
        assert on.attributes()["spanledger.usage.partial"] is True


def test_a_stream_that_breaks_off(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies.append(reply(events=message_events()[:4], breaks_off=True))
    with pytest.raises(Exception, match=r"(?i)incomplete|peer|closed|connection"):
        stream(style, "completion", model=CLAUDE, messages=MESSAGES, **to)
    found = on.attributes()
    assert found["error.type"]
    assert found["spanledger.usage.partial"] is True


def test_every_attempt_of_its_retries(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies += [reply(REFUSED, status=500), reply(REFUSED, status=500), reply(message())]
    ask(style, "completion", model=CLAUDE, messages=MESSAGES, num_retries=2, **to)
    spans = on.spans()
    assert [span.attributes["http.response.status_code"] for span in spans] == [500, 500, 200]
    assert ["spanledger.cost.total" in span.attributes for span in spans] == [False, False, True]
    assert [span.status.is_ok for span in spans] == [False, False, True]


def test_fallbacks(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies += [reply(REFUSED, status=401), reply(chat())]
    ask(style, "completion", model=CLAUDE, messages=MESSAGES, fallbacks=[{"model": GPT, **to}], **to)
    assert [(span.name, span.status.is_ok) for span in on.spans()] == [
        ("chat claude-haiku-4-5", False),
        ("chat gpt-4o", True),
    ]


def test_a_router(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    router = litellm.Router(
        model_list=[
            {"model_name": "smart", "litellm_params": {"model": CLAUDE, **to}},
            {"model_name": "spare", "litellm_params": {"model": GPT, **to}},
        ],
        fallbacks=[{"smart": ["spare"]}],
        num_retries=0,
    )
    provider.replies += [reply(REFUSED, status=500), reply(chat())]
    style.call(lambda: (router.acompletion if style.is_async else router.completion)("smart", MESSAGES))
    assert [(span.name, span.attributes["spanledger.label.model_group"]) for span in on.spans()] == [
        ("chat claude-haiku-4-5", "smart"),
        ("chat gpt-4o", "spare"),
    ]


def test_an_answer_from_its_cache_is_no_call(
    on: Any, provider: Any, reply: Any, style: Any, to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "cache", litellm.Cache(type="local"))
    # what it asks here imports all of LiteLLM's proxy, and what that needs is not installed
    monkeypatch.setattr(caching_handler, "_should_defer_streaming_cache_hit_callbacks", lambda **_asked: False)
    provider.replies.append(reply(message()))

    async def twice() -> None:
        for _ in range(2):
            await litellm.acompletion(model=CLAUDE, messages=MESSAGES, caching=True, **to)
            deadline = time.monotonic() + 30
            while not litellm.cache.cache.cache_dict and time.monotonic() < deadline:
                await asyncio.sleep(0.01)  # it is written by a task of LiteLLM's

    if style.is_async:
        asyncio.run(twice())
    else:
        for _ in range(2):
            litellm.completion(model=CLAUDE, messages=MESSAGES, caching=True, **to)
    assert len(provider.requests) == len(on.spans()) == 1


def test_a_mocked_answer_is_no_call(on: Any, style: Any) -> None:
    ask(style, "completion", model=CLAUDE, messages=MESSAGES, mock_response="Rayleigh.")
    assert on.spans() == []


def test_a_call_that_was_never_sent(on: Any, style: Any) -> None:
    with pytest.raises(litellm.BadRequestError):
        ask(style, "completion", model="nobody-knows-this", messages=MESSAGES)
    assert on.spans() == []


def test_embeddings(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    told = {"object": "list", "model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    provider.replies += [reply({**told, "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}]})]
    ask(style, "embedding", model="openai/text-embedding-3-small", input=["sky"], **to)
    mistral = {**told, "id": "e-1", "model": "mistral-embed"}
    provider.replies += [reply({**mistral, "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}]})]
    ask(style, "embedding", model="jina_ai/jina-embeddings-v3", input=["sky"], **to)
    found = [(span.name, span.attributes["gen_ai.usage.input_tokens"]) for span in on.spans()]
    assert found == [("embeddings text-embedding-3-small", 8), ("embeddings jina-embeddings-v3", 8)]


def test_responses(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies.append(reply(response()))
    ask(style, "responses", model=GPT, input="Why?", **to)
    found = on.attributes()
    assert (on.span().name, found["gen_ai.response.id"]) == ("chat gpt-4o", "resp_1")
    assert on.usage() == RESPONSE_CLASSES


def test_a_stream_of_responses(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies.append(reply(events=response_events()))
    assert len(stream(style, "responses", model=GPT, input="Why?", **to)) == 6
    assert on.attributes()["gen_ai.response.id"] == "resp_1"
    assert on.usage() == RESPONSE_CLASSES


def test_responses_of_a_provider_without(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    """LiteLLM makes a completion of it: still one span."""
    provider.replies.append(reply(message()))
    ask(style, "responses", model=CLAUDE, input="Why?", **to)
    assert on.attributes()["gen_ai.response.id"] == "msg_1"


def test_text_completions(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    choice = {"index": 0, "text": "Rayleigh", "finish_reason": "stop", "logprobs": None}
    said = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-3.5-turbo-instruct"}
    provider.replies += [reply({**said, "choices": [choice], "usage": CHAT_USAGE}), reply(message())]
    ask(style, "text_completion", model="text-completion-openai/gpt-3.5-turbo-instruct", prompt="Why?", **to)
    ask(style, "text_completion", model=CLAUDE, prompt="Why?", **to)
    assert [span.attributes["gen_ai.response.id"] for span in on.spans()] == ["cmpl-1", "msg_1"]


def test_its_labels(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies += [reply(chat()), reply(message())]
    told = {"session_id": "s-1", "team_id": "search", "feature": ""}
    with labels(team_id="outer", feature="summaries"):
        for model in (GPT, CLAUDE):
            ask(style, "completion", model=model, messages=MESSAGES, metadata=told, user="u-1", **to)
    expected = {
        "spanledger.team_id": "search",
        "spanledger.feature": "summaries",
        "session.id": "s-1",
        "user.id": "u-1",
    }
    for span in on.spans():
        assert {name: span.attributes.get(name) for name in expected} == expected


def test_content_only_when_asked_for(switch_on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    provider.replies += [reply(message()), reply(events=message_events())]
    ask(style, "completion", model=CLAUDE, messages=MESSAGES, **to)
    stream(style, "completion", model=CLAUDE, messages=MESSAGES, **to)
    for span in telemetry.spans():
        assert "Why is the sky blue?" in span.attributes["gen_ai.input.messages"]
        assert "Rayleigh" in span.attributes["gen_ai.output.messages"]


def test_a_function_that_was_imported_before(on: Any, provider: Any, reply: Any, to: Any) -> None:
    """What the application holds is what it held before: the patch is beneath it."""
    instrumentation.uninstrument()
    completion = litellm.completion
    bare = (completion, inspect.signature(completion), inspect.signature(litellm.main.completion))
    instrumentation.instrument(tracer_provider=on.tracer_provider, environment={})
    assert (litellm.completion, inspect.signature(completion), inspect.signature(litellm.main.completion)) == bare
    provider.replies.append(reply(message()))
    completion(model=CLAUDE, messages=MESSAGES, **to)
    assert len(on.spans()) == 1


def test_switched_off(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    assert {one.sdk: one.state for one in status()}["litellm"] == "instrumented"
    instrumentation.uninstrument()
    provider.replies += [reply(message()), reply(events=message_events())]
    ask(style, "completion", model=CLAUDE, messages=MESSAGES, **to)
    stream(style, "completion", model=CLAUDE, messages=MESSAGES, **to)
    assert on.spans() == []


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_the_same_answers_and_errors(
    switch_on: Any, provider: Any, reply: Any, style: Any, to: Any, model: str
) -> None:
    def seen() -> list[Any]:
        found: list[Any] = []
        document, events = (chat(), chat_events(usage=None)) if model == GPT else (message(), message_events())
        provider.replies.append(reply(document))
        answer = ask(style, "completion", model=model, messages=MESSAGES, **to)
        found.append((type(answer), answer.choices, answer.usage))
        provider.replies.append(reply(events=events))
        chunks = stream(style, "completion", model=model, messages=MESSAGES, **to)
        found.append([(type(chunk), chunk.choices) for chunk in chunks])
        provider.replies.append(reply(REFUSED, status=429))
        with pytest.raises(litellm.RateLimitError) as error:
            ask(style, "completion", model=model, messages=MESSAGES, **to)
        found.append((type(error.value), str(error.value)))
        return found

    bare = seen()
    switch_on()
    assert seen() == bare


def test_a_version_that_changed_under_us(switch_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm, "aembedding", lambda **_options: None)
    switch_on(raise_errors=False)
    (line,) = problems()
    assert line.endswith("has no litellm.aembedding.original_function: calls through it are not recorded")


RERANKED = {
    "id": "rr_1",
    "results": [{"index": 0, "relevance_score": 0.9}],
    "meta": {"billed_units": {"search_units": 2}},
}


def test_reranking(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies.append(reply(RERANKED))
    asked = {"query": "sky", "documents": ["a", "b"], "metadata": {"team_id": "search"}}
    answer = ask(style, "rerank", model="cohere/rerank-v3.5", **asked, **to)
    assert type(answer).__name__ == "RerankResponse"
    assert on.span().name == "rerank rerank-v3.5"
    assert on.usage() == {"count.rerank_searches": 2}
    found = on.attributes()
    assert found["spanledger.provider"] == "cohere"
    assert found["spanledger.team_id"] == "search"
    assert found["gen_ai.response.id"] == "rr_1"


def test_images_of_a_provider_that_tells_no_usage(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies.append(reply({"created": 1790000000, "data": [{"url": "x"}, {"url": "y"}]}))
    ask(style, "image_generation", model="recraft/recraftv3", prompt="a blue sky", n=2, **to)
    assert on.span().name == "image_generation recraftv3"
    assert on.usage() == {"count.images": 2}, "LiteLLM's zeros are no usage"


def test_images_through_the_openai_sdk(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 100},
        "output_tokens": 4000,
        "total_tokens": 4100,
    }
    provider.replies.append(reply({"created": 1790000000, "data": [{"b64_json": "AA=="}], "usage": usage}))
    asked = {"prompt": "a blue sky", "metadata": {"team_id": "search"}}
    ask(style, "image_generation", model="openai/gpt-image-1", **asked, **to)
    found = on.attributes()
    assert found["spanledger.sdk"] == "openai"
    assert found["spanledger.team_id"] == "search", "what LiteLLM was told"
    assert on.usage() == {"input_uncached": 100, "output_image": 4000, "count.images": 1}


def test_a_transcription(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    heard = {"channels": [{"alternatives": [{"transcript": "hi", "words": []}]}]}
    provider.replies.append(reply({"metadata": {"duration": 3.2, "request_id": "d1"}, "results": heard}))
    ask(style, "transcription", model="deepgram/nova-2", file=("a.wav", b"RIFF"), **to)
    assert on.span().name == "transcription nova-2"
    assert on.usage() == {"count.audio_seconds": 4}


def test_speech_through_the_openai_sdk(on: Any, provider: Any, reply: Any, style: Any, to: Any) -> None:
    provider.replies.append(reply({}))
    ask(style, "speech", model="openai/tts-1", input="hello", voice="alloy", **to)
    assert on.span().name == "text_to_speech tts-1"
    assert on.usage() == {"count.input_characters": 5}


def test_messages(on: Any, provider: Any, reply: Any, to: Any) -> None:
    provider.replies.append(reply(message()))

    async def make() -> Any:
        return await litellm.anthropic_messages(max_tokens=400, messages=MESSAGES, model=CLAUDE, **to)

    assert asyncio.run(make())["id"] == "msg_1"
    assert on.span().name == "chat claude-haiku-4-5"
    assert on.attributes()["gen_ai.response.id"] == "msg_1"
    assert on.attributes()["gen_ai.request.max_tokens"] == 400
    assert on.usage() == MESSAGE_CLASSES


def test_messages_of_another_provider_are_one_span(on: Any, provider: Any, reply: Any, to: Any) -> None:
    provider.replies.append(reply(response()))

    async def make() -> Any:
        return await litellm.anthropic_messages(max_tokens=400, messages=MESSAGES, model=GPT, **to)

    asyncio.run(make())
    assert on.attributes()["gen_ai.response.id"] == "resp_1"
    assert on.usage() == RESPONSE_CLASSES
