"""Usage times rates, exactly, with an honest lower and upper bound where something is unknown."""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from typing import Final

from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.money import CONTEXT
from spanledger.semconv.prices import reasons
from spanledger.semconv.prices.rates import PROMPT_COUNTS, Flat, Tariff
from spanledger.semconv.usage import OTHER_MODELS, TOKEN_CLASSES, Usage

ZERO: Final = Decimal(0)
_multiply: Final = CONTEXT.multiply
_add: Final = CONTEXT.add

# Names that emitters use for what the price book counts under another name.
COUNT_ALIASES: Final = {
    "file_searches": "storage_searches",
    "search_units": "rerank_searches",
    "rerank_units": "rerank_searches",
    "characters": "input_characters",
    "pages": "input_document_pages",
    "document_pages": "input_document_pages",
    "seconds": "audio_seconds",
    "citation_tokens": "output_citation",
    "web_fetch_requests": "web_fetches",
    "code_interpreter_calls": "code_executions",
    "code_execution_requests": "code_executions",
}
# Counted by providers, billed by the tokens beside them unless somebody agreed on a rate.
FREE_COUNTS: Final = frozenset({"web_fetches", "images", "chunks", "billed_requests"})


def unpriced(reason: str) -> Cost:
    return Cost(status=CostStatus.UNPRICED, reason=reason)


def prompt_tokens(usage: Usage) -> int:
    """All prompt tokens that are known, those reported as counts included: what long-context thresholds look at."""
    prompt = usage.input_tokens or 0
    if usage.counts:
        prompt += sum(usage.counts.get(name, 0) for name in PROMPT_COUNTS)
    return prompt


_classes: Final = attrgetter(*TOKEN_CLASSES)


def cost_of(tariff: Tariff, usage: Usage, max_output_tokens: int | None = None) -> Cost:
    """What a call cost under a tariff.

    Args:
        tariff: the rates that held for the call.
        usage: what it consumed; unknown classes contribute nothing.
        max_output_tokens: the request's limit, which bounds a stream that broke off.

    Returns:
        ``LIST`` when usage and rates are fully known. ``BOUNDED`` otherwise: ``total`` is the known part at known rates
        (a cache write of unknown lifetime at the 5-minute rate), ``low`` and ``high`` enclose the truth as far as it
        can be enclosed. ``UNPRICED`` when nothing was reported or nothing has a rate.
    """
    quantities = _classes(usage)
    knows_tokens = any(quantity is not None for quantity in quantities)
    if not knows_tokens and not any(usage.counts.values()):
        return unpriced(reasons.NO_USAGE)
    flat = tariff.flat(prompt_tokens(usage)) if tariff.over else tariff.base
    by_class: dict[str, Decimal] = {}
    missing = False
    for name, quantity, each in zip(TOKEN_CLASSES, quantities, flat.each, strict=True):
        if quantity:
            if each is None:
                missing = True
            else:
                by_class[name] = _multiply(quantity, each)
    for name, quantity in usage.counts.items():
        missing |= not add_count(by_class, flat, name, quantity)
    if flat.per_request is not None:
        by_class["requests"] = flat.per_request
    if not by_class and (missing or not (knows_tokens or tariff.note)):
        return unpriced(reasons.NO_RATE)  # what costs nothing beside tokens has a price that nobody knows without them
    total = ZERO
    for amount in by_class.values():
        total = _add(total, amount)
    low, high, reason = _bounds(tariff, flat, usage, max_output_tokens, total, missing)
    if reason:
        return Cost(
            status=CostStatus.BOUNDED,
            total=total,
            low=low,
            high=high,
            by_class=by_class,
            price_id=flat.price_id,
            reason=reasons.join(reason, tariff.note),
        )
    return Cost(
        status=CostStatus.LIST,
        total=total,
        low=total,
        high=total,
        by_class=by_class,
        price_id=flat.price_id,
        reason=tariff.note,
    )


def add_count(by_class: dict[str, Decimal], flat: Flat, name: str, quantity: int) -> bool:
    """Price one count into ``by_class``; ``False`` when there is no rate for it."""
    name = COUNT_ALIASES.get(name, name)
    if not quantity or name in ("requests", OTHER_MODELS):
        return True  # the rate per request, where there is one, applies to the call itself; the tokens are counted
    rate = flat.count_rates.get(name)
    if rate is None:
        return name in FREE_COUNTS
    if flat.minimums:
        quantity = max(quantity, flat.minimums.get(name, 0))
    each = flat.count_each.get(name)
    amount = rate.times(quantity) if each is None else _multiply(quantity, each)
    by_class[name] = _add(by_class[name], amount) if name in by_class else amount
    return True


def _bounds(
    tariff: Tariff, flat: Flat, usage: Usage, max_output_tokens: int | None, total: Decimal, missing: bool
) -> tuple[Decimal, Decimal | None, str]:
    """Lower bound, upper bound (``None``: unknown) and the reasons why they differ from the total."""
    low = total
    high: Decimal | None = total
    found: list[str] = []
    if usage.cache_write and flat.long_write_premium:
        found.append(reasons.CACHE_LIFETIME)
        premium = _multiply(usage.cache_write, flat.long_write_premium)
        if premium > 0:
            high = _add(total, premium)
        else:
            low = _add(total, premium)
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if usage.partial:
        found.append(reasons.PARTIAL_USAGE)
        high = _with_rest(high, flat, output_tokens, max_output_tokens) if input_tokens is not None else None
    elif output_tokens is None and flat.max_output and input_tokens is not None:
        found.append(reasons.OUTPUT_UNKNOWN)
        high = _with_rest(high, flat, output_tokens, max_output_tokens)
    elif input_tokens is None and output_tokens is not None and flat.each[0]:
        found.append(reasons.INPUT_UNKNOWN)
        high = None
    if missing:
        found.append(reasons.NO_RATE)
        high = None
    if tariff.doubt:
        found.append(tariff.doubt)
        if tariff.doubt_below:
            low = ZERO
        if tariff.doubt_above:
            high = None if high is None or tariff.at_most is None else _multiply(high, tariff.at_most)
    if usage.counts.get(OTHER_MODELS):
        found.append(reasons.OTHER_MODEL)
        low, high = ZERO, None
    if usage.estimated:
        found.append(reasons.ESTIMATED_USAGE)
        low, high = ZERO, None
    return low, high, reasons.join(*found)


def _with_rest(high: Decimal | None, flat: Flat, output: int | None, limit: int | None) -> Decimal | None:
    """The upper bound with every token that the request's limit still allowed, at the dearest output rate."""
    if high is None or limit is None or flat.max_output is None:
        return None
    rest = limit - (output or 0)
    return CONTEXT.add(high, CONTEXT.multiply(rest, flat.max_output)) if rest > 0 else high
