"""Usage objects as providers and frameworks write them, found as JSON (or Python text) inside attributes.

The keys tell the style, and the style tells what overlaps: OpenAI counts cached tokens inside ``prompt_tokens`` and
``input_tokens``, Anthropic and Bedrock beside ``input_tokens``, Gemini counts thinking beside ``candidatesTokenCount``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

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
_IMAGE: Final = frozenset(("image_tokens", "image"))
_OUTPUT_NESTS: Final = frozenset(
    ("completion_tokens_details", "output_tokens_details", "output_token_details", "outputTokenDetails")
)
_BESIDE: Final = frozenset(  # keys whose presence says that input does not include the cache
    ("cache_read_input_tokens", "cache_creation_input_tokens", "cacheReadInputTokens", "cacheWriteInputTokens")
)
_PARTS: Final = ("input_cache", "input_cached", "output_reasoning", "input_audio", "output_audio")
_GEMINI, _OPENAI, _SPLIT, _ANTHROPIC = 1, 2, 4, 8
"""What a key tells about the style of its object."""
_PLACE: Final = "inference_geo"
MAX_PYTHON_TEXT: Final = 8192
_MAX_DEPTH: Final = 3
_MAX_SHAPES: Final = 2048
_MAX_KEYS: Final = 64
_Shape = tuple[bool, int, tuple[str, ...], tuple[type, ...]]


def _style(key: str) -> int:
    if key in ("promptTokenCount", "prompt_token_count"):
        return _GEMINI
    if key in ("prompt_tokens", "prompt_tokens_details", "input_tokens_details", "input_token_details"):
        return _OPENAI
    return (_SPLIT if key.startswith(_PARTS) else 0) | (_ANTHROPIC if key in _BESIDE else 0)


_PYTHON_KEYS: Final = {key: (slot, _style(key)) for key, slot in _KEYS.items()}


@dataclass(frozen=True, slots=True)
class _Reading:
    """What to read from objects of one shape (keys and types): the numbers that mean something, and nested objects."""

    style: int
    counts: tuple[tuple[str, str | None, int], ...]
    """Key, slot, style."""
    nested: tuple[tuple[str, bool], ...]
    """Key, whether it splits the output."""


@dataclass(slots=True)
class Found:
    """What a usage object says."""

    counts: dict[str, int]
    input_holds_cache: bool
    output_holds_reasoning: bool
    cost: Decimal | None = None
    inference_geo: str = ""
    """Where inference ran, as Anthropic's usage tells it."""


def from_mapping(usage: Mapping[str, Any]) -> Found:
    """Read a usage object of any known style; unknown keys are left alone."""
    counts: dict[str, int] = {}
    found = _judge(counts, _collect(usage, counts, False, 0), usage.get("cost"))
    if _PLACE in usage:
        found.inference_geo = values.known_text(usage[_PLACE])
    return found


def from_python_text(text: Any) -> Found | None:
    """Read the ``repr`` of a usage object (``{'prompt_tokens': 12, ...}``), which is no JSON."""
    if not isinstance(text, str) or len(text) > MAX_PYTHON_TEXT:
        return None
    counts: dict[str, int] = {}
    style = 0
    parts = text.split("'")
    for key, rest in zip(parts[1::2], parts[2::2]):  # noqa: B905 - a quote left open ends the reading
        known = _PYTHON_KEYS.get(key)
        if known is not None:
            slot, told = known
            style |= told
            digits = rest[2:-2] if rest[-2:] == ", " else rest[1:]  # nearly always ": 12, "
            if not digits.isdecimal():
                digits = digits.partition(",")[0].strip(" })")
            if slot not in counts and digits.isdecimal() and len(digits) < 16:
                counts[slot] = int(digits)
    if not counts:
        return None
    found = _judge(counts, style, None)
    if _PLACE in parts:
        after = parts[parts.index(_PLACE) + 1 :][:2]
        found.inference_geo = after[1] if after[:1] == [": "] and len(after) == 2 else ""
    return found


def apply(draft: Draft, found: Found | None) -> None:
    """Let a usage object replace what the attributes say, where it says more."""
    if found is None or not found.counts:
        return
    if found.inference_geo:
        draft.fields.setdefault("inference_geo", found.inference_geo)
    draft.counts.clear()
    draft.counts.update(found.counts)
    draft.input_holds_cache = found.input_holds_cache
    draft.output_holds_reasoning = found.output_holds_reasoning


def _collect(usage: Mapping[str, Any], counts: dict[str, int], is_output: bool, depth: int) -> int:
    """Put the counts of an object and of those inside into ``counts``; returns what its keys tell about its style."""
    shape = (is_output, depth, tuple(usage), tuple(map(type, usage.values())))
    reading = _readings.get(shape) or _learn(shape)
    style = reading.style
    for key, slot, told in reading.counts:
        number = usage[key]
        if type(number) is not int or not 0 <= number <= values.MAX_COUNT:
            number = values.count(number)
            if not isinstance(number, int):
                continue
        style |= told
        # The same count stands under several keys; one that counts wins over a 0 (two spellings, one unused).
        if slot is not None and not counts.get(slot):
            counts[slot] = number
    for key, splits_output in reading.nested:
        style |= _collect(usage[key], counts, splits_output, depth + 1)
    return style


_readings: Final[dict[_Shape, _Reading]] = {}
"""A cache of what follows from the shapes alone; bounded, because others choose the keys."""


def _learn(shape: _Shape) -> _Reading:
    is_output, depth, keys, types = shape
    style = 0
    read: list[tuple[str, str | None, int]] = []
    nested: list[tuple[str, bool]] = []
    for key, kind in zip(keys, types, strict=True):
        told = _style(key)
        if kind is dict:
            style |= told
            if depth < _MAX_DEPTH:
                nested.append((key, is_output or key in _OUTPUT_NESTS))
        elif kind is not type(None) and (told or _slot(key, is_output)):
            read.append((key, _slot(key, is_output), told))
    reading = _Reading(style, tuple(read), tuple(nested))
    if len(keys) <= _MAX_KEYS and all(len(key) <= _MAX_KEYS for key in keys):
        if len(_readings) >= _MAX_SHAPES:
            _readings.clear()
        _readings[shape] = reading
    return reading


def _slot(key: str, is_output: bool) -> str | None:
    if key in _AUDIO:
        return "output_audio" if is_output else "input_audio"
    if key in _IMAGE:
        return "output_image" if is_output else "input_image"
    return _KEYS.get(key)


def _judge(counts: dict[str, int], style: int, cost: Any) -> Found:
    reported = None if cost is None else values.amount(cost)
    dollars = reported if isinstance(reported, Decimal) else None
    if style & _GEMINI:
        return Found(counts, True, False, dollars)
    if style & _OPENAI:
        return Found(counts, True, True, dollars)
    if style & _SPLIT:
        return Found(counts, False, False, dollars)
    return Found(counts, not style & _ANTHROPIC, True, dollars)
