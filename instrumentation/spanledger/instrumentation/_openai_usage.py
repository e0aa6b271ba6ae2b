"""OpenAI's usage documents, and those of hosts that speak its API, as disjoint token classes.

OpenAI counts inclusively: ``prompt_tokens`` holds cached, cache-written, audio and image tokens, ``completion_tokens``
holds reasoning and audio (https://platform.openai.com/docs/api-reference/chat/object). The Responses API names the same
things ``input_tokens`` and ``output_tokens``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from spanledger.instrumentation._answer import Answer, Counted
from spanledger.instrumentation._reading import fields, integer
from spanledger.semconv.usage import Usage, known_sum

INCONSISTENT: Final = "inconsistent_usage"
"""Note: the parts exceed the whole, so the parts were left out."""

UPSTREAM: Final = "upstream_bills_apart"
"""Note: a router used a key of the customer's own; whose key it is bills the tokens, and the router a fee."""
_SEARCHES: Final = ("-search-preview", "-search-api")
_RESEARCH: Final = frozenset(["citation_tokens", "num_search_queries"])
_XAI_TICKS_PER_USD: Final = Decimal(10_000_000_000)


def read_usage(answer: Answer) -> Counted:
    """Token classes of an answer's usage document, what the host charged, and notes on what could not be read."""
    usage = answer.usage
    if not usage:
        return Counted(usage=Usage(counts=answer.counts or {}, partial=answer.is_partial))
    inputs = _first(usage, "prompt_tokens", "input_tokens")
    outputs = _first(usage, "completion_tokens", "output_tokens")
    of_input = fields(
        usage.get("prompt_tokens_details")
        or usage.get("input_tokens_details")
        or usage.get("input_token_details")  # transcriptions
    )
    of_output = fields(
        usage.get("completion_tokens_details")
        or usage.get("output_tokens_details")
        or usage.get("output_token_details")  # Realtime
    )

    cache_read = integer(of_input.get("cached_tokens"))
    if cache_read is None:
        # DeepSeek, Moonshot and Mistral report cache hits beside the totals
        cache_read = _first(usage, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
    notes: tuple[str, ...] = ()
    input_parts: dict[str, int | None] = {
        "cache_read": cache_read,
        "cache_write": integer(of_input.get("cache_write_tokens")),
        "input_audio": integer(of_input.get("audio_tokens")) or None,
        "input_image": integer(of_input.get("image_tokens")) or None,
    }
    counts = answer.counts or {}
    if cached_media := _cached_media(of_input):
        for name, count in cached_media.items():
            input_parts["cache_read"] = (input_parts["cache_read"] or 0) - count
            kind = name.replace("cache_read", "input")
            input_parts[kind] = (input_parts[kind] or 0) - count
    in_classes = None if inputs is None else inputs - sum(cached_media.values())
    input_uncached, is_consistent = _rest(in_classes, input_parts)
    if is_consistent:
        counts = {**counts, **cached_media}
    else:
        input_uncached, input_parts, notes = inputs, {}, (INCONSISTENT,)
    if any(word in answer.model for word in _SEARCHES):
        counts = {**counts, "web_searches": 1}  # such a model searches the web for each request, at a fee
    beside = _beside_completion(usage)
    if beside:
        counts = {**counts, **beside.counts}
        outputs = known_sum(outputs, beside.reasoning)
    output_parts = {
        "reasoning": beside.reasoning if beside else integer(of_output.get("reasoning_tokens")),
        "output_audio": integer(of_output.get("audio_tokens")) or None,
        "output_image": integer(of_output.get("image_tokens")) or None,
    }
    output_text, is_consistent = _rest(_with_reasoning(inputs, outputs, output_parts["reasoning"], usage), output_parts)
    if not is_consistent:
        output_parts, notes = {}, (INCONSISTENT,)
    classes: dict[str, Any] = {**input_parts, **output_parts}
    return Counted(
        usage=Usage(
            input_uncached=input_uncached,
            output_text=output_text,
            counts=counts,
            partial=answer.is_partial,
            **classes,
        ),
        exact_cost_usd=_exact_cost(usage),
        notes=(*notes, UPSTREAM) if usage.get("is_byok") is True else notes,
    )


@dataclass(frozen=True, slots=True)
class _Beside:
    reasoning: int | None
    counts: Mapping[str, int]


def _beside_completion(usage: Mapping[str, Any]) -> _Beside | None:
    """What Perplexity's research models tell beside ``completion_tokens``, which leaves it out; ``None``: nothing.

    See https://docs.perplexity.ai/getting-started/pricing: reasoning, citations and searches have prices of their own.
    """
    if not _RESEARCH.intersection(usage):
        return None
    told = {
        "output_citation": integer(usage.get("citation_tokens")),
        "web_searches": _first(usage, "num_search_queries"),
    }
    return _Beside(integer(usage.get("reasoning_tokens")), {name: count for name, count in told.items() if count})


def _cached_media(of_input: Mapping[str, Any]) -> dict[str, int]:
    """Sound and pictures among the cached tokens, which have prices of their own; Realtime alone tells them apart."""
    told = of_input.get("cached_tokens_details")
    if told is None:
        return {}
    known = fields(told)
    found = {f"cache_read_{kind}": integer(known.get(f"{kind}_tokens")) for kind in ("audio", "image")}
    return {name: count for name, count in found.items() if count}


def _with_reasoning(
    inputs: int | None, outputs: int | None, reasoning: int | None, usage: Mapping[str, Any]
) -> int | None:
    """All output tokens. xAI leaves reasoning out of ``completion_tokens``; its total tells."""
    total = integer(usage.get("total_tokens"))
    if reasoning and inputs is not None and outputs is not None and total == inputs + outputs + reasoning:
        return outputs + reasoning
    return outputs


def _rest(whole: int | None, parts: Mapping[str, int | None]) -> tuple[int | None, bool]:
    """What is left of the whole beside its parts, and whether the parts fit into it."""
    if whole is None:
        return None, True
    known = [part for part in parts.values() if part is not None]
    left = whole - sum(known)
    return (left, True) if left >= 0 and not any(part < 0 for part in known) else (whole, False)


def _first(usage: Mapping[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := integer(usage.get(name))) is not None), None)


def _exact_cost(usage: Mapping[str, Any]) -> Decimal | None:
    """What the host says it charged.

    xAI's ``cost_in_usd_ticks`` (1e-10 USD), OpenRouter's ``cost`` and Perplexity's ``cost.total_cost`` (USD).
    """
    ticks = integer(usage.get("cost_in_usd_ticks"))
    if ticks is not None:
        return Decimal(ticks) / _XAI_TICKS_PER_USD
    charged = usage.get("cost")
    if isinstance(charged, dict):
        charged = fields(charged).get("total_cost")
    if isinstance(charged, (int, float)) and not isinstance(charged, bool) and charged >= 0:
        return Decimal(repr(charged))  # the shortest text of a double is the text that came over the wire
    return None
