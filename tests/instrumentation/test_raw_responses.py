"""``with_raw_response`` and ``with_streaming_response``: the application reads the body itself, when it likes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llm_wire import CHAT_CLASSES, MESSAGE_CLASSES, MESSAGES, chat, chat_events, message, message_events

OPENAI: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
ANTHROPIC: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 400, "messages": MESSAGES}


class Raw:
    """One SDK: how to ask it, and what it would be answered."""

    def __init__(self, name: str, clients: Any, style: Any) -> None:
        if name == "openai":
            self.resource = clients.openai(f"{style.prefix}OpenAI").chat.completions
            self.request, self.classes = OPENAI, CHAT_CLASSES
            self.document, self.events, self.last = chat(), chat_events(), 4
        else:
            self.resource = clients.anthropic(f"{style.prefix}Anthropic").messages
            self.request, self.classes = ANTHROPIC, MESSAGE_CLASSES
            self.document, self.events, self.last = message(), message_events(), 7


@pytest.fixture(params=["openai", "anthropic"])
def raw(request: pytest.FixtureRequest, clients: Any, style: Any) -> Raw:
    return Raw(request.param, clients, style)


def test_a_raw_response(on: Any, raw: Raw, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(raw.document, headers={"x-request-id": "req_1", "request-id": "req_1"}))
    answer = style.call(lambda: raw.resource.with_raw_response.create(**raw.request))
    assert on.usage() == raw.classes, "whether it is parsed or not"
    assert answer.headers["x-request-id"] == "req_1"
    assert on.attributes()["spanledger.request_id"] == "req_1"
    parsed = answer.parse()
    if asyncio.iscoroutine(parsed):
        parsed = asyncio.run(_wait(parsed))
    assert parsed.id == raw.document["id"]
    assert len(on.spans()) == 1


async def _wait(coroutine: Any) -> Any:
    return await coroutine


async def _read(response: Any, how: str) -> Any:
    """Read an asynchronous response one way or another; the synchronous one is read by `_read_sync`."""
    if how == "lines":
        return [line async for line in response.iter_lines()]
    if how == "read":
        return await response.read()
    if how == "parse":
        parsed = response.parse()
        parsed = await parsed if asyncio.iscoroutine(parsed) else parsed
        return [event async for event in parsed] if hasattr(parsed, "__aiter__") else parsed
    return None


def _read_sync(response: Any, how: str) -> Any:
    if how == "lines":
        return list(response.iter_lines())
    if how == "read":
        return response.read()
    if how == "parse":
        parsed = response.parse()
        return list(parsed) if hasattr(parsed, "__next__") else parsed
    return None


def read_streaming(raw: Raw, style: Any, how: str, **request: Any) -> Any:
    create = raw.resource.with_streaming_response.create
    if style.is_async:

        async def run() -> Any:
            async with create(**raw.request, **request) as response:
                return await _read(response, how)

        return asyncio.run(run())
    with create(**raw.request, **request) as response:
        return _read_sync(response, how)


@pytest.mark.parametrize("how", ["lines", "read", "parse"])
def test_a_response_that_is_streamed_by_hand(
    on: Any, raw: Raw, style: Any, provider: Any, reply: Any, how: str
) -> None:
    provider.replies.append(reply(raw.document))
    assert read_streaming(raw, style, how)
    assert on.usage() == raw.classes
    assert "gen_ai.request.stream" not in on.attributes()


def test_a_response_that_is_never_read(on: Any, raw: Raw, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(raw.document))
    read_streaming(raw, style, "not at all")
    assert on.usage() == {"partial": True}


@pytest.mark.parametrize("how", ["lines", "parse"])
def test_events_that_are_read_by_hand(on: Any, raw: Raw, style: Any, provider: Any, reply: Any, how: str) -> None:
    """What the caller sees is what the provider sent: usage is read when it comes, never asked for."""
    provider.replies.append(reply(events=raw.events))
    read = read_streaming(raw, style, how, stream=True)
    assert on.usage() == raw.classes
    assert on.attributes()["gen_ai.request.stream"] is True
    assert "stream_options" not in provider.requests[0].body
    if how == "parse":
        assert len(read) == raw.last


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_raw_stream(on: Any, raw: Raw, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=raw.events))
    create = raw.resource.with_raw_response.create
    if style.is_async:

        async def run() -> list[Any]:
            found: list[Any] = await _read(await create(**raw.request, stream=True), "parse")
            return found

        read = asyncio.run(run())
    else:
        read = _read_sync(create(**raw.request, stream=True), "parse")
    assert len(read) == raw.last
    assert on.usage() == raw.classes


def test_a_raw_error(on: Any, raw: Raw, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"error": {"message": "no"}}, status=404))
    with pytest.raises(Exception, match="404"):
        style.call(lambda: raw.resource.with_raw_response.create(**raw.request))
    assert on.attributes()["http.response.status_code"] == 404
    assert on.attributes()["error.type"] == "NotFoundError"


def test_a_body_that_is_no_json(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    class Text(reply):  # type: ignore[misc]
        def body(self) -> bytes:
            return b"<html>maintenance</html>"

    provider.replies.append(Text())
    answer = clients.openai().chat.completions.with_raw_response.create(**OPENAI)
    assert answer.text.startswith("<html>")
    assert on.usage() == {}
