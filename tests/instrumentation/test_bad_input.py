"""Answers that nobody foresaw: the call works as it would without us, and what is unknown stays unknown."""

from __future__ import annotations

import contextlib
from typing import Any

import openai
import pydantic
import pytest
from llm_wire import CHAT_CLASSES, MESSAGES, chat, chat_events, message, message_events, response

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
MESSAGE: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 400, "messages": MESSAGES}
USAGES: dict[str, Any] = {
    "missing": None,
    "empty": {},
    "text": "plenty",
    "list": [1, 2],
    "texts": {"prompt_tokens": "many", "completion_tokens": "seven", "input_tokens": "many", "output_tokens": "seven"},
    "negative": {"prompt_tokens": -5, "completion_tokens": -1, "input_tokens": -5, "output_tokens": -1},
    "nested": {"prompt_tokens": {"all": 5}, "input_tokens": [5], "prompt_tokens_details": 3, "cache_creation": "x"},
    "not a number": {"prompt_tokens": 1.5, "completion_tokens": 7.5, "input_tokens": 1.5, "output_tokens": 7.5},
}


def assert_unknown(on: Any) -> None:
    """One span, which invents no usage and no cost."""
    found = on.attributes()
    assert not [name for name in found if name.startswith(("gen_ai.usage.", "spanledger.usage.input"))], found
    assert "spanledger.cost.total" not in found


@pytest.mark.parametrize("usage", USAGES.values(), ids=list(USAGES))
@pytest.mark.parametrize("streams", [False, True], ids=["direct", "stream"])
def test_usage_of_openai(on: Any, clients: Any, provider: Any, reply: Any, usage: Any, streams: bool) -> None:
    provider.replies.append(reply(events=chat_events(usage=usage)) if streams else reply(chat(usage=usage)))
    got = clients.openai().chat.completions.create(**CHAT, stream=streams)
    if streams:
        assert len(list(got)) == 3
    else:
        assert got.choices[0].message.content == "Because of Rayleigh scattering."
    assert_unknown(on)


@pytest.mark.parametrize("usage", USAGES.values(), ids=list(USAGES))
@pytest.mark.parametrize("streams", [False, True], ids=["direct", "stream"])
def test_usage_of_anthropic(on: Any, clients: Any, provider: Any, reply: Any, usage: Any, streams: bool) -> None:
    events = message_events()
    events[0]["message"]["usage"] = usage
    events[-2]["usage"] = usage
    provider.replies.append(reply(events=events) if streams else reply(message(usage=usage)))
    got = clients.anthropic().messages.create(**MESSAGE, stream=streams)
    if streams:
        assert len(list(got)) == len(events) - 1  # the SDK keeps pings to itself
    else:
        assert got.content[0].text == "Rayleigh scattering."
    assert_unknown(on)


@pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="this SDK has no Responses API")
@pytest.mark.parametrize("usage", USAGES.values(), ids=list(USAGES))
def test_usage_of_responses(on: Any, clients: Any, provider: Any, reply: Any, usage: Any) -> None:
    provider.replies.append(reply(response(usage=usage)))
    assert clients.openai().responses.create(model="gpt-4o", input="Why?").id == "resp_1"
    assert_unknown(on)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"id": 7, "model": ["gpt-4o"], "choices": "none", "content": 3, "usage": 1, "service_tier": {}},
        {"choices": [None, 3, {"message": "text", "finish_reason": 9}], "content": [None, {"type": 4}]},
        {"choices": [{"message": {"tool_calls": [None, {"function": "f"}]}}], "content": [{"type": "tool_use"}]},
        [1, 2],
        "a text",
        None,
    ],
    ids=["empty", "types", "choices", "tools", "list", "text", "null"],
)
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_shapes(switch_on: Any, clients: Any, provider: Any, reply: Any, document: Any, sdk: str) -> None:
    """The SDKs hand out what they cannot parse as it is, or raise: with us as without."""

    def ask() -> Any:
        provider.replies.append(reply(document))
        try:
            if sdk == "openai":
                return repr(clients.openai().chat.completions.create(**CHAT))
            return repr(clients.anthropic().messages.create(**MESSAGE))
        except Exception as error:
            return type(error), str(error)

    bare = ask()
    telemetry = switch_on()
    assert ask() == bare
    assert_unknown(telemetry)


def test_chunks(switch_on: Any, clients: Any, provider: Any, reply: Any) -> None:
    odd = [{}, {"choices": None}, {"choices": [None]}, {"choices": [{"delta": None}]}, {"choices": 3, "usage": "u"}]

    def ask() -> Any:
        provider.replies.append(reply(events=[*odd, b"data: [DONE]\n\n"]))
        asked = {"stream": True, "stream_options": {"include_usage": True}}
        return [repr(chunk) for chunk in clients.openai().chat.completions.create(**CHAT, **asked)]

    bare = ask()
    telemetry = switch_on(raise_errors=False)
    assert ask() == bare
    assert_unknown(telemetry)


def test_counts_that_nobody_counts(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    usage = {"prompt_tokens": 10**30, "completion_tokens": 1e300, "total_tokens": 10**30}
    provider.replies.append(reply(chat(usage=usage)))
    clients.openai().chat.completions.create(**CHAT, seed=2**70)
    assert_unknown(on)
    assert "gen_ai.request.seed" not in on.attributes()


CUT_OFF = [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": '{"colour": "bl'}}]
WRONG = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": '{"sky": 1}'}}]


@pytest.mark.parametrize("choices", [CUT_OFF, WRONG], ids=["cut off", "wrong"])
def test_structured_output_that_the_sdk_refuses_is_billed(
    on: Any, clients: Any, provider: Any, reply: Any, style: Any, choices: Any
) -> None:
    class Sky(pydantic.BaseModel):
        colour: str

    provider.replies.append(reply(chat(choices=choices), headers={"x-request-id": "req_1"}))
    client = clients.openai(f"{style.prefix}OpenAI")
    completions = client.chat.completions if hasattr(client.chat.completions, "parse") else client.beta.chat.completions
    with pytest.raises((openai.LengthFinishReasonError, pydantic.ValidationError)) as raised:
        style.call(lambda: completions.parse(**CHAT, response_format=Sky))
    assert on.usage() == CHAT_CLASSES
    attributes = on.attributes()
    assert attributes["error.type"] == type(raised.value).__qualname__
    assert attributes["gen_ai.response.id"] == "chatcmpl-1"
    assert attributes["spanledger.request_id"] == "req_1"
    assert attributes["spanledger.cost.total"] == "0.004925"
    assert on.span().status.status_code.name == "ERROR"
    assert "colour" not in on.span().to_json()


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_a_body_that_cannot_be_decoded(
    on: Any, clients: Any, provider: Any, reply: Any, style: Any, content_type: str
) -> None:
    class Broken(reply):  # type: ignore[misc]
        def body(self) -> bytes:
            return b'{"id": "chatcmpl-1", "usage'

    provider.replies.append(Broken(content_type=content_type))
    client = clients.openai(f"{style.prefix}OpenAI")
    with contextlib.suppress(ValueError):  # what is no JSON by its type is given to the application as it is
        style.call(lambda: client.chat.completions.create(**CHAT))
    assert_unknown(on)
