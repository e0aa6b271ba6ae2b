"""The Mistral SDK: chat, agents, fill-in-the-middle, embeddings, document recognition and conversations."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace

from spanledger import instrumentation
from spanledger.instrumentation import label_client, labels, status
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._sdks import SDKS

pytest.importorskip("mistralai")
try:
    sdk: Any = importlib.import_module("mistralai.client")
    sdk.Mistral  # noqa: B018 - version 1 has an empty module of this name
    PACKAGE = "mistralai.client"
except (AttributeError, ImportError):
    sdk = importlib.import_module("mistralai")
    PACKAGE = "mistralai"
IS_FIRST = PACKAGE == "mistralai"
models: Any = importlib.import_module(f"{PACKAGE}.models")
basesdk: Any = sys.modules[f"{PACKAGE}.basesdk"]
http: Any = basesdk.httpx  # httpx, and httpx2 in the newest versions

KEY = "mistral-test-key"
MODEL = "mistral-small-latest"
HEADERS = {"mistral-correlation-id": "corr-1"}
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 400},
    "service_tier": "standard",
}
CLASSES = {"input_uncached": 600, "cache_read": 400, "output_text": 100}
# 600 x 0.15 + 400 x 0.015 + 100 x 0.60 USD a million
COST = "0.000156"


def answer(**changes: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 1795000000,
        "model": "mistral-small-2603",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Rayleigh.", "tool_calls": None},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
        **changes,
    }


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "chat.completion.chunk",
        "created": 1795000000,
        "model": "mistral-small-2603",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


def chunks() -> list[Any]:
    return [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Ray"}),
        chunk({"content": "leigh."}),
        chunk({"content": ""}, "stop", usage=USAGE),
        b"data: [DONE]\n\n",
    ]


class Mistral:
    """Clients of the SDK, and its methods in the wanted style."""

    def __init__(self, provider: Any, style: Any) -> None:
        self._url = provider.url
        self.style = style
        self.suffix = "_async" if style.is_async else ""

    def client(self, **options: Any) -> Any:
        # No connection outlives its response: there is nothing to close after a test.
        limits = http.Limits(max_keepalive_connections=0)
        return sdk.Mistral(
            **{
                "api_key": KEY,
                "server_url": self._url,
                "client": http.Client(limits=limits),
                "async_client": http.AsyncClient(limits=limits),
                **options,
            }
        )

    def method(self, client: Any, path: str) -> Any:
        for name in path.split("."):
            client = getattr(client, name)
        return client

    def call(self, path: str, client: Any = None, **arguments: Any) -> Any:
        """Call ``path`` (``chat.complete``) or its asynchronous twin."""
        client = client or self.client()
        return self.style.call(lambda: self.method(client, path + self.suffix)(**arguments))

    def read(self, path: str, count: int | None = None, **arguments: Any) -> list[Any]:
        """The events of a stream, all or the first ones; the stream is dropped then."""
        client = self.client()
        return [
            event.data
            for event in self.style.chunks(lambda: self.method(client, path + self.suffix)(**arguments), count)
        ]


@pytest.fixture
def mistral(provider: Any, style: Any) -> Mistral:
    return Mistral(provider, style)


@pytest.fixture
def once(provider: Any) -> Mistral:
    """For what does not differ between the styles."""

    class Sync:
        is_async = False

        @staticmethod
        def call(make: Any) -> Any:
            return make()

        @staticmethod
        def chunks(make: Any, count: int | None) -> list[Any]:
            return list(make())[:count]

    return Mistral(provider, Sync)


def test_an_answer(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(answer(), headers=HEADERS))
    got = mistral.call("chat.complete", **ASK, max_tokens=400, temperature=0.5, random_seed=7, stop="END")
    assert type(got) is models.ChatCompletionResponse
    assert got.choices[0].message.content == "Rayleigh."
    assert provider.requests[0].path == "/v1/chat/completions"
    assert on.span().name == f"chat {MODEL}"
    assert on.usage() == CLASSES
    attributes = on.attributes()
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.max_tokens": 400,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "cmpl-1",
        "gen_ai.response.model": "mistral-small-2603",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": provider.port,
        "spanledger.provider": "mistral",
        "spanledger.request_id": "corr-1",
        "spanledger.service_tier": "standard",
        "spanledger.sdk": "mistralai",
        "spanledger.cost.total": COST,
        "spanledger.cost.status": "list",
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert "openai.api.type" not in attributes
    assert attributes["spanledger.sdk.version"][0].isdigit()
    assert attributes["spanledger.api_key_fingerprint"]
    assert KEY not in str(attributes)
    assert "Rayleigh" not in str(attributes)


def test_a_stream(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chunks(), headers=HEADERS))
    got = mistral.read("chat.stream", **ASK)
    assert "".join(one.choices[0].delta.content for one in got) == "Rayleigh."
    assert {type(one) for one in got} == {models.CompletionChunk}
    assert provider.requests[0].body["stream"] is True
    assert on.usage() == CLASSES
    attributes = on.attributes()
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.response.id"] == "cmpl-1"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["spanledger.request_id"] == "corr-1"
    assert attributes["spanledger.service_tier"] == "standard"
    assert attributes["spanledger.cost.total"] == COST


def test_a_stream_left_early(on: Any, mistral: Mistral, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(events=chunks(), waits_after=3))
    assert len(mistral.read("chat.stream", 2, **ASK)) == 2
    gc.collect()
    assert on.usage() == {"partial": True}
    attributes = on.attributes()
    assert attributes["spanledger.notes"] == ("stream_ended_early",)
    assert attributes["gen_ai.response.id"] == "cmpl-1"
    assert attributes.get("spanledger.cost.total") is None
    assert on.span().status.is_unset
