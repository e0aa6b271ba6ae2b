"""What the SDKs talk to while they are measured: an in-memory transport, so that no socket adds its noise."""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

DELTAS = 200
PROMPT = "Explain in a few sentences why the sky looks blue at noon and red at sunset. " * 4
ANSWER = "Short wavelengths are scattered far more than long ones, so blue light comes from all over the sky. " * 6

CHAT = {
    "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": ANSWER, "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 182,
        "completion_tokens": 121,
        "total_tokens": 303,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_fc9f1d7035",
}
MESSAGE = {
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": ANSWER, "citations": None}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 182,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 64,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 121,
        "service_tier": "standard",
    },
}
HEADERS = [("x-request-id", "req_011CSHoEeqs5C35K2UUqR7Fy"), ("request-id", "req_011CSHoEeqs5C35K2UUqR7Fy")]


def _chat_events() -> list[bytes]:
    base = {**CHAT, "object": "chat.completion.chunk", "usage": None}
    words = [
        {"index": 0, "delta": {"content": f" word{n}"}, "logprobs": None, "finish_reason": None} for n in range(DELTAS)
    ]
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    chunks = [{**base, "choices": [one]} for one in [*words, last]]
    chunks.append({**base, "choices": [], "usage": CHAT["usage"]})
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def _message_events() -> list[bytes]:
    text = [{"index": 0, "delta": {"type": "text_delta", "text": f" word{n}"}} for n in range(DELTAS)]
    usage = {"input_tokens": 182, "cache_read_input_tokens": 64, "output_tokens": 121}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", **delta} for delta in text),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


ANSWERS: dict[str, tuple[bytes, list[bytes]]] = {
    "openai": (json.dumps(CHAT).encode(), _chat_events()),
    "anthropic": (json.dumps(MESSAGE).encode(), _message_events()),
}


def http_client(sdk: str) -> Any:
    """A client of the HTTP library that the SDK was built on, which answers from memory."""
    base = importlib.import_module(f"{sdk}._base_client")
    http: Any = getattr(base, "httpx2", None) or base.httpx
    document, events = ANSWERS[sdk]

    class Events(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            yield from events

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for event in events:
                yield event

    def answer(request: Any) -> Any:
        if b'"stream":true' in request.content or b'"stream": true' in request.content:
            kind = [("content-type", "text/event-stream; charset=utf-8"), *HEADERS]
            return http.Response(200, headers=kind, stream=Events())
        return http.Response(200, headers=[("content-type", "application/json"), *HEADERS], content=document)

    return http.Client(transport=http.MockTransport(answer))
