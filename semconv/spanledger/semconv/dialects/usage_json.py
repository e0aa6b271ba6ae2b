"""Usage objects as providers and frameworks write them, found as JSON (or Python text) inside attributes.

The keys tell the style, and the style tells what overlaps: OpenAI counts cached tokens inside ``prompt_tokens`` and
``input_tokens``, Anthropic and Bedrock beside ``input_tokens``, Gemini counts thinking beside ``candidatesTokenCount``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, cast

from spanledger.semconv.dialects import values
from spanledger.semconv.dialects.table import Draft

_KEYS: Final[Mapping[str, str]] = {
    key: slot
    for slot, keys in {
        "input": "prompt_tokens input_tokens input inputTokens promptTokens promptTokenCount prompt_token_count",
        "output": "completion_tokens output_tokens output outputTokens completionTokens candidatesTokenCount"
        " candidates_token_count",
        "total": "total_tokens total totalTokens totalTokenCount total_token_count",
        "cache_read": "cached_tokens cache_read_input_tokens cache_read input_cache_read input_cached_tokens"
        " cached_input_tokens cacheReadInputTokens cachedContentTokenCount cached_content_token_count cachedInputTokens"
        " prompt_cache_hit_tokens input_cached cacheReadTokens input_cache_read_tokens cache_read_tokens",
        "cache_write": "cache_write_tokens cache_creation_input_tokens cache_creation_tokens input_cache_creation"
        " cache_write_input_tokens cacheWriteInputTokens cacheCreationInputTokens cacheWriteTokens input_cache_write"
        " input_cache_creation_tokens cache_creation",
        "cache_write_5m": "ephemeral_5m_input_tokens input_cache_creation_5m",
        "cache_write_1h": "ephemeral_1h_input_tokens cache_creation_input_tokens_above_1hr input_cache_creation_1h",
        "reasoning": "reasoning_tokens thinking_tokens reasoning output_reasoning output_reasoning_tokens"
        " reasoningTokens thoughtsTokenCount thoughts_token_count reasoning_output_tokens",
        "web_searches": "web_search_requests",
    }.items()
    for key in keys.split()
}
_AUDIO: Final = frozenset(("audio_tokens", "audio"))
_OUTPUT_NESTS: Final = frozenset(
    ("completion_tokens_details", "output_tokens_details", "output_token_details", "outputTokenDetails")
)
_BESIDE: Final = frozenset(  # keys whose presence says that input does not include the cache
    ("cache_read_input_tokens", "cache_creation_input_tokens", "cacheReadInputTokens", "cacheWriteInputTokens")
)
_PARTS: Final = ("input_cache", "input_cached", "output_reasoning", "input_audio", "output_audio")
_PAIR: Final = re.compile(r"'(\w{2,60})': ?(\d{1,16})(?![\d.])")
MAX_PYTHON_TEXT: Final = 8192


@dataclass(slots=True)
class Found:
    """What a usage object says."""

    counts: dict[str, int]
    input_holds_cache: bool
    output_holds_reasoning: bool
    cost: Decimal | None = None


def from_mapping(usage: Mapping[str, Any]) -> Found:
    """Read a usage object of any known style; unknown keys are left alone."""
    counts: dict[str, int] = {}
    keys: set[str] = set()
    _collect(usage, counts, keys, outputs=False, depth=0)
    return _judge(counts, keys, usage.get("cost"))


def from_python_text(text: Any) -> Found | None:
    """Read the ``repr`` of a usage object (``{'prompt_tokens': 12, ...}``), which is no JSON."""
    if not isinstance(text, str) or len(text) > MAX_PYTHON_TEXT:
        return None
    counts: dict[str, int] = {}
    keys: set[str] = set()
    for key, digits in _PAIR.findall(text):
        keys.add(key)
        slot = _KEYS.get(key)
        if slot is not None and slot not in counts and int(digits) <= values.MAX_COUNT:
            counts[slot] = int(digits)
    if not counts:
        return None
    return _judge(counts, keys | ({"prompt_tokens_details"} if "'prompt_tokens'" in text else set()), None)


def apply(draft: Draft, found: Found | None) -> None:
    """Let a usage object replace what the attributes say, where it says more."""
    if found is None or not found.counts:
        return
    draft.counts.clear()
    draft.counts.update(found.counts)
    draft.input_holds_cache = found.input_holds_cache
    draft.output_holds_reasoning = found.output_holds_reasoning


def _collect(usage: Mapping[str, Any], counts: dict[str, int], keys: set[str], *, outputs: bool, depth: int) -> None:
    nested: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in usage.items():
        if isinstance(value, dict):
            nested.append((key, cast("dict[str, Any]", value)))
            keys.add(key)
            continue
        number = values.count(value)
        if not isinstance(number, int):
            continue
        keys.add(key)
        if key in _AUDIO:
            slot: str | None = "output_audio" if outputs else "input_audio"
        elif key in ("image_tokens", "image"):
            slot = "output_image" if outputs else "input_image"
        else:
            slot = _KEYS.get(key)
        # The same count stands under several keys; one that counts wins over a 0 (two spellings, one unused).
        if slot is not None and not counts.get(slot):
            counts[slot] = number
    if depth < 3:
        for key, inner in nested:
            _collect(inner, counts, keys, outputs=outputs or key in _OUTPUT_NESTS, depth=depth + 1)


def _judge(counts: dict[str, int], keys: set[str], cost: Any) -> Found:
    reported = values.amount(cost)
    dollars = reported if isinstance(reported, Decimal) else None
    if keys & {"promptTokenCount", "prompt_token_count"}:
        return Found(counts, True, False, dollars)
    if "prompt_tokens" in keys or keys & {"prompt_tokens_details", "input_tokens_details", "input_token_details"}:
        return Found(counts, True, True, dollars)
    if any(key.startswith(_PARTS) for key in keys):
        return Found(counts, False, False, dollars)
    if keys & _BESIDE:
        return Found(counts, False, True, dollars)
    return Found(counts, True, True, dollars)
