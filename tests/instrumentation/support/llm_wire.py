"""Answers as the providers send them, with usage numbers that cannot be mixed up."""

from __future__ import annotations

from typing import Any

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
TOOL_MESSAGES = [
    {"role": "user", "content": "Weather in Paris?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "19 °C"},
]

CHAT_USAGE = {
    "prompt_tokens": 1100,
    "completion_tokens": 230,
    "total_tokens": 1330,
    "prompt_tokens_details": {"cached_tokens": 100, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 0},
}
CHAT_CLASSES = {"input_uncached": 1000, "cache_read": 100, "output_text": 200, "reasoning": 30}


def chat(**changes: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Because of Rayleigh scattering.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": CHAT_USAGE,
        "service_tier": "default",
        **changes,
    }


def chunk(choices: list[Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "gpt-4o-2024-08-06",
        "choices": choices,
        "usage": None,
        **changes,
    }


def delta(text: str = "", *, finish_reason: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    content = {"content": text} if text else {}
    return {"index": index, "delta": {**content, **fields}, "logprobs": None, "finish_reason": finish_reason}


DONE = b"data: [DONE]\n\n"


def chat_events(*, usage: Any = CHAT_USAGE) -> list[Any]:
    """A chat stream of three chunks; with usage, a fourth without choices."""
    events: list[Any] = [
        chunk([delta("Ray", role="assistant")]),
        chunk([delta("leigh")]),
        chunk([delta(finish_reason="stop")]),
    ]
    if usage is not None:
        events.append(chunk([], usage=usage))
    return [*events, DONE]


RESPONSE_USAGE = {
    "input_tokens": 900,
    "input_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 0},
    "output_tokens": 70,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 970,
}
RESPONSE_CLASSES = {"input_uncached": 500, "cache_read": 400, "cache_write": 0, "output_text": 50, "reasoning": 20}


def response(**changes: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1790000000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": "gpt-4o-2024-08-06",
        "output": [
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Rayleigh.", "annotations": []}],
            }
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": 1.0,
        "top_p": 1.0,
        "metadata": {},
        "usage": RESPONSE_USAGE,
        "service_tier": "default",
        **changes,
    }


def response_events(**changes: Any) -> list[Any]:
    running = response(status="in_progress", output=[], usage=None)
    item = {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return [
        {"type": "response.created", "sequence_number": 0, "response": running},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
        {"type": "response.content_part.added", "sequence_number": 2, "part": part, **place},
        {"type": "response.output_text.delta", "sequence_number": 3, "delta": "Ray", "logprobs": [], **place},
        {"type": "response.output_text.delta", "sequence_number": 4, "delta": "leigh.", "logprobs": [], **place},
        {"type": "response.completed", "sequence_number": 5, "response": response(**changes)},
    ]


MESSAGE_USAGE = {
    "input_tokens": 300,
    "cache_creation_input_tokens": 50,
    "cache_read_input_tokens": 2000,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    "output_tokens": 120,
    "service_tier": "standard",
    "server_tool_use": None,
}
MESSAGE_CLASSES = {
    "input_uncached": 300,
    "cache_read": 2000,
    "cache_write_5m": 20,
    "cache_write_1h": 30,
    "output_text": 120,
}


def message(**changes: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "Rayleigh scattering."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": MESSAGE_USAGE,
        **changes,
    }


def message_events(*, usage: dict[str, Any] | None = None, stop_reason: str = "end_turn") -> list[Any]:
    start = {**MESSAGE_USAGE, "output_tokens": 1}
    return [
        {"type": "message_start", "message": message(content=[], stop_reason=None, usage=start)},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Ray"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "leigh"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": None},
            "usage": usage or {"output_tokens": 120},
        },
        {"type": "message_stop"},
    ]
