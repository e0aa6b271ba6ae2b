"""How fast the price book is, beside genai-prices itself. Prints CPU time; nothing depends on the numbers.

python bench/prices.py [--calls 100000]
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from genai_prices import Usage as TheirUsage
from genai_prices import calc_price

from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)
AT = int(NOW.timestamp()) * 10**9
BATCH = 4_000
"""How many calls the collector prices together."""
MODELS = (
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-6-sol"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("google", "gemini-2.5-pro"),
    ("deepseek", "deepseek-chat"),
    ("aws_bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
)


def microseconds(work: Callable[[], object], times: int, repeat: int = 5) -> float:
    """CPU microseconds of one call of ``work``: the best of several runs, without the garbage collector."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(repeat):
            began = time.process_time()
            for _ in range(times):
                work()
            best = min(best, time.process_time() - began)
    finally:
        gc.enable()
    return best / times * 1e6


def price_each(book: PriceBook, provider: str, model: str, like: Usage) -> float:
    """CPU microseconds of `PriceBook.price`, over usages that all differ."""
    usages = [replace(like, input_uncached=number, output_text=2 * number) for number in range(1, 20_001)]
    price = book.price
    price(like, provider=provider, model=model, at_ns=AT)

    def work() -> None:
        for usage in usages:
            price(usage, provider=provider, model=model, at_ns=AT)

    return microseconds(work, 1, repeat=9) / len(usages)


def observations(count: int) -> list[Observation]:
    """A mixed day: cache reads, some cache writes, some reasoning, streams that broke, a few unknown models."""
    rng = random.Random(7)
    found: list[Observation] = []
    for _ in range(count):
        provider, model = rng.choice(MODELS)
        kind = rng.random()
        usage = Usage(
            input_uncached=rng.randrange(5_000),
            cache_read=rng.randrange(20_000) if kind < 0.7 else None,
            cache_write=rng.randrange(2_000) if kind < 0.1 else None,
            output_text=rng.randrange(2_000),
            reasoning=rng.randrange(1_000) if kind > 0.6 else None,
            partial=kind > 0.98,
        )
        name = model if kind > 0.01 else "an-unknown-model"
        found.append(Observation(provider=provider, response_model=name, started_ns=AT, usage=usage))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=100_000)
    calls: int = parser.parse_args().calls

    book = PriceBook()
    began = time.process_time()
    book.price(Usage(input_uncached=1, output_text=1), provider="openai", model="gpt-4o", at_ns=AT)
    print(f"{'first price (loads the data)':44} {1e3 * (time.process_time() - began):9.1f} ms")
    began = time.process_time()
    fresh = [("openai", name) for name in ("gpt-5", "o3", "gpt-6-sol", "gpt-4.1", "gpt-5.4")]
    for provider, model in fresh:
        book.price(Usage(input_uncached=1, output_text=1), provider=provider, model=model, at_ns=AT)
    print(f"{'resolving one model':44} {1e3 * (time.process_time() - began) / len(fresh):9.3f} ms")

    usage = Usage(input_uncached=1_123, cache_read=2_048, output_text=207)
    theirs = TheirUsage(input_tokens=3_171, cache_read_tokens=2_048, output_tokens=207)
    peer = microseconds(
        lambda: calc_price(theirs, "gpt-4o-mini", provider_id="openai", genai_request_timestamp=NOW), 2_000
    )
    print(f"{'genai_prices.calc_price, the baseline':44} {peer:9.2f} µs")
    text = Usage(input_uncached=1, output_text=1)
    for what, provider, model, like in (
        ("two classes", "openai", "gpt-4o-mini", text),
        ("with cache reads", "openai", "gpt-4o-mini", usage),
        ("with cache reads and reasoning", "openai", "gpt-4o-mini", replace(usage, reasoning=128)),
        ("a price that changed over time", "google", "gemini-2.5-flash", usage),
        ("long-context tiers", "openai", "gpt-6-sol", usage),
        ("off-peak windows", "deepseek", "deepseek-chat", usage),
        ("cache write of unknown lifetime", "anthropic", "claude-sonnet-4-5", replace(usage, cache_write=768)),
        ("with searches", "openai", "gpt-4o", replace(text, counts={"web_searches": 2})),
        ("unknown model", "openai", "an-unknown-model", usage),
    ):
        each = price_each(book, provider, model, like)
        print(f"{f'price(), {what}':44} {each:9.2f} µs   the baseline takes {peer / each:5.1f} x as long")
    missing = PriceBook()
    missing.prefetch(provider="openai", model="gpt-4o")
    unresolved = microseconds(
        lambda: missing.try_price(usage, provider="openai", model="not-yet-resolved", at_ns=AT), 1, repeat=1
    )
    print(f"{'try_price(), not resolved yet':44} {unresolved:9.2f} µs")

    many = observations(calls)
    book.price_many(many)
    batches = [many[start : start + BATCH] for start in range(0, calls, BATCH)]
    each = microseconds(lambda: [len(book.price_many(batch)) for batch in batches], 1) / calls
    print(f"{f'price_many(), {calls:,} mixed calls':44} {each:9.2f} µs   {1e6 / each:9,.0f} calls per CPU-second")
    alone = microseconds(lambda: price_one_by_one(book, many), 1) / calls
    print(f"{'price(), the same calls one by one':44} {alone:9.2f} µs   {1e6 / alone:9,.0f} calls per CPU-second")


def price_one_by_one(book: PriceBook, many: list[Observation]) -> None:
    for seen in many:
        book.price(seen.usage, provider=seen.provider, model=seen.response_model, at_ns=seen.started_ns)


if __name__ == "__main__":
    main()
