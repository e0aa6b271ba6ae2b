"""The OpenAI wire format: chat completions, responses and embeddings, plain and streamed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from spanledger.cli.demo import rates, wire
from spanledger.cli.demo.rates import Charge, Rate
from spanledger.cli.demo.wire import Answer, Request

CREATED: Final = 1_790_000_000
"""The fake answers' ``created``: fixed, so that the same request gives the same bytes."""

CACHE_BLOCK: Final = 128
CACHE_MINIMUM: Final = 1024
"""Prompts shorter than this are never cached; hits come in blocks of 128 tokens."""


def rate_of(model: str, service_tier: str = "") -> tuple[str, Rate] | None:
    """The family name and the rate of a model or of one of its dated snapshots; None for an unknown model."""
    for family, rate in rates.OPENAI.items():
        if model in (family, rate.snapshot):
            return family, rates.OPENAI_TIERS.get((family, service_tier), rate)
    return None


def served_tier(model: str, asked: object) -> str:
    """The tier that serves a request: the one asked for where the model offers it, else ``default``."""
    family = rate_of(model)
    if isinstance(asked, str) and family and (family[0], asked) in rates.OPENAI_TIERS:
        return asked
    return "default"


def _tokens(request: Request, rate: Rate, rng: random.Random, prompt: object, max_output: object) -> dict[str, int]:
    steered = wire.mapping(request.steer.get("usage"))
    if steered:
        return {name: int(count) for name, count in steered.items()}
    total = wire.size_of(prompt) + rng.randrange(40, 2400)
    cached = 0
    if total >= CACHE_MINIMUM and rng.random() < 0.6:
        cached = rng.randrange(CACHE_MINIMUM, total + 1) // CACHE_BLOCK * CACHE_BLOCK
    output = min(wire.limit(max_output, 100_000), rng.randrange(12, 700))
    tokens = {"input_uncached": total - cached, "cache_read": cached, "output_text": output, "reasoning": 0}
    if rate.reasons:
        tokens["reasoning"] = output * rng.randrange(2, 8) // 10
        tokens["output_text"] = output - tokens["reasoning"]
    return tokens


def _finish(tokens: Mapping[str, int], max_output: object, *, calls_tool: bool) -> str:
    if calls_tool:
        return "tool_calls"
    generated = tokens.get("output_text", 0) + tokens.get("reasoning", 0)
    return "length" if generated >= wire.limit(max_output, 100_000) else "stop"


def _chat_usage(tokens: Mapping[str, int]) -> dict[str, Any]:
    prompt = tokens.get("input_uncached", 0) + tokens.get("cache_read", 0)
    completion = tokens.get("output_text", 0) + tokens.get("reasoning", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": tokens.get("cache_read", 0), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.get("reasoning", 0),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _wanted_tool(body: Mapping[str, Any]) -> str | None:
    """The function to call: the first one offered, unless a tool has answered already or tools are switched off."""
    if body.get("tool_choice") == "none":
        return None
    for message in wire.mappings(body.get("messages")) + wire.mappings(body.get("input")):
        if message.get("role") == "tool" or message.get("type") == "function_call_output":
            return None
    for tool in wire.mappings(body.get("tools")):
        if tool.get("type") == "function":
            name = wire.mapping(tool.get("function")).get("name") or tool.get("name")
            return str(name)
    return None


def chat(request: Request, model: str, rng: random.Random, *, provider: str) -> Answer | None:
    """Answer ``POST /chat/completions``; None when the model is unknown."""
    body = request.body
    tier = served_tier(model, body.get("service_tier"))
    found = rate_of(model, tier)
    if found is None:
        return None
    _, rate = found
    max_output = body.get("max_completion_tokens", body.get("max_tokens"))
    tokens = _tokens(request, rate, rng, body.get("messages"), max_output)
    response_id = wire.identifier(rng, "chatcmpl-")
    tool = _wanted_tool(body)
    text = wire.prose(rng, tokens.get("output_text", 0))
    call = {
        "id": wire.identifier(rng, "call_")[:29],
        "type": "function",
        "function": {"name": tool, "arguments": '{"query": "spend of last month"}'},
    }
    finish = _finish(tokens, max_output, calls_tool=tool is not None)
    head: dict[str, Any] = {
        "id": response_id,
        "created": CREATED,
        "model": rate.snapshot,
        "system_fingerprint": "fp_fake",
    }
    if "service_tier" in body:
        head["service_tier"] = tier
    answer = Answer(
        provider=provider,
        model=rate.snapshot,
        operation="chat",
        response_id=response_id,
        charge=Charge(tokens),
        service_tier=tier,
    )
    if not request.wants_stream:
        message = {
            "role": "assistant",
            "content": None if tool else text,
            "refusal": None,
            **({"tool_calls": [call]} if tool else {}),
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        full = {**head, "object": "chat.completion", "choices": [choice], "usage": _chat_usage(tokens)}
        return replace(answer, body=full)

    include_usage = wire.mapping(body.get("stream_options")).get("include_usage") is True
    chunk_head: dict[str, Any] = {**head, "object": "chat.completion.chunk"}
    if include_usage:
        chunk_head["usage"] = None
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if tool else "", "refusal": None}]
    if tool:
        start = {**call, "index": 0, "function": {"name": tool, "arguments": ""}}
        deltas.append({"tool_calls": [start]})
        deltas += [
            {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
            for part in ('{"query": ', '"spend of last month"}')
        ]
    else:
        deltas += [{"content": part} for part in wire.pieces(text)]
    chunks: list[tuple[str, Mapping[str, Any] | str]] = [
        ("", {**chunk_head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]})
        for delta in deltas
    ]
    last: dict[str, Any] = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish}
    chunks.append(("", {**chunk_head, "choices": [last]}))
    if include_usage:
        chunks.append(("", {**chunk_head, "choices": [], "usage": _chat_usage(tokens)}))
    chunks.append(("", "[DONE]"))
    return replace(answer, events=chunks)


