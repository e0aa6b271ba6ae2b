"""Answers that nobody foresaw: the call works as it would without us, and what is unknown stays unknown."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from llm_wire import MESSAGES, chat, chat_events, message, message_events, response

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
