"""OpenAI's connections that stay open: Realtime, and Responses over a WebSocket."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from llm_wire import RESPONSE_CLASSES, response, response_events

from spanledger import instrumentation
from spanledger.instrumentation import label_client, labels

openai = pytest.importorskip("openai")
pytest.importorskip("websockets")
pytest.importorskip("openai.resources.realtime.realtime", reason="this SDK has no Realtime")
from ws_wire import Server  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:connect")  # the newest websockets about how this SDK uses them
MODEL = "gpt-realtime"
USAGE = {
    "total_tokens": 1500,
    "input_tokens": 1200,
    "output_tokens": 300,
    "input_token_details": {
        "text_tokens": 500,
        "audio_tokens": 700,
        "image_tokens": 0,
        "cached_tokens": 400,
        "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 300, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 60, "audio_tokens": 240},
}
CLASSES = {
    "input_uncached": 400,
    "input_audio": 400,
    "cache_read": 100,
    "count.cache_read_audio": 300,
    "output_text": 60,
    "output_audio": 240,
}
# 400 x 4 + 400 x 32 + 100 x 0.40 + 300 x 0.40 + 60 x 16 + 240 x 64 USD a million
COST = "0.03088"


def spoken(identifier: str, status: str = "completed", **changes: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "object": "realtime.response",
        "status": status,
        "status_details": None,
        "output": [],
        "usage": USAGE,
        **changes,
    }


def session(**changes: Any) -> dict[str, Any]:
    heard = {"transcription": {"model": "gpt-4o-transcribe"}}
    told = {"type": "realtime", "model": "gpt-realtime-2025-08-28", "audio": {"input": heard}, **changes}
    return {"type": "session.created", "event_id": "e0", "session": told}


def turn(identifier: str, **changes: Any) -> list[dict[str, Any]]:
    delta = {"response_id": identifier, "item_id": "i", "output_index": 0, "content_index": 0, "delta": "AA=="}
    begun = spoken(identifier, "in_progress", usage=None)
    return [
        {"type": "response.created", "event_id": "e1", "response": begun},
        {"type": "response.output_audio.delta", "event_id": "e2", **delta},
        {"type": "response.done", "event_id": "e3", "response": spoken(identifier, **changes)},
    ]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server("/v1")
    yield server
    server.close()


def client(server: Server, style: Any) -> Any:
    return getattr(openai, f"{style.prefix}OpenAI")(api_key="sk-test", base_url=server.url)


def hear(style: Any, manager: Any, count: int) -> list[str]:
    """The types of the first events of a connection, which is closed then."""
    if not style.is_async:
        with manager as connection:
            return [connection.recv().type for _ in range(count)]

    async def run() -> list[str]:
        async with manager as connection:
            return [(await connection.recv()).type for _ in range(count)]

    return asyncio.run(run())


def test_each_response_is_a_call(on: Any, server: Server, style: Any) -> None:
    server.messages = [session(), *turn("resp_1"), *turn("resp_2", status="cancelled")]
    own = label_client(client(server, style), team_id="voice")
    with labels(feature="answering"):
        heard = hear(style, own.realtime.connect(model=MODEL), 7)
    assert heard == [event["type"] for event in server.messages]
    first, second = on.spans()
    assert first.name == f"chat {MODEL}"
    found = dict(first.attributes)
    wanted = {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": "gpt-realtime-2025-08-28",
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.finish_reasons": ("completed",),
        "gen_ai.request.stream": True,
        "server.address": "127.0.0.1",
        "spanledger.team_id": "voice",
        "spanledger.feature": "answering",
        "spanledger.cost.total": COST,
    }
    assert {name: found.get(name) for name in wanted} == wanted
    prefix = "spanledger.usage."
    assert {name.removeprefix(prefix): n for name, n in found.items() if name.startswith(prefix)} == CLASSES
    assert found["gen_ai.response.time_to_first_chunk"] > 0
    assert "spanledger.api_key_fingerprint" in found
    assert "sk-test" not in first.to_json()
    assert second.attributes["gen_ai.response.id"] == "resp_2"
    assert second.attributes["spanledger.cost.total"] == COST, "what was cancelled is billed as far as it came"
    assert "error.type" not in second.attributes


def test_a_response_that_failed(on: Any, server: Server, style: Any) -> None:
    details = {"type": "failed", "error": {"type": "server_error", "code": "overloaded"}}
    server.messages = [session(), *turn("resp_1", status="failed", status_details=details, usage=None)]
    hear(style, client(server, style).realtime.connect(model=MODEL), 4)
    assert on.attributes()["error.type"] == "overloaded"
    assert on.usage() == {}


def test_a_connection_that_is_closed_early(on: Any, server: Server, style: Any) -> None:
    server.messages = [session(), *turn("resp_1")]
    hear(style, client(server, style).realtime.connect(model=MODEL), 3)
    assert on.usage() == {"partial": True}
    assert on.attributes()["gen_ai.response.id"] == "resp_1"
    assert on.attributes()["spanledger.notes"] == ("stream_ended_early",)


def test_a_connection_that_is_forgotten(on: Any, server: Server) -> None:
    server.messages = [session(), *turn("resp_1")]
    connection = openai.OpenAI(api_key="sk-test", base_url=server.url).realtime.connect(model=MODEL).enter()
    for _ in range(2):
        connection.recv()
    socket = connection._connection
    del connection
    gc.collect()
    assert on.usage() == {"partial": True}
    socket.close()


def test_what_was_heard_is_another_models_work(on: Any, server: Server, style: Any) -> None:
    usage = {
        "type": "tokens",
        "total_tokens": 130,
        "input_tokens": 100,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 100},
        "output_tokens": 30,
    }
    told = {"event_id": "e1", "item_id": "item_1", "content_index": 0, "transcript": "hello", "usage": usage}
    server.messages = [session(), {"type": "conversation.item.input_audio_transcription.completed", **told}]
    hear(style, client(server, style).realtime.connect(model=MODEL), 2)
    assert on.span().name == "transcription gpt-4o-transcribe"
    assert on.usage() == {"input_uncached": 0, "input_audio": 100, "output_text": 30}
    assert on.attributes()["gen_ai.response.id"] == "item_1"
    assert "hello" not in on.span().to_json()


def test_responses_over_a_websocket(on: Any, server: Server, style: Any) -> None:
    pytest.importorskip("openai.resources.beta.responses.responses")
    server.messages = response_events()
    opened = client(server, style).beta.responses.connect()
    assert hear(style, opened, len(server.messages)) == [event["type"] for event in server.messages]
    assert on.usage() == RESPONSE_CLASSES
    assert on.attributes()["gen_ai.response.id"] == response()["id"]
    assert on.attributes()["openai.api.type"] == "responses"


def test_a_response_whose_start_nobody_parsed(on: Any, server: Server) -> None:
    server.messages = [session(), *turn("resp_1")]
    with openai.OpenAI(api_key="sk-test", base_url=server.url).realtime.connect(model=MODEL) as connection:
        kept = [connection.recv_bytes() for _ in range(4)]
        connection.parse_event(kept[-1])
    assert on.usage() == CLASSES


def test_uninstrumented_in_the_middle(on: Any, server: Server) -> None:
    server.messages = [session(), *turn("resp_1"), *turn("resp_2")]
    with openai.OpenAI(api_key="sk-test", base_url=server.url).realtime.connect(model=MODEL) as connection:
        for _ in range(4):
            connection.recv()
        instrumentation.uninstrument()
        assert [connection.recv().type for _ in range(3)] == [event["type"] for event in turn("resp_2")]
    assert on.attributes()["gen_ai.response.id"] == "resp_1"


def test_an_event_that_nobody_foresaw(on: Any, server: Server, style: Any) -> None:
    odd = [
        {"type": "response.created"},
        {"type": "response.created", "response": 7},
        {"type": "response.done", "response": {"id": [1]}},
        {"type": "session.updated", "session": "x"},
        {"no": "type"},
    ]
    server.messages = [*odd, *turn("resp_1", usage={"input_tokens": "many", "input_token_details": 3})]
    if style.is_async:

        async def run() -> None:
            async with client(server, style).realtime.connect(model=MODEL) as connection:
                for _ in server.messages:
                    await connection.recv()

        asyncio.run(run())
    else:
        with client(server, style).realtime.connect(model=MODEL) as connection:
            for _ in server.messages:
                connection.recv()
    assert on.attributes()["gen_ai.response.id"] == "resp_1"
    assert not [name for name in on.attributes() if "usage" in name]
