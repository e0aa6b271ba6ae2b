"""Gemini's interactions and decisions, which the SDK sends through a part of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from spanledger.instrumentation import label_client, labels

genai = pytest.importorskip("google.genai")
pytest.importorskip("google.genai._gaos.basesdk", reason="this SDK sends interactions otherwise")
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

MODEL = "gemini-2.5-flash"
USAGE = {
    "total_input_tokens": 1200,
    "total_cached_tokens": 200,
    "total_output_tokens": 70,
    "total_thought_tokens": 30,
    "total_tokens": 1300,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 1200}],
    "cached_tokens_by_modality": [{"modality": "text", "tokens": 200}],
}
CLASSES = {"input_uncached": 1000, "cache_read": 200, "output_text": 70, "reasoning": 30}
# 1000 x 0.30 + 200 x 0.03 + 100 x 2.50 USD a million
COST = "0.000556"


def interaction(**changes: Any) -> dict[str, Any]:
    said = {"type": "model_output", "content": [{"type": "text", "text": "Rayleigh."}]}
    return {"id": "i-1", "status": "completed", "model": MODEL, "steps": [said], "usage": USAGE, **changes}


def event(kind: str, **told: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'event_type': kind, **told})}\n\n".encode()


def events() -> list[bytes]:
    begun = {"id": "i-1", "status": "in_progress", "model": MODEL}
    call = {"type": "function_call", "id": "f1", "name": "weather", "arguments": {}}
    return [
        event("interaction.created", interaction=begun),
        event("step.start", index=0, step=call),
        event("step.delta", index=0, delta={"type": "arguments_delta", "arguments": '{"city":'}),
        event("step.delta", index=0, delta={"type": "arguments_delta", "arguments": '"Paris"}'}),
        event("step.stop", index=0),
        event("interaction.completed", interaction={**begun, "status": "requires_action", "usage": USAGE}),
        b"event: done\ndata: [DONE]\n\n",
    ]


class Gemini:
    def __init__(self, provider: Any, style: Any, stack: contextlib.ExitStack) -> None:
        self._url = provider.url
        self.style = style
        self._stack = stack

    def client(self) -> Any:
        client = genai.Client(api_key="AIza-test", http_options={"base_url": self._url})
        self._stack.callback(client.close)
        return client

    def call(self, part: str, method: str, client: Any = None, **asked: Any) -> Any:
        client = client or self.client()
        if not self.style.is_async:
            return getattr(getattr(client, part), method)(**asked)

        async def run() -> Any:
            try:
                return await getattr(getattr(client.aio, part), method)(**asked)
            finally:
                await client.aio.aclose()

        return asyncio.run(run())

    def read(self, count: int | None = None) -> list[Any]:
        client = self.client()
        asked = {"model": MODEL, "input": "Weather in Paris?", "stream": True}
        if not self.style.is_async:
            with client.interactions.create(**asked) as stream:
                return [one for one, _ in zip(stream, range(count or 100), strict=False)]

        async def run() -> list[Any]:
            found: list[Any] = []
            async with await client.aio.interactions.create(**asked) as stream:
                async for one in stream:
                    found.append(one)
                    if len(found) == count:
                        break
            await client.aio.aclose()
            return found

        return asyncio.run(run())


@pytest.fixture
def gemini(provider: Any, style: Any) -> Iterator[Gemini]:
    with contextlib.ExitStack() as stack:
        yield Gemini(provider, style, stack)


def test_an_interaction(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(interaction(service_tier="standard")))
    client = label_client(gemini.client(), team_id="search")
    asked = {"model": MODEL, "input": "Why is the sky blue?", "generation_config": {"max_output_tokens": 400}}
    with labels(feature="why"):
        got = gemini.call("interactions", "create", client, **asked)
    assert got.id == "i-1"
    assert on.span().name == f"generate_content {MODEL}"
    assert on.usage() == CLASSES
    found = on.attributes()
    wanted = {
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.max_tokens": 400,
        "gen_ai.response.id": "i-1",
        "gen_ai.response.model": MODEL,
        "gen_ai.response.finish_reasons": ("completed",),
        "gen_ai.response.status": "completed",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "spanledger.sdk": "google-genai",
        "spanledger.sdk.version": genai.__version__,
        "spanledger.service_tier": "standard",
        "spanledger.team_id": "search",
        "spanledger.feature": "why",
        "spanledger.cost.total": COST,
    }
    assert {name: found.get(name) for name in wanted} == wanted
    for secret in ("AIza-test", "Rayleigh", "sky"):
        assert secret not in on.span().to_json()


def test_a_stream(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=events()))
    assert len(gemini.read()) == 6
    assert on.usage() == CLASSES
    found = on.attributes()
    assert found["gen_ai.response.finish_reasons"] == ("requires_action",)
    assert found["gen_ai.response.id"] == "i-1"
    assert found["gen_ai.request.stream"] is True
    (tool,) = json.loads(found["spanledger.tool_calls"])
    assert (tool["name"], tool["id"], tool["input_bytes"]) == ("weather", "f1", len('{"city":"Paris"}'))
    assert "Paris" not in on.span().to_json()


def test_a_stream_left_early(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=events(), waits_after=3))
    gemini.read(2)
    assert on.usage() == {"partial": True}
    assert on.attributes()["gen_ai.response.id"] == "i-1"
    assert on.attributes()["spanledger.notes"] == ("stream_ended_early",)


def test_one_that_is_looked_up_until_it_has_ended(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies += [reply(interaction(status="in_progress", usage=None, steps=[])), reply(interaction())]
    for _ in range(2):
        gemini.call("interactions", "get", id="i-1")
    assert on.usage() == CLASSES
    assert on.span().name == f"generate_content {MODEL}"
    assert on.attributes()["gen_ai.response.id"] == "i-1"


def test_searches_and_results(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    grounded = [{"type": "google_search", "count": 2}, {"type": "google_maps", "count": 1}]
    provider.replies.append(reply(interaction(model="gemini-3-pro", usage={**USAGE, "grounding_tool_count": grounded})))
    result = {"type": "function_result", "call_id": "f1", "name": "weather", "result": {"degrees": 19}}
    gemini.call("interactions", "create", model="gemini-3-pro", input=[result], previous_interaction_id="i-0")
    assert on.usage() == {**CLASSES, "count.web_searches": 2, "count.map_searches": 1}
    (tool,) = json.loads(on.attributes()["spanledger.tool_calls"])
    assert (tool["name"], tool["id"], tool["kind"]) == ("weather", "f1", "result")


def test_an_error_and_an_attempt_before_it(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    error = {"error": {"code": 400, "message": "bad: Why is the sky blue?", "status": "INVALID_ARGUMENT"}}
    provider.replies += [reply({}, status=503, headers={"retry-after-ms": "1"}), reply(error, status=400)]
    with pytest.raises(Exception, match="400"):
        gemini.call("interactions", "create", model=MODEL, input="Why is the sky blue?")
    found = on.attributes()
    assert found["http.response.status_code"] == 400
    assert found["error.type"].endswith("ClientError")
    assert found["http.request.resend_count"] == 1
    (failed,) = on.span().events
    assert failed.name == "spanledger.failed_attempt"
    assert failed.attributes["http.response.status_code"] == 503
    assert "sky" not in on.span().to_json()


def test_a_decision(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"answers": {}, "usage": USAGE}))
    gemini.call("decisions", "create", model=MODEL, input="The sky", questions={})
    assert on.span().name == f"classification {MODEL}"
    assert on.usage() == CLASSES


def test_odd_answers(on: Any, gemini: Gemini, provider: Any, reply: Any) -> None:
    usage = {"total_input_tokens": "many", "input_tokens_by_modality": 3, "grounding_tool_count": [7]}
    provider.replies.append(reply(interaction(usage=usage, steps="x", id=5)))
    with contextlib.suppress(Exception):  # what the SDK makes of it is its own
        gemini.call("interactions", "create", model=MODEL, input="x")
    assert on.usage() == {}
