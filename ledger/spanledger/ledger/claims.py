"""Why somebody else's figure for a call differs from ours: each known mistake is tried, and named where it fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final

from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

TOLERANCE: Final = Decimal("1e-8")
"""Emitters send doubles, some rounded to eight digits."""

EQUAL: Final = "equal"
OTHER: Final = "another price or usage"


def verdict(seen: Observation, ours: Decimal, claimed: Decimal, book: PriceBook) -> str:
    """`EQUAL`, the name of the mistake that explains the claim, or `OTHER`.

    Args:
        seen: the call as it was priced.
        ours: our cost.
        claimed: theirs.
        book: prices the call as if the mistake had been made.
    """
    if abs(ours - claimed) <= TOLERANCE:
        return EQUAL
    if not claimed:
        return "zero for a model that they do not know"
    for name, mistaken in _mistakes(seen):
        cost = book.price_many([mistaken])[0].total
        if cost is not None and abs(cost - claimed) <= TOLERANCE:
            return name
    return OTHER


def _mistakes(seen: Observation) -> Iterator[tuple[str, Observation]]:
    usage = seen.usage
    cached, uncached = usage.cache_read or 0, usage.input_uncached or 0
    written = usage.cache_write_tokens or 0
    if cached:
        yield "cached tokens at the full rate", _with(seen, input_uncached=uncached + cached, cache_read=0)
        yield "cached tokens billed twice", _with(seen, input_uncached=uncached + cached)
        yield "cached tokens left out", _with(seen, cache_read=0)
    if written:
        no_writes = {"cache_write": 0, "cache_write_5m": 0, "cache_write_1h": 0}
        yield "cache writes left out", _with(seen, **no_writes)
        yield "cache writes as ordinary input", _with(seen, **no_writes, input_uncached=uncached + written)
    if usage.cache_write_1h:
        five = (usage.cache_write_5m or 0) + usage.cache_write_1h
        yield "one-hour cache writes at the five-minute rate", _with(seen, cache_write_5m=five, cache_write_1h=0)
    if cached and written:
        nothing = {"cache_read": 0, "cache_write": 0, "cache_write_5m": 0, "cache_write_1h": 0}
        yield "cached tokens and cache writes left out", _with(seen, **nothing)
    if usage.reasoning:
        yield "reasoning left out", _with(seen, reasoning=0)
        twice = (usage.output_text or 0) + usage.reasoning
        yield "reasoning billed twice", _with(seen, output_text=twice)
    if seen.is_batch:
        yield "batch discount left out", replace(seen, is_batch=False)
    if seen.service_tier:
        yield "the served tier ignored", replace(seen, service_tier="")
    if seen.inference_geo:
        yield "the place of inference ignored", replace(seen, inference_geo="global")
    if usage.counts:
        yield "tool fees left out", replace(seen, usage=replace(usage, counts={}))


def _with(seen: Observation, **classes: int) -> Observation:
    known: Usage = replace(seen.usage, **classes)  # type: ignore[arg-type]
    return replace(seen, usage=known)
