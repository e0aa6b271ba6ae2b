"""The Anthropic wire format: messages, plain and streamed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from spanledger.cli.demo import rates, wire
from spanledger.cli.demo.rates import Charge, Rate
from spanledger.cli.demo.wire import Answer, Request

CACHE_MINIMUM: Final = 1024
"""Shorter prefixes are not cached, even when marked."""


def rate_of(model: str) -> Rate | None:
    """The rate of a model, its dated snapshot or its ``-latest`` alias; None for an unknown model."""
    for family, rate in rates.ANTHROPIC.items():
        if model in (family, rate.snapshot, f"{family}-latest"):
            return rate
    return None


def _cache_lifetimes(body: Mapping[str, Any]) -> list[str]:
    """The lifetimes (``5m``, ``1h``) that the prompt's cache marks ask for, in order."""
    blocks = wire.mappings(body.get("system")) + wire.mappings(body.get("tools"))
    for message in wire.mappings(body.get("messages")):
        blocks += wire.mappings(message.get("content"))
    marks = [wire.mapping(block.get("cache_control")) for block in blocks]
    return [str(mark.get("ttl", "5m")) for mark in marks if mark]


def _tokens(request: Request, rng: random.Random, ordinal: int) -> dict[str, int]:
    steered = wire.mapping(request.steer.get("usage"))
    if steered:
        return {name: int(count) for name, count in steered.items()}
    body = request.body
    output = min(wire.limit(body.get("max_tokens"), 100_000), rng.randrange(12, 700))
    fresh = wire.size_of(body.get("messages")) + rng.randrange(20, 900)
    tokens = {"input_uncached": fresh, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output_text": output}
    for lifetime in _cache_lifetimes(body):
        prefix = rng.randrange(CACHE_MINIMUM, 6000)
        # The first request with this prompt writes the cache, later ones read it.
        kind = "cache_read" if ordinal else f"cache_write_{lifetime}"
        tokens[kind] += prefix
    return tokens


def _usage(tokens: Mapping[str, int], searches: int) -> dict[str, Any]:
    written_5m, written_1h = tokens.get("cache_write_5m", 0), tokens.get("cache_write_1h", 0)
    return {
        "input_tokens": tokens.get("input_uncached", 0),
        "cache_creation_input_tokens": written_5m + written_1h,
        "cache_read_input_tokens": tokens.get("cache_read", 0),
        "cache_creation": {"ephemeral_5m_input_tokens": written_5m, "ephemeral_1h_input_tokens": written_1h},
        "output_tokens": tokens.get("output_text", 0) + tokens.get("reasoning", 0),
        "service_tier": "standard",
        "server_tool_use": {"web_search_requests": searches, "web_fetch_requests": 0} if searches else None,
    }


def _wanted_tool(body: Mapping[str, Any]) -> str | None:
    for message in wire.mappings(body.get("messages")):
        if any(block.get("type") == "tool_result" for block in wire.mappings(message.get("content"))):
            return None
    for tool in wire.mappings(body.get("tools")):
        if "input_schema" in tool:
            return str(tool.get("name"))
    return None


def messages(request: Request, model: str, rng: random.Random, ordinal: int) -> Answer | None:
    """Answer ``POST /v1/messages``; None when the model is unknown."""
    rate = rate_of(model)
    if rate is None:
        return None
    body = request.body
    tokens = _tokens(request, rng, ordinal)
    searches = sum(1 for tool in wire.mappings(body.get("tools")) if str(tool.get("type", "")).startswith("web_search"))
    tool = _wanted_tool(body)
    text = wire.prose(rng, tokens.get("output_text", 0))
    block: dict[str, Any] = {"type": "text", "text": text, "citations": None}
    if tool:
        use_id = wire.identifier(rng, "toolu_")
        block = {"type": "tool_use", "id": use_id, "name": tool, "input": {"query": "spend of last month"}}
    full = tokens.get("output_text", 0) >= wire.limit(body.get("max_tokens"), 100_000)
    stop = "tool_use" if tool else "max_tokens" if full else "end_turn"
    usage = _usage(tokens, searches)
    message: dict[str, Any] = {
        "id": wire.identifier(rng, "msg_"),
        "type": "message",
        "role": "assistant",
        "model": rate.snapshot,
        "content": [block],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }
    answer = Answer(
        provider="anthropic",
        model=rate.snapshot,
        operation="messages",
        response_id=message["id"],
        charge=Charge(tokens, searches),
        service_tier="standard",
    )
    if not request.wants_stream:
        return replace(answer, body=message)
    return replace(answer, events=_events(message, block, text))


def _events(
    message: Mapping[str, Any], block: Mapping[str, Any], text: str
) -> list[tuple[str, Mapping[str, Any] | str]]:
    usage: dict[str, Any] = message["usage"]
    opening: dict[str, Any] = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": opening}, {"type": "ping"}]
    if block["type"] == "tool_use":
        deltas = [
            {"type": "input_json_delta", "partial_json": part} for part in ("", '{"query": ', '"spend of last month"}')
        ]
        start: dict[str, Any] = {**block, "input": {}}
    else:
        deltas = [{"type": "text_delta", "text": piece} for piece in wire.pieces(text)]
        start = {**block, "text": ""}
    events.append({"type": "content_block_start", "index": 0, "content_block": start})
    events += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    events.append({"type": "content_block_stop", "index": 0})
    # The counts are cumulative: each message_delta repeats all of them, the last one is what is billed.
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    running = {key: usage[key] for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")}
    if usage["server_tool_use"]:
        running["server_tool_use"] = usage["server_tool_use"]
    half = {**running, "output_tokens": max(1, usage["output_tokens"] // 2)}
    events.append({"type": "message_delta", "delta": {"stop_reason": None, "stop_sequence": None}, "usage": half})
    final = {**running, "output_tokens": usage["output_tokens"]}
    events.append({"type": "message_delta", "delta": ending, "usage": final})
    events.append({"type": "message_stop"})
    return [(event["type"], event) for event in events]


def error(status: int) -> dict[str, Any]:
    """The body of an Anthropic error with that HTTP status."""
    kinds = {
        400: ("invalid_request_error", "The request is malformed."),
        401: ("authentication_error", "invalid x-api-key"),
        404: ("not_found_error", "model not found"),
        429: ("rate_limit_error", "Number of request tokens has exceeded your rate limit."),
        529: ("overloaded_error", "Overloaded"),
    }
    kind, message = kinds.get(status, ("api_error", "Internal server error"))
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake_error"}
