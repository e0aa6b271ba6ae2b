"""The user's call is sacred: same types, same errors, same requests, with the instrumentation and without."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from typing import Any, TypeVar

import pytest
from llm_wire import CHAT_CLASSES, MESSAGES, chat, chat_events, message, message_events

from spanledger import instrumentation
from spanledger.instrumentation import problems, status

T = TypeVar("T")
OPENAI: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
ANTHROPIC: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 400, "messages": MESSAGES}


def shapes(clients: Any, provider: Any, reply: Any, style: Any) -> list[Any]:
    """Everything that a caller can see of a round of calls: types, values, errors and what went over the wire."""
    openai = clients.openai(f"{style.prefix}OpenAI")
    anthropic = clients.anthropic(f"{style.prefix}Anthropic")
    seen: list[Any] = []

    def see(make: Any, answer: Any) -> None:
        provider.replies.append(answer)
        try:
            got = style.call(make)
        except Exception as error:
            seen.append((type(error), str(error), getattr(error, "status_code", None)))
            return
        seen.append((type(got), got.to_dict() if hasattr(got, "to_dict") else None))

    def see_stream(make: Any, answer: Any) -> None:
        provider.replies.append(answer)
        if style.is_async:

            async def run() -> Any:
                stream = await make()
                return type(stream), [(type(one), one.to_dict()) async for one in stream]

            seen.append(asyncio.run(run()))
        else:
            stream = make()
            seen.append((type(stream), [(type(one), one.to_dict()) for one in stream]))

    see(lambda: openai.chat.completions.create(**OPENAI), reply(chat()))
    see(lambda: openai.chat.completions.with_raw_response.create(**OPENAI), reply(chat()))
    see(lambda: openai.chat.completions.create(**OPENAI), reply({"error": {"message": "no"}}, status=429))
    see(lambda: openai.chat.completions.create(messages=MESSAGES), reply(chat()))
    provider.replies.clear()  # the last one raised before it was sent
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    see_stream(lambda: openai.chat.completions.create(**OPENAI, **asked), reply(events=chat_events()))
    see(lambda: anthropic.messages.create(**ANTHROPIC), reply(message()))
    see(lambda: anthropic.messages.create(**ANTHROPIC), reply({"type": "error"}, status=500))
    see_stream(lambda: anthropic.messages.create(**ANTHROPIC, stream=True), reply(events=message_events()))
    return seen


def test_same_types_values_errors_and_requests(
    switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any
) -> None:
    bare = shapes(clients, provider, reply, style)
    bare_requests = list(provider.requests)
    provider.requests.clear()
    switch_on()
    ours = shapes(clients, provider, reply, style)
    assert ours == bare
    varying = ("x-stainless-read-timeout", "idempotency", "traceparent", "host", "date")
    for request, expected in zip(provider.requests, bare_requests, strict=True):
        assert (request.method, request.path, request.body) == (expected.method, expected.path, expected.body)
        assert {n: v for n, v in request.headers.items() if not n.startswith(varying)} == {
            n: v for n, v in expected.headers.items() if not n.startswith(varying)
        }


def test_a_hidden_usage_leaves_the_same_chunks(
    switch_on: Any, clients: Any, style: Any, provider: Any, reply: Any
) -> None:
    def read(events: list[Any]) -> list[Any]:
        provider.replies.append(reply(events=events))
        client = clients.openai(f"{style.prefix}OpenAI")
        return [one.to_dict() for one in style.chunks(lambda: client.chat.completions.create(**OPENAI, stream=True))]

    bare = read(chat_events(usage=None))
    switch_on()
    assert read(chat_events()) == bare


def test_methods_look_the_same(on: Any) -> None:
    import openai

    assert inspect.iscoroutinefunction(openai.AsyncOpenAI.request)
    assert not inspect.iscoroutinefunction(openai.OpenAI.request)
    instrumented = inspect.signature(openai.OpenAI.request)
    instrumentation.uninstrument()
    assert inspect.signature(openai.OpenAI.request) == instrumented


def test_answers_can_be_pickled(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(chat()))
    answer = clients.openai().chat.completions.create(**OPENAI)
    assert pickle.loads(pickle.dumps(answer)) == answer


def test_switching_off_restores_every_class(provider: Any) -> None:
    import anthropic
    import openai

    def patched() -> dict[str, int]:
        return {
            f"{base.__module__}.{base.__name__}.{name}": id(vars(base)[name])
            for sdk in (openai, anthropic)
            for cls in (sdk.Stream, sdk.AsyncStream, *(getattr(sdk, name) for name in dir(sdk) if "nthropic" in name))
            if inspect.isclass(cls)
            for base in cls.__mro__
            for name in ("request", "_process_response", "close")
            if name in vars(base)
        }

    before = patched()
    instrumentation.instrument(environment={})
    assert patched() != before
    states = {one.sdk: one.state for one in status()}
    assert states["openai"] == states["anthropic"] == "instrumented"
    instrumentation.uninstrument()
    assert patched() == before
    assert {one.state for one in status()} <= {"off", "not installed"}


def test_a_stream_that_is_open_when_recording_is_switched_off(
    on: Any, clients: Any, provider: Any, reply: Any, style: Any
) -> None:
    provider.replies.append(reply(events=chat_events()))
    client = clients.openai(f"{style.prefix}OpenAI")
    chunks = 0
    if style.is_async:

        async def run() -> int:
            stream = await client.chat.completions.create(**OPENAI, stream=True)
            await anext(stream)
            instrumentation.uninstrument()
            return 1 + len([chunk async for chunk in stream])

        chunks = asyncio.run(run())
    else:
        stream = client.chat.completions.create(**OPENAI, stream=True)
        next(stream)
        instrumentation.uninstrument()
        chunks = 1 + len(list(stream))
    assert chunks == len(chat_events()) - 2, "neither the usage that was asked for nor the end is a chunk"
    assert on.usage() == CHAT_CLASSES


def test_switching_on_twice_makes_one_span(switch_on: Any, clients: Any, provider: Any, reply: Any) -> None:
    switch_on()
    telemetry = switch_on()
    provider.replies.append(reply(chat()))
    clients.openai().chat.completions.create(**OPENAI)
    assert len(telemetry.spans()) == 1


def test_one_sdk_alone(switch_on: Any, clients: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on(sdks=("anthropic",))
    provider.replies += [reply(chat()), reply(message())]
    clients.openai().chat.completions.create(**OPENAI)
    clients.anthropic().messages.create(**ANTHROPIC)
    assert [span.name for span in telemetry.spans()] == ["chat claude-haiku-4-5"]


def test_an_sdk_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot instrument grok: known are openai, anthropic"):
        instrumentation.instrument(("openai", "grok"))


@pytest.mark.parametrize("where", ["begin", "responded", "leave", "read_response", "complete"])
def test_errors_of_ours_stay_with_us(
    switch_on: Any,
    clients: Any,
    style: Any,
    provider: Any,
    reply: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    from spanledger.instrumentation import _attributes, _call, _openai_chat, _recorder

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a bug of ours")

    telemetry = switch_on(raise_errors=False)
    target: tuple[Any, str] = {
        "begin": (_recorder.Recorder, "begin"),
        "responded": (_call.Call, "responded"),
        "leave": (_recorder.Recorder, "leave"),
        "read_response": (_openai_chat, "snapshot"),
        "complete": (_attributes, "of_answer"),
    }[where]
    monkeypatch.setattr(*target, fail)
    provider.replies += [reply(chat()), reply(chat())]
    client = clients.openai(f"{style.prefix}OpenAI")
    for _ in range(2):
        answer = style.call(lambda: client.chat.completions.create(**OPENAI))
        assert answer.choices[0].message.content == "Because of Rayleigh scattering."
    spans = telemetry.spans()
    assert len(spans) == (0 if where == "begin" else 2)
    (line,) = problems()
    assert line.startswith("error while")
    assert line.endswith("RuntimeError (2 times)")
    assert len([record for record in caplog.records if "RuntimeError" in record.message]) == 1


def test_errors_of_ours_show_in_our_tests(
    switch_on: Any, clients: Any, provider: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spanledger.instrumentation import _recorder

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a bug of ours")

    switch_on()
    monkeypatch.setattr(_recorder.Recorder, "begin", fail)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        clients.openai().chat.completions.create(**OPENAI)


def test_an_sdk_that_changed_under_us_is_told_once(
    switch_on: Any,
    clients: Any,
    provider: Any,
    reply: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import openai

    monkeypatch.delattr(openai, "AsyncOpenAI")
    monkeypatch.delattr(openai, "AsyncStream")
    monkeypatch.setattr(openai, "__version__", "99.0.0")
    telemetry = switch_on(raise_errors=False)
    line = "openai 99.0.0 has no openai.AsyncStream, openai.AsyncOpenAI: calls through them are not recorded"
    assert problems() == [line]
    assert [record.message for record in caplog.records] == [f"spanledger: {line}"]
    provider.replies.append(reply(chat()))
    clients.openai().chat.completions.create(**OPENAI)
    assert len(telemetry.spans()) == 1, "the rest still works"


def test_a_stream_that_changed_under_us(
    switch_on: Any, clients: Any, provider: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openai

    telemetry = switch_on(raise_errors=False)

    class Changed(openai.Stream[T]):  # type: ignore[misc]
        @property
        def _iterator(self) -> Any:
            return self.__dict__["hidden"]

        @_iterator.setter
        def _iterator(self, value: Any) -> None:
            if "hidden" in self.__dict__:
                raise AttributeError("read-only")
            self.__dict__["hidden"] = value

    provider.replies.append(reply(events=chat_events()))
    client = clients.openai()
    stream = client.post(
        "/chat/completions",
        body={**OPENAI, "stream": True, "stream_options": {"include_usage": True}},
        cast_to=openai.types.chat.ChatCompletionChunk,
        stream=True,
        stream_cls=Changed[openai.types.chat.ChatCompletionChunk],
    )
    assert len(list(stream)) == 4
    assert telemetry.usage() == {}
    assert problems() == [f"openai {openai.__version__} has no Changed._iterator: calls through it are not recorded"]
