"""Gemini's Live sessions: a span for each generation."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from spanledger import instrumentation
from spanledger.instrumentation import label_client, labels

genai = pytest.importorskip("google.genai")
pytest.importorskip("websockets")
from ws_wire import Server  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:connect"),  # the newest websockets about how this SDK uses them
]
MODEL = "gemini-3.1-flash-live-preview"
USAGE = {
    "promptTokenCount": 500,
    "responseTokenCount": 120,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 650,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}, {"modality": "AUDIO", "tokenCount": 400}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 120}],
}
CLASSES = {"input_uncached": 100, "input_audio": 400, "output_text": 0, "output_audio": 120, "reasoning": 30}
# 100 x 0.75 + 400 x 3 + 120 x 12 + 30 x 4.50 USD a million
COST = "0.00285"
SOUND = {"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}}]}}}
END = {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    live = importlib.import_module("google.genai.live")
    connect = live.ws_connect
    # the SDK speaks TLS to whatever host
    monkeypatch.setattr(
        live, "ws_connect", lambda url, **options: connect(url.replace("wss:", "ws:", 1), **_plain(options))
    )
    server = Server(setup={"setupComplete": {}})
    yield server
    server.close()


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {name: option for name, option in options.items() if name != "ssl"}


def client(server: Server) -> Any:
    return genai.Client(api_key="AIza-test", http_options={"base_url": server.url})


def hear(server: Server, own: Any = None, *, messages: int | None = None, then: Any = None) -> None:
    """Open a session, receive so many messages, or all, and close it."""

    async def run() -> None:
        async with (own or client(server)).aio.live.connect(model=f"models/{MODEL}") as session:
            for _ in range(len(server.messages) if messages is None else messages):
                await session._receive()
            if then is not None:
                then()

    asyncio.run(run())


def test_each_turn_is_a_call(on: Any, server: Server) -> None:
    server.messages = [SOUND, SOUND, END, SOUND, END]
    own = label_client(client(server), team_id="voice")

    async def run() -> list[int]:
        async with own.aio.live.connect(model=f"models/{MODEL}") as session:
            return [len([message async for message in session.receive()]) for _ in range(2)]

    with labels(feature="answering"):
        assert asyncio.run(run()) == [3, 2]
    first, second = on.spans()
    assert first.name == second.name == f"generate_content {MODEL}"
    for span in (first, second):
        found = dict(span.attributes)
        wanted = {
            "gen_ai.provider.name": "gcp.gemini",
            "gen_ai.request.model": MODEL,
            "gen_ai.request.stream": True,
            "gen_ai.response.finish_reasons": ("stop",),
            "spanledger.team_id": "voice",
            "spanledger.feature": "answering",
            "spanledger.cost.total": COST,
        }
        assert {name: found.get(name) for name in wanted} == wanted
        prefix = "spanledger.usage."
        assert {name.removeprefix(prefix): n for name, n in found.items() if name.startswith(prefix)} == CLASSES
        assert found["gen_ai.response.time_to_first_chunk"] >= 0
        assert "AIza-test" not in span.to_json()


def test_usage_after_the_end_of_its_turn(on: Any, server: Server) -> None:
    running = {**USAGE, "responseTokenCount": 10, "totalTokenCount": 540}
    done = {"serverContent": {"turnComplete": True}}
    server.messages = [{**SOUND, "usageMetadata": running}, SOUND, {"usageMetadata": USAGE, **SOUND}, done]
    hear(server)
    assert on.usage() == CLASSES, "a running total, of which the last counts"


def test_function_calls_end_a_generation(on: Any, server: Server) -> None:
    asked = {"toolCall": {"functionCalls": [{"id": "f1", "name": "weather", "args": {"city": "Paris"}}]}}
    server.messages = [{**asked, "usageMetadata": USAGE}, SOUND, END]
    hear(server)
    first, second = on.spans()
    assert first.attributes["gen_ai.response.finish_reasons"] == ("tool_call",)
    (tool,) = json.loads(first.attributes["spanledger.tool_calls"])
    assert (tool["name"], tool["id"]) == ("weather", "f1")
    assert "Paris" not in first.to_json()
    assert second.attributes["spanledger.cost.total"] == COST


def test_an_interrupted_turn(on: Any, server: Server) -> None:
    server.messages = [SOUND, {"serverContent": {"interrupted": True}, "usageMetadata": USAGE}]
    hear(server)
    assert on.attributes()["gen_ai.response.finish_reasons"] == ("interrupted",)
    assert on.usage() == CLASSES


def test_a_turn_whose_usage_never_came(on: Any, server: Server) -> None:
    server.messages = [SOUND, {"serverContent": {"turnComplete": True}}, SOUND, END]
    hear(server)
    first, second = on.spans()
    assert not [name for name in first.attributes if "usage." in name and "partial" not in name]
    assert second.attributes["spanledger.cost.total"] == COST


def test_a_session_that_is_closed_early(on: Any, server: Server) -> None:
    server.messages = [SOUND, SOUND, END]
    hear(server, messages=2)
    assert on.usage() == {"partial": True}
    assert on.attributes()["spanledger.notes"] == ("stream_ended_early",)


def test_searches(on: Any, server: Server) -> None:
    grounded = {"groundingMetadata": {"webSearchQueries": ["a", "b"]}}
    told = {"serverContent": {**SOUND["serverContent"], **grounded}}
    server.messages = [told, told, END]
    hear(server)
    assert on.usage() == {**CLASSES, "count.web_searches": 2}


def test_what_is_no_generation(on: Any, server: Server) -> None:
    server.messages = [{"serverContent": {"inputTranscription": {"text": "hi"}}}, {"goAway": {"timeLeft": "10s"}}]
    hear(server)
    assert on.spans() == []


def test_uninstrumented_in_the_middle(on: Any, server: Server) -> None:
    server.messages = [SOUND, END]
    hear(server, messages=1, then=instrumentation.uninstrument)
    assert on.usage() == {"partial": True}
