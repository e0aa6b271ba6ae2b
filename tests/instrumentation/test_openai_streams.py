"""OpenAI chat streams: read to the end, left early, broken, cancelled."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from llm_wire import CHAT_CLASSES, CHAT_USAGE, DONE, MESSAGES, chat_events, chunk, delta

# An SDK stream that is dropped unread is a reference cycle: its socket may be collected before its generator closes it.
drops_a_socket = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
REQUEST: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, "stream": True}


def stream(clients: Any, style: Any, **options: Any) -> Any:
    client = clients.openai(f"{style.prefix}OpenAI", **options)
    return lambda **request: client.chat.completions.create(**{**REQUEST, **request})


def test_usage_is_asked_for_and_the_extra_chunk_hidden(
    on: Any, clients: Any, style: Any, provider: Any, reply: Any
) -> None:
    provider.replies.append(reply(events=chat_events(), headers={"x-request-id": "req_1"}))
    chunks = style.chunks(stream(clients, style))
    assert provider.requests[0].body["stream_options"] == {"include_usage": True}
    assert [len(one.choices) for one in chunks] == [1, 1, 1]
    assert on.usage() == CHAT_CLASSES
    attributes = on.attributes()
    wanted = {
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.finish_reasons": ("stop",),
        "spanledger.request_id": "req_1",
        "spanledger.cost.total": "0.004925",
        "http.response.status_code": 200,
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < 60


def test_a_caller_who_asks_for_usage_gets_its_chunk(
    on: Any, clients: Any, style: Any, provider: Any, reply: Any
) -> None:
    provider.replies.append(reply(events=chat_events()))
    make = stream(clients, style)
    chunks = style.chunks(lambda: make(stream_options={"include_usage": True}))
    assert [len(one.choices) for one in chunks] == [1, 1, 1, 0]
    assert chunks[-1].usage.prompt_tokens == 1100
    assert on.usage() == CHAT_CLASSES


def test_a_caller_who_declines_usage_is_obeyed(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events(usage=None)))
    make = stream(clients, style)
    style.chunks(lambda: make(stream_options={"include_usage": False}))
    assert provider.requests[0].body["stream_options"] == {"include_usage": False}
    assert on.usage() == {}
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("stop",)


def test_other_stream_options_are_kept(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events()))
    options = {"include_obfuscation": False}
    list(clients.openai().chat.completions.create(**REQUEST, stream_options=options))
    assert provider.requests[0].body["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert options == {"include_obfuscation": False}, "the caller's own object stays as it was"
    assert on.usage() == CHAT_CLASSES


def test_unknown_hosts_are_not_asked(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events(usage=None)))
    style.chunks(stream(clients, style, base_url="https://llm.example.com/v1"))
    assert "stream_options" not in provider.requests[0].body
    assert on.usage() == {}


@pytest.mark.parametrize(("version", "asked"), [("2024-02-01", False), ("2024-10-21", True)])
def test_azure_is_asked_where_its_version_allows(
    on: Any, clients: Any, provider: Any, reply: Any, version: str, asked: bool
) -> None:
    provider.replies.append(reply(events=chat_events(usage=CHAT_USAGE if asked else None)))
    client = clients.openai("AzureOpenAI", azure_endpoint="https://acme.openai.azure.com", api_version=version)
    list(client.chat.completions.create(**REQUEST))
    assert ("stream_options" in provider.requests[0].body) is asked
    assert on.usage() == (CHAT_CLASSES if asked else {})


def test_the_switch_turns_asking_off(switch_on: Any, clients: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on({"SPANLEDGER_STREAM_USAGE": "off"})
    provider.replies.append(reply(events=chat_events(usage=None)))
    list(clients.openai().chat.completions.create(**REQUEST))
    assert "stream_options" not in provider.requests[0].body
    assert telemetry.usage() == {}


@drops_a_socket
def test_left_early(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events(), waits_after=2))
    chunks = style.chunks(stream(clients, style), 1)
    assert len(chunks) == 1
    gc.collect()
    assert on.usage() == {"partial": True}
    span = on.span()
    assert span.status.status_code.name == "UNSET"
    assert span.attributes["gen_ai.response.id"] == "chatcmpl-1"
    assert span.attributes["spanledger.notes"] == ("stream_ended_early",)


@drops_a_socket
def test_closed_early(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events(), waits_after=2))
    with clients.openai().chat.completions.create(**REQUEST) as opened:
        next(opened)
    assert on.usage() == {"partial": True}
    del opened
    gc.collect()
    assert len(on.spans()) == 1


@drops_a_socket
def test_never_read(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events(), waits_after=1))
    opened = clients.openai().chat.completions.create(**REQUEST)
    assert on.spans() == []
    opened.response.close()
    del opened
    gc.collect()
    assert on.usage() == {"partial": True}


def test_broken_off_by_the_provider(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events()[:2], breaks_off=True))
    with pytest.raises(Exception, match=r"incomplete|closed|Connection"):
        style.chunks(stream(clients, style))
    assert on.usage() == {"partial": True}
    span = on.span()
    assert span.status.status_code.name == "ERROR"
    assert span.attributes["error.type"]


def test_an_error_inside_the_stream(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    import openai

    broken = {"error": {"message": "overloaded", "type": "server_error", "code": "server_overloaded"}}
    provider.replies.append(reply(events=[*chat_events()[:2], broken]))
    with pytest.raises(openai.APIError):
        style.chunks(stream(clients, style))
    assert on.span().attributes["error.type"] == "APIError"
    assert on.usage() == {"partial": True}


@drops_a_socket
def test_left_after_its_usage_is_whole(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    """Some hosts send a running total with every chunk; the last that was seen is what there is."""
    events = [chunk([delta("Ray")], usage=CHAT_USAGE), chunk([delta("leigh")], usage=CHAT_USAGE), DONE]
    provider.replies.append(reply(events=events))
    style.chunks(stream(clients, style, base_url="https://api.x.ai/v1"), 1)
    gc.collect()
    assert on.usage() == CHAT_CLASSES


@drops_a_socket
def test_cancelled(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events(), waits_after=1))
    client = clients.openai("AsyncOpenAI")

    async def run() -> None:
        opened = await client.chat.completions.create(**REQUEST)
        got_one = asyncio.Event()

        async def read() -> None:
            async for _ in opened:
                got_one.set()

        reading = asyncio.create_task(read())
        await got_one.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(run())
    assert on.usage() == {"partial": True}
    assert on.span().attributes["error.type"] == "CancelledError"


def test_tools_of_a_stream(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    def call(**fields: Any) -> Any:
        return chunk([delta(tool_calls=[{"index": 0, **fields}])])

    events = [
        call(id="call_1", type="function", function={"name": "weather", "arguments": ""}),
        call(function={"arguments": '{"city":'}),
        call(function={"arguments": '"Lyon"}'}),
        chunk([delta(finish_reason="tool_calls")]),
        chunk([], usage=CHAT_USAGE),
        DONE,
    ]
    provider.replies.append(reply(events=events))
    style.chunks(stream(clients, style))
    assert json.loads(on.attributes()["spanledger.tool_calls"]) == [
        {"name": "weather", "id": "call_1", "kind": "use", "input_bytes": 15}
    ]


def test_several_choices(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    events = [
        chunk([delta("a")]),
        chunk([delta("b", index=1)]),
        chunk([delta(finish_reason="length", index=1)]),
        chunk([delta(finish_reason="stop")]),
        chunk([], usage=CHAT_USAGE),
        DONE,
    ]
    provider.replies.append(reply(events=events))
    list(clients.openai().chat.completions.create(**REQUEST, n=2))
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("stop", "length")
    assert on.attributes()["gen_ai.request.choice.count"] == 2


def test_content_of_a_stream(switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})
    provider.replies.append(reply(events=chat_events()))
    style.chunks(stream(clients, style))
    assert json.loads(telemetry.attributes()["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Rayleigh"}], "finish_reason": "stop"}
    ]
    assert telemetry.usage() == CHAT_CLASSES


def test_the_stream_helper(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events()))
    client = clients.openai(f"{style.prefix}OpenAI")
    completions = client.chat.completions
    helper = completions.stream if hasattr(completions, "stream") else client.beta.chat.completions.stream
    if style.is_async:

        async def read() -> Any:
            async with helper(model="gpt-4o", messages=MESSAGES) as opened:
                return await opened.get_final_completion()

        final = asyncio.run(read())
    else:
        with helper(model="gpt-4o", messages=MESSAGES) as opened:
            final = opened.get_final_completion()
    assert final.choices[0].message.content == "Rayleigh"
    assert on.usage() == CHAT_CLASSES


@drops_a_socket
def test_the_stream_helper_left_early(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events(), waits_after=2))
    client = clients.openai(f"{style.prefix}OpenAI")
    completions = client.chat.completions
    helper = completions.stream if hasattr(completions, "stream") else client.beta.chat.completions.stream
    if style.is_async:

        async def read() -> None:
            async with helper(model="gpt-4o", messages=MESSAGES) as opened:
                async for _ in opened:
                    break
            assert on.usage() == {"partial": True}, "as soon as the block is left"

        asyncio.run(read())
    else:
        with helper(model="gpt-4o", messages=MESSAGES) as opened:
            next(iter(opened))
        assert on.usage() == {"partial": True}, "as soon as the block is left"
    gc.collect()
    assert len(on.spans()) == 1


def test_a_chunk_that_we_cannot_read_reaches_the_caller(
    switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spanledger.instrumentation import _openai_chat, problems

    telemetry = switch_on(raise_errors=False)

    def fail(self: Any, chunk: Any) -> bool:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(_openai_chat.ChatReader, "feed", fail)
    provider.replies.append(reply(events=chat_events()))
    chunks = style.chunks(stream(clients, style))
    assert len(chunks) == 4, "unread, the extra chunk cannot be hidden"
    assert telemetry.span().attributes["spanledger.notes"][0] == "unreadable_chunk"
    assert problems() == ["error while reading a stream: RuntimeError (1 times)"]


def test_legacy_completions(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    def piece(text: str, finish_reason: str | None = None, usage: Any = None) -> Any:
        choices = [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}]
        return {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1790000000,
            "model": "gpt-3.5-turbo-instruct",
            "choices": choices if usage is None else [],
            "usage": usage,
        }

    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    provider.replies.append(reply(events=[piece("bl"), piece("ue", "stop"), piece("", usage=usage), DONE]))
    client = clients.openai(f"{style.prefix}OpenAI")
    chunks = style.chunks(
        lambda: client.completions.create(model="gpt-3.5-turbo-instruct", prompt="The sky is", stream=True)
    )
    assert [one.choices[0].text for one in chunks] == ["bl", "ue"]
    assert on.usage() == {"input_uncached": 5, "output_text": 7}
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("stop",)


def test_untyped_chunks(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    import openai

    provider.replies.append(reply(events=chat_events()))
    stream = clients.openai().post(
        "/chat/completions", body=REQUEST, cast_to=object, stream=True, stream_cls=openai.Stream[object]
    )
    assert [len(chunk["choices"]) for chunk in stream] == [1, 1, 1]
    assert on.usage() == CHAT_CLASSES


@drops_a_socket
def test_dropped_at_the_end_of_a_loop(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    """The loop cancels what would have closed the stream: its caller has left it, and nothing has failed."""
    provider.replies.append(reply(events=chat_events(), waits_after=2))
    client = clients.openai("AsyncOpenAI")

    async def run() -> None:
        async for _ in await client.chat.completions.create(**REQUEST):
            return

    asyncio.run(run())
    gc.collect()
    assert on.usage() == {"partial": True}
    assert on.span().status.is_unset