def responses(request: Request, model: str, rng: random.Random, *, provider: str) -> Answer | None:
    """Answer ``POST /responses``; None when the model is unknown."""
    body = request.body
    tier = served_tier(model, body.get("service_tier"))
    found = rate_of(model, tier)
    if found is None:
        return None
    _, rate = found
    max_output = body.get("max_output_tokens")
    tokens = _tokens(request, rate, rng, body.get("input"), max_output)
    response_id = wire.identifier(rng, "resp_")
    text = wire.prose(rng, tokens.get("output_text", 0))
    tool = _wanted_tool(body)
    searches = sum(1 for offered in wire.mappings(body.get("tools")) if offered.get("type") == "web_search")
    output: list[dict[str, Any]] = []
    if tokens.get("reasoning"):
        output.append({"type": "reasoning", "id": wire.identifier(rng, "rs_"), "summary": []})
    output += [
        {
            "type": "web_search_call",
            "id": wire.identifier(rng, "ws_"),
            "status": "completed",
            "action": {"type": "search", "query": "llm prices", "queries": ["llm prices"]},
        }
        for _ in range(searches)
    ]
    if tool:
        output.append(
            {
                "type": "function_call",
                "id": wire.identifier(rng, "fc_"),
                "call_id": wire.identifier(rng, "call_")[:29],
                "name": tool,
                "arguments": '{"query": "spend of last month"}',
                "status": "completed",
            }
        )
    else:
        part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message_id = wire.identifier(rng, "msg_")
        output.append(
            {"type": "message", "id": message_id, "role": "assistant", "status": "completed", "content": [part]}
        )
    cut = _finish(tokens, max_output, calls_tool=tool is not None) == "length"
    prompt = tokens.get("input_uncached", 0) + tokens.get("cache_read", 0)
    generated = tokens.get("output_text", 0) + tokens.get("reasoning", 0)
    final: dict[str, Any] = {
        "id": response_id,
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": max_output,
        "metadata": {},
        "model": rate.snapshot,
        "output": output,
        "parallel_tool_calls": True,
        "service_tier": tier,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "top_p": 1.0,
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": tokens.get("cache_read", 0), "cache_write_tokens": 0},
            "output_tokens": generated,
            "output_tokens_details": {"reasoning_tokens": tokens.get("reasoning", 0)},
            "total_tokens": prompt + generated,
        },
    }
    answer = Answer(
        provider=provider,
        model=rate.snapshot,
        operation="responses",
        response_id=response_id,
        charge=Charge(tokens, searches),
        service_tier=tier,
    )
    if not request.wants_stream:
        return replace(answer, body=final)
    return replace(answer, events=_response_events(final, text, has_text=tool is None))


def _response_events(
    final: Mapping[str, Any], text: str, *, has_text: bool
) -> list[tuple[str, Mapping[str, Any] | str]]:
    output: list[dict[str, Any]] = final["output"]
    opening: dict[str, Any] = {
        **final,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
    }
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": opening},
        {"type": "response.in_progress", "response": opening},
    ]
    for index, item in enumerate(output):
        events.append(
            {
                "type": "response.output_item.added",
                "output_index": index,
                "item": {**item, "status": "in_progress", "content": []} if item["type"] == "message" else item,
            }
        )
        if item["type"] == "message" and has_text:
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            events.append({"type": "response.content_part.added", **place, "part": part})
            events += [
                {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
                for piece in wire.pieces(text)
            ]
            events.append({"type": "response.output_text.done", **place, "text": text, "logprobs": []})
            events.append({"type": "response.content_part.done", **place, "part": {**part, "text": text}})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": f"response.{final['status']}", "response": final})
    return [(event["type"], {**event, "sequence_number": number}) for number, event in enumerate(events)]


def embeddings(request: Request, model: str, rng: random.Random, *, provider: str) -> Answer | None:
    """Answer ``POST /embeddings``; None when the model is unknown. Embeddings carry no response id."""
    found = rate_of(model)
    if found is None:
        return None
    _, rate = found
    asked = request.body.get("input")
    texts = cast("list[object]", asked) if isinstance(asked, list) else [asked]
    steered = wire.mapping(request.steer.get("usage"))
    tokens = int(steered.get("input_uncached", 0)) or wire.size_of(texts) + rng.randrange(10, 300)
    vector = [round(rng.uniform(-1, 1), 6) for _ in range(8)]
    body = {
        "object": "list",
        "model": rate.snapshot,
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Answer(
        provider=provider,
        model=rate.snapshot,
        operation="embeddings",
        response_id="",
        charge=Charge({"input_uncached": tokens}),
        service_tier="default",
        body=body,
    )


def error(status: int) -> dict[str, Any]:
    """The body of an OpenAI error with that HTTP status."""
    kinds = {
        400: ("invalid_request_error", "The request is malformed.", None),
        401: ("invalid_request_error", "Incorrect API key provided.", "invalid_api_key"),
        404: ("invalid_request_error", "The model does not exist or you do not have access to it.", "model_not_found"),
        429: ("requests", "Rate limit reached for requests.", "rate_limit_exceeded"),
    }
    kind, message, code = kinds.get(status, ("server_error", "The server had an error.", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
