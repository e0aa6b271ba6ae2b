"""The same arithmetic as genai-prices itself, to the last decimal; every difference is named here.

Named differences:

- ``claude_write``: one-hour cache writes at twice the input rate where the data has only the five-minute rate.
- ``half_batch``: Anthropic's batch discount before the day from which the data has it.
- ``unpriced``: models that the data lists without any price: it says 0, the ledger says that it does not know.
- ``invalid``: prices that genai-prices itself refuses to calculate.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import genai_prices.types as theirs
import pytest
from genai_prices.data import providers as DATA  # noqa: N812

from spanledger.semconv.cost import CostStatus
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.names import BASE_PROVIDERS
from spanledger.semconv.usage import Usage

WORDS = {base: word for word, base in BASE_PROVIDERS.items() if word != "google_vertex"}
COUNTS = {
    "web_searches": "web_searches",
    "storage_searches": "storage_searches",
    "input_characters": "input_characters",
    "audio_seconds": "audio_seconds",
    "input_document_pages": "input_document_pages",
    "input_text_messages": "input_text_messages",
}
TIERS = [{}, {}, {}, {"service_tier": "flex"}, {"service_tier": "priority"}, {"processing": "batch"}]
FAST = {"anthropic": {"speed": "fast"}}


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def random_usage(rng: random.Random, priced: set[str]) -> tuple[Usage, dict[str, int]]:
    """The same call in both vocabularies: disjoint classes here, totals that include their parts there."""

    def tokens() -> int:
        return rng.choice((0, 1, rng.randrange(2_000), rng.randrange(300_000), rng.randrange(2_000_000)))

    ours: dict[str, int] = {"input_uncached": tokens(), "output_text": tokens()}
    for name in ("cache_read", "reasoning"):
        if rng.random() < 0.6:
            ours[name] = tokens()
    if rng.random() < 0.5:
        ours |= {"cache_write_5m": tokens(), "cache_write_1h": tokens()}
    for name, key in (("input_audio", "input_audio_mtok"), ("input_image", "input_image_mtok")):
        if key in priced and rng.random() < 0.5:
            ours[name] = tokens()
    for name, key in (("output_audio", "output_audio_mtok"), ("output_image", "output_image_mtok")):
        if key in priced and rng.random() < 0.5:
            ours[name] = tokens()
    counts = {
        name: rng.randrange(1, 500)
        for name in COUNTS
        if rng.random() < 0.3 and any(key.startswith(name[:5]) for key in priced)
    }
    if "audio_hours" not in priced:
        counts.pop("audio_seconds", None)
    usage = Usage(**ours, counts=counts)
    both: dict[str, int] = {
        "input_tokens": usage.input_tokens or 0,
        "output_tokens": usage.output_tokens or 0,
        "cache_read_tokens": ours.get("cache_read", 0),
        "cache_write_tokens": usage.cache_write_tokens or 0,
        "cache_write_5m_tokens": ours.get("cache_write_5m", 0),
        "cache_write_1h_tokens": ours.get("cache_write_1h", 0),
        "input_audio_tokens": ours.get("input_audio", 0),
        "input_image_tokens": ours.get("input_image", 0),
        "output_audio_tokens": ours.get("output_audio", 0),
        "output_image_tokens": ours.get("output_image", 0),
        "output_reasoning_tokens": ours.get("reasoning", 0),
        **counts,
    }
    if "audio_seconds" in counts and "input_audio_hours" in priced:
        both["input_audio_seconds"] = counts["audio_seconds"]
    return usage, both


def all_models() -> list[tuple[theirs.Provider, theirs.ModelInfo]]:
    return [(provider, model) for provider in DATA for model in provider.models]


def prices_of(model: theirs.ModelInfo) -> list[Any]:
    return [c.prices for c in model.prices] if isinstance(model.prices, list) else [model.prices]


def test_every_model_costs_what_genai_prices_says(book: PriceBook) -> None:
    rng = random.Random(20261115)  # a fixed seed: a failure must be repeatable
    newest = datetime(2027, 3, 1, tzinfo=UTC)
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    for provider, model in all_models():
        word = WORDS.get(provider.id, provider.id.replace("-", "_"))
        found = provider.find_model(model.id, all_providers=DATA)
        if found is not model:
            outcomes["shadowed: its own id finds another model first"] += 1
            continue
        priced = {key for price in prices_of(model) for key in price.__dict__}
        for _ in range(5):
            at = newest - timedelta(seconds=rng.randrange(3 * 365 * 86_400))
            context = rng.choice([*TIERS, FAST.get(provider.id, {"service_tier": "fast"})])
            usage, both = random_usage(rng, priced)
            try:
                with localcontext(prec=60):
                    expected = model.calc_price(
                        theirs.Usage(**both), provider, genai_request_timestamp=at, price_context=context or None
                    ).total_price
            except ValueError:
                outcomes["invalid"] += 1
                continue
            cost = book.price(
                usage,
                provider=word,
                model=model.id,
                at_ns=int(at.timestamp()) * 10**9,
                service_tier=context.get("service_tier", context.get("speed", "")),
                is_batch="processing" in context,
            )
            outcome = compare(cost.total, expected, cost, book, usage)
            outcomes[outcome] += 1
            if outcome == "different":
                wrong.append(f"{word}/{model.id} {at} {context} {usage}: {cost} != {expected}")
    assert not wrong, "\n".join(wrong[:5])
    assert outcomes["equal"] >= 10_000, outcomes
    # what is left over is small and has a name
    assert set(outcomes) <= {
        "equal",
        "claude_write",
        "half_batch",
        "unpriced",
        "invalid",
        "shadowed: its own id finds another model first",
    }
    assert outcomes["unpriced"] < 900, outcomes
    assert outcomes["invalid"] < 100, outcomes


def compare(total: Decimal | None, expected: Decimal, cost: Any, book: PriceBook, usage: Usage) -> str:
    if total is None:
        return "unpriced" if expected == 0 and cost.reason in ("no_rate", "no_usage") else "different"
    if round(total, 18) == round(expected, 18):
        return "equal"
    snapshot = book.snapshot(cost.price_id)
    assert snapshot is not None
    derived = snapshot.conditions.get("derived", "")
    if "half_batch" in derived:
        return "half_batch"
    if usage.cache_write_1h and derived == "claude_write":
        write, long = snapshot.rates["cache_write"].each, snapshot.rates["cache_write_1h"].each
        return "claude_write" if total - expected == (long - write) * usage.cache_write_1h else "different"
    return "different"


def test_statuses_of_the_tiers_agree_with_the_data(book: PriceBook) -> None:
    """Where the data has a variant for a tier the cost is certain, elsewhere it is marked."""
    at = datetime(2026, 11, 15, tzinfo=UTC)
    usage = Usage(input_uncached=10, output_text=10)
    checked = 0
    for model in next(p for p in DATA if p.id == "openai").models:
        if "input_mtok" not in prices_of(model)[0].__dict__:
            continue
        has_flex = any(
            v.when == {"service_tier": "flex"} and (v.constraint is None or v.constraint.active(at))
            for v in model.price_variants or ()
        )
        cost = book.price(
            usage, provider="openai", model=model.id, at_ns=int(at.timestamp()) * 10**9, service_tier="flex"
        )
        if cost.reason in ("", "service_tier"):
            checked += 1
            assert (cost.status is CostStatus.LIST) is has_flex, model.id
    assert checked > 50
