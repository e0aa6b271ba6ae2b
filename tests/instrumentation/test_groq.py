"""Groq: OpenAI's API, with usage in ``x_groq`` of streams."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from llm_wire import DONE, MESSAGES, TOOL_MESSAGES

groq = pytest.importorskip("groq")

MODEL = "llama-3.3-70b-versatile"
USAGE = {
    "queue_time": 0.01,
    "prompt_tokens": 1100,
    "prompt_time": 0.002,
    "completion_tokens": 230,
    "completion_time": 0.5,
    "total_tokens": 1330,
    "total_time": 0.502,
}
CLASSES = {"input_uncached": 1100, "output_text": 230}
COST = "0.0008307"  # 1100 x 0.59 + 230 x 0.79 USD a million
drops_a_socket = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def completion(**changes: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-g1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Rayleigh."},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
        "system_fingerprint": "fp_1",
        "x_groq": {"id": "req_01"},
        **changes,
    }


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-g1",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": MODEL,
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        **changes,
    }


def events() -> list[Any]:
    return [
        chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_01"}),
        chunk({"content": "Ray"}),
        chunk({"content": "leigh."}),
        chunk({}, "stop", x_groq={"id": "req_01", "usage": USAGE}),
        DONE,
    ]


def stream(clients: Any, style: Any, **request: Any) -> Any:
    client = clients.groq(f"{style.prefix}Groq")
    return lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, **request)


def test_a_chat_completion(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(completion(), headers={"x-request-id": "req_01"}))
    client = clients.groq(f"{style.prefix}Groq")
    answer = style.call(
        lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0.5, max_tokens=300)
    )
    assert type(answer).__module__.startswith("groq.types")
    assert answer.choices[0].message.content == "Rayleigh."
    assert provider.requests[0].path == "/openai/v1/chat/completions"
    assert on.usage() == CLASSES
    assert on.span().name == f"chat {MODEL}"
    attributes = on.attributes()
    wanted = {
        "gen_ai.provider.name": "groq",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
        "gen_ai.response.id": "chatcmpl-g1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.request.max_tokens": 300,
        "gen_ai.request.temperature": 0.5,
        "spanledger.request_id": "req_01",
        "spanledger.sdk": "groq",
        "spanledger.sdk.version": groq.__version__,
        "spanledger.cost.total": COST,
        "server.address": "api.groq.com",
        "http.response.status_code": 200,
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert "openai.api.type" not in attributes
    assert not any("Rayleigh" in str(value) or "sky" in str(value) for value in attributes.values())


def test_cached_and_reasoning_tokens(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    provider.replies.append(reply(completion(model="openai/gpt-oss-120b", usage=usage)))
    clients.groq().chat.completions.create(model="openai/gpt-oss-120b", messages=MESSAGES)
    assert on.usage() == {"input_uncached": 1000, "cache_read": 100, "output_text": 200, "reasoning": 30}
    # 1000 x 0.15 + 100 x 0.075 + 230 x 0.6 USD a million
    assert on.attributes()["spanledger.cost.total"] == "0.0002955"


def test_a_stream_tells_its_usage_unasked(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=events()))
    chunks = style.chunks(stream(clients, style))
    assert "stream_options" not in provider.requests[0].body
    assert len(chunks) == 4
    assert chunks[-1].x_groq.usage.prompt_tokens == 1100
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["spanledger.cost.total"] == COST
    assert attributes["spanledger.request_id"] == "req_01"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.response.id"] == "chatcmpl-g1"
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < 60


def test_the_stream_is_the_sdks_own(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=events()))
    with clients.groq().chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) as opened:
        assert type(opened) is groq.Stream
        assert len(list(opened)) == 4
    assert len(on.spans()) == 1


@drops_a_socket
def test_left_early(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=events(), waits_after=2))
    style.chunks(stream(clients, style), 1)
    gc.collect()
    assert on.usage() == {"partial": True}
    assert on.attributes()["spanledger.request_id"] == "req_01"
    assert on.attributes()["spanledger.notes"] == ("stream_ended_early",)


@drops_a_socket
def test_left_after_its_usage_is_whole(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=events()[:4], waits_after=4))
    style.chunks(stream(clients, style), 4)
    gc.collect()
    assert on.usage() == CLASSES
    assert "spanledger.notes" not in on.attributes()


def test_broken_off(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=events()[:2], breaks_off=True))
    with pytest.raises(Exception, match=r"incomplete|closed|Connection"):
        style.chunks(stream(clients, style))
    assert on.usage() == {"partial": True}
    assert on.span().status.status_code.name == "ERROR"


def test_an_error_told_in_the_last_chunk(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    last = chunk({}, x_groq={"id": "req_01", "error": "over capacity"})
    provider.replies.append(reply(events=[*events()[:2], last, DONE]))
    list(clients.groq().chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    span = on.span()
    assert span.attributes["error.type"] == "stream_error"
    assert span.status.status_code.name == "ERROR"
    assert on.usage() == {"partial": True}


def test_tools(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    used = [
        {"index": 0, "id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Lyon"}'}}
    ]
    provider.replies.append(
        reply(events=[chunk({"tool_calls": used}), chunk({}, "tool_calls", x_groq={"id": "r", "usage": USAGE}), DONE])
    )
    client = clients.groq(f"{style.prefix}Groq")
    style.chunks(lambda: client.chat.completions.create(model=MODEL, messages=TOOL_MESSAGES, stream=True))
    calls = json.loads(on.attributes()["spanledger.tool_calls"])
    assert [(one["name"], one["id"], one["kind"]) for one in calls] == [
        ("weather", "call_1", "result"),
        ("weather", "c2", "use"),
    ]
    assert on.usage() == CLASSES


@pytest.mark.parametrize(("status", "error"), [(429, "RateLimitError"), (401, "AuthenticationError")])
def test_errors(on: Any, clients: Any, style: Any, provider: Any, reply: Any, status: int, error: str) -> None:
    told = {"error": {"message": "secret words", "type": "tokens", "code": "rate_limit_exceeded"}}
    provider.replies.append(reply(told, status=status))
    client = clients.groq(f"{style.prefix}Groq")
    with pytest.raises(getattr(groq, error)):
        style.call(lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES))
    span = on.span()
    assert span.attributes["error.type"] == error
    assert span.attributes["http.response.status_code"] == status
    assert span.status.status_code.name == "ERROR"
    assert "secret words" not in str(span.to_json())
    assert on.usage() == {}


def test_content_under_the_switch(switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    provider.replies.append(reply(events=events()))
    style.chunks(stream(clients, style))
    attributes = telemetry.attributes()
    assert "Why is the sky blue?" in attributes["gen_ai.input.messages"]
    assert json.loads(attributes["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "Rayleigh."}]
    assert telemetry.usage() == CLASSES


@pytest.mark.parametrize("kind", ["transcriptions", "translations"])
@pytest.mark.parametrize(("duration", "seconds", "cost"), [(3600.2, 3601, "0.0400111111"), (3.5, 4, "0.0001111111")])
def test_recordings_by_the_second_ten_at_least(
    on: Any, clients: Any, style: Any, provider: Any, reply: Any, kind: str, duration: float, seconds: int, cost: str
) -> None:
    document = {"task": "transcribe", "text": "hello", "duration": duration, "x_groq": {"id": "req_02"}}
    provider.replies.append(reply(document))
    audio = getattr(clients.groq(f"{style.prefix}Groq").audio, kind)
    heard = style.call(
        lambda: audio.create(model="whisper-large-v3-turbo", file=("a.wav", b"RIFF"), response_format="verbose_json")
    )
    assert heard.text == "hello"
    assert on.usage() == {"count.audio_seconds": seconds}
    attributes = on.attributes()
    assert attributes["spanledger.cost.total"].startswith(cost)
    assert attributes["spanledger.request_id"] == "req_02"


def test_a_recording_of_unknown_length(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"text": "hello", "x_groq": {"id": "req_02"}}))
    clients.groq().audio.transcriptions.create(model="whisper-large-v3", file=("a.wav", b"RIFF"))
    assert on.usage() == {}
    assert "spanledger.cost.total" not in on.attributes()


def test_speech_by_characters(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    client = clients.groq(f"{style.prefix}Groq")
    if not hasattr(client.audio, "speech"):
        pytest.skip("this SDK does not speak")

    class Sound(reply):  # type: ignore[misc]
        content_type = "audio/wav"

        def body(self) -> bytes:
            return b"RIFF" * 10

    provider.replies.append(Sound())
    spoken = style.call(
        lambda: client.audio.speech.create(model="canopylabs/orpheus-v1-english", voice="troy", input="x" * 1000)
    )
    assert spoken.http_response.content == b"RIFF" * 10
    assert on.usage() == {"count.input_characters": 1000}
    assert on.attributes()["spanledger.cost.total"] == "0.022"


def test_embeddings(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    usage = {"prompt_tokens": 12, "total_tokens": 12}
    data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
    provider.replies.append(reply({"object": "list", "data": data, "model": "nomic-embed-text-v1_5", "usage": usage}))
    client = clients.groq(f"{style.prefix}Groq")
    style.call(lambda: client.embeddings.create(model="nomic-embed-text-v1_5", input="hello"))
    assert on.span().name == "embeddings nomic-embed-text-v1_5"
    assert on.usage() == {"input_uncached": 12}


def test_batch_results(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    client = clients.groq(f"{style.prefix}Groq")
    if not hasattr(client, "files"):
        pytest.skip("this SDK has no files")

    class Lines(reply):  # type: ignore[misc]
        content_type = "application/octet-stream"

        def body(self) -> bytes:
            lines = [
                {
                    "id": f"batch_req_{one}",
                    "custom_id": one,
                    "response": {"status_code": status, "request_id": f"req_{one}", "body": completion(id=one)},
                    "error": None,
                }
                for one, status in (("a", 200), ("b", 200), ("c", 400))
            ]
            return b"\n".join(json.dumps(line).encode() for line in lines)

    provider.replies.append(Lines())
    style.call(lambda: client.files.content("file_1"))
    spans = on.spans()
    assert [span.attributes["gen_ai.response.id"] for span in spans] == ["a", "b"]
    assert all(span.attributes["spanledger.is_batch"] for span in spans)


def test_other_requests_make_no_span(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"object": "list", "data": []}))
    clients.groq().models.list()
    assert on.spans() == []


def test_uninstrument(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    from spanledger import instrumentation

    assert type(groq.Groq.request).__name__ != "function"
    instrumentation.uninstrument()
    provider.replies.append(reply(completion()))
    clients.groq().chat.completions.create(model=MODEL, messages=MESSAGES)
    assert on.spans() == []
    assert type(groq.Groq.request).__name__ == "function"


@pytest.mark.parametrize("is_whole", [False, True])
def test_bodies_that_the_application_reads(
    on: Any, clients: Any, style: Any, provider: Any, reply: Any, is_whole: bool
) -> None:
    completions = clients.groq(f"{style.prefix}Groq").chat.completions
    if is_whole:
        provider.replies.append(reply(completion()))
        raw = style.call(lambda: completions.with_raw_response.create(model=MODEL, messages=MESSAGES))
        assert json.loads(raw.http_response.content)["id"] == "chatcmpl-g1"
    else:
        provider.replies.append(reply(events=events()))
        create = completions.with_streaming_response.create
        if style.is_async:

            async def read() -> None:
                async with create(model=MODEL, messages=MESSAGES, stream=True) as opened:
                    assert len([line async for line in opened.iter_lines() if line]) == 5

            asyncio.run(read())
        else:
            with create(model=MODEL, messages=MESSAGES, stream=True) as opened:
                assert len([line for line in opened.iter_lines() if line]) == 5
    assert on.usage() == CLASSES
    assert on.attributes()["spanledger.request_id"] == "req_01"


def seen(clients: Any, provider: Any, reply: Any, style: Any) -> list[Any]:
    """Everything that a caller can see of a round of calls: types, values, errors and what went over the wire."""
    client = clients.groq(f"{style.prefix}Groq")
    found: list[Any] = []
    for answer in (reply(completion()), reply({"error": {"message": "no"}}, status=429)):
        provider.replies.append(answer)
        try:
            got = style.call(lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES))
        except groq.APIError as error:
            found.append((type(error), str(error)))
        else:
            found.append((type(got), got.to_dict()))
    provider.replies.append(reply(events=events()))
    found += [(type(one), one.to_dict()) for one in style.chunks(stream(clients, style))]
    found += [(request.method, request.path, request.body) for request in provider.requests]
    provider.requests.clear()
    return found


def test_the_same_as_without_us(switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    bare = seen(clients, provider, reply, style)
    switch_on()
    assert seen(clients, provider, reply, style) == bare
