"""Usage documents of OpenAI's, Anthropic's, Gemini's and Bedrock's answers, as disjoint token classes.

OpenAI counts inclusively (cached, audio and image tokens inside the input; reasoning inside the output); Anthropic's
``input_tokens`` is the uncached part only, and its output includes thinking. Gemini's prompt includes the cached
content; thoughts and the results of tools are counted beside it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from spanledger.reconciler.documents import Json, maybe_obj, maybe_rows, quantity, text
from spanledger.semconv.usage import OTHER_MODELS, Usage, known_sum

_MOST: Final = Decimal(2**53)


def count(value: object) -> int | None:
    """A token count, ``None`` when it is not reported or absurd."""
    found = quantity(value)
    return int(found) if found is not None and 0 <= found <= _MOST else None


def openai_usage(usage: Json) -> Usage:
    """Of chat completions, responses, completions and embeddings."""
    inputs = _first(usage, "prompt_tokens", "input_tokens")
    outputs = _first(usage, "completion_tokens", "output_tokens")
    of_input = maybe_obj(usage.get("prompt_tokens_details")) or maybe_obj(usage.get("input_tokens_details"))
    of_output = maybe_obj(usage.get("completion_tokens_details")) or maybe_obj(usage.get("output_tokens_details"))
    cached, written = count(of_input.get("cached_tokens")), count(of_input.get("cache_write_tokens"))
    audio, image = count(of_input.get("audio_tokens")) or None, count(of_input.get("image_tokens")) or None
    reasoning, spoken = count(of_output.get("reasoning_tokens")), count(of_output.get("audio_tokens")) or None
    return Usage(
        input_uncached=_rest(inputs, cached, written, audio, image),
        cache_read=cached,
        cache_write=written,
        input_audio=audio,
        input_image=image,
        output_text=_rest(outputs, reasoning, spoken),
        reasoning=reasoning,
        output_audio=spoken,
    )


def anthropic_usage(usage: Json) -> Usage:
    """Of messages."""
    split = maybe_obj(usage.get("cache_creation"))
    written_5m, written_1h = (
        count(split.get("ephemeral_5m_input_tokens")),
        count(split.get("ephemeral_1h_input_tokens")),
    )
    written = None if split else count(usage.get("cache_creation_input_tokens"))
    thinking = count(maybe_obj(usage.get("output_tokens_details")).get("thinking_tokens"))
    searches = count(maybe_obj(usage.get("server_tool_use")).get("web_search_requests"))
    kinds = [text(iteration.get("type")) for iteration in maybe_rows(usage.get("iterations"))]
    counts = {
        "web_searches": searches or 0,
        # Without a rate: an advisor's tokens stand apart, those of a model that declined are among the call's.
        "advisor_messages": kinds.count("advisor_message"),
        OTHER_MODELS: kinds.count("fallback_message"),
    }
    return Usage(
        input_uncached=count(usage.get("input_tokens")),
        cache_read=count(usage.get("cache_read_input_tokens")),
        cache_write=written,
        cache_write_5m=written_5m,
        cache_write_1h=written_1h,
        output_text=_rest(count(usage.get("output_tokens")), thinking),
        reasoning=thinking,
        counts={name: number for name, number in counts.items() if number},
    )


def gemini_usage(usage: Json) -> Usage:
    """Of generated content (``usageMetadata``)."""
    prompt, tools = count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount"))
    cached, thoughts = count(usage.get("cachedContentTokenCount")), count(usage.get("thoughtsTokenCount"))
    said, total = count(usage.get("candidatesTokenCount")), count(usage.get("totalTokenCount"))
    inputs = known_sum(prompt, tools)
    if said is None and total is not None and total == known_sum(inputs, thoughts):
        said = 0  # nothing but thoughts: the total says so
    given, made = _modalities(usage, "promptTokensDetails"), _modalities(usage, "candidatesTokensDetails")
    from_cache = _modalities(usage, "cacheTokensDetails")
    audio, image = (max(0, given.get(kind, 0) - from_cache.get(kind, 0)) or None for kind in ("AUDIO", "IMAGE"))
    spoken, drawn = made.get("AUDIO") or None, made.get("IMAGE") or None
    cached_audio = min(from_cache.get("AUDIO", 0), cached or 0)
    return Usage(
        input_uncached=_rest(inputs, cached, audio, image),
        cache_read=None if cached is None else cached - cached_audio,
        input_audio=audio,
        input_image=image,
        output_text=_rest(said, spoken, drawn),
        reasoning=thoughts,
        output_audio=spoken,
        output_image=drawn,
        counts={"cache_read_audio": cached_audio} if cached_audio else {},
    )


def bedrock_usage(output: Json) -> Usage:
    """Of a model's own answer at Bedrock: each vendor's document; cache counts stand beside Amazon's input."""
    usage = maybe_obj(output.get("usage"))
    if "input_tokens" in usage:
        return anthropic_usage(usage)
    if "prompt_tokens" in usage:
        return openai_usage(usage)
    written = _first(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    return Usage(
        input_uncached=_first({**output, **usage}, "inputTokens", "prompt_token_count", "inputTextTokenCount"),
        cache_read=_first(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        cache_write=written,
        output_text=_first({**output, **usage}, "outputTokens", "generation_token_count"),
    )


def _modalities(usage: Json, name: str) -> dict[str, int]:
    """Tokens by modality (``AUDIO``, ``IMAGE``, ...), where the document splits them."""
    rows = [maybe_obj(row) for row in maybe_rows(usage.get(name))]
    return {text(row.get("modality")).upper(): count(row.get("tokenCount")) or 0 for row in rows}


def _first(usage: Json, *names: str) -> int | None:
    return next((found for name in names if (found := count(usage.get(name))) is not None), None)


def _rest(whole: int | None, *parts: int | None) -> int | None:
    """What is left of a whole; parts that exceed it leave the whole alone rather than a negative count."""
    if whole is None:
        return None
    rest = whole - sum(part or 0 for part in parts)
    return rest if rest >= 0 else whole
