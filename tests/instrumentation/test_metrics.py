"""GenAI client metrics: written whether or not the span is sampled."""

from __future__ import annotations

from typing import Any

import pytest
from llm_wire import MESSAGES, chat, chat_events
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

REQUEST: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
COMMON = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "server.address": "api.openai.com",
    "server.port": 443,
}


def by_attributes(telemetry: Any, metric: str) -> dict[Any, Any]:
    return {tuple(sorted(point.attributes.items())): point for point in telemetry.points(metric)}


def key(**more: Any) -> Any:
    return tuple(sorted({**COMMON, **more}.items()))


def test_tokens_and_duration(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    for _ in range(2):
        provider.replies.append(reply(chat()))
        clients.openai().chat.completions.create(**REQUEST)
    tokens = by_attributes(on, "gen_ai.client.token.usage")
    assert {attributes: (point.count, point.sum) for attributes, point in tokens.items()} == {
        key(**{"gen_ai.token.type": "input"}): (2, 2200),
        key(**{"gen_ai.token.type": "output"}): (2, 460),
    }
    (duration,) = on.points("gen_ai.client.operation.duration")
    assert duration.count == 2
    assert 0 < duration.sum < 60
    assert duration.explicit_bounds[:3] == (0.01, 0.02, 0.04)
    assert tokens[key(**{"gen_ai.token.type": "input"})].explicit_bounds[-1] == 67108864


def test_streams_have_a_time_to_their_first_chunk(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chat_events()))
    list(clients.openai().chat.completions.create(**REQUEST, stream=True))
    (point,) = on.points("gen_ai.client.operation.time_to_first_chunk")
    assert point.sum == on.attributes()["gen_ai.response.time_to_first_chunk"]


def test_failures_are_told_apart(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"error": {"message": "no"}}, status=429))
    with pytest.raises(Exception, match="429"):
        clients.openai().chat.completions.create(**REQUEST)
    (point,) = on.points("gen_ai.client.operation.duration")
    assert point.attributes["error.type"] == "RateLimitError"
    assert on.points("gen_ai.client.token.usage") == []


def test_unsampled_calls_are_measured(switch_on: Any, telemetry: Any, clients: Any, provider: Any, reply: Any) -> None:
    telemetry.tracer_provider = TracerProvider(sampler=ALWAYS_OFF)
    switch_on()
    provider.replies.append(reply(chat()))
    clients.openai().chat.completions.create(**REQUEST)
    assert telemetry.spans() == []
    assert sum(point.sum for point in telemetry.points("gen_ai.client.token.usage")) == 1330
