"""How much work one observation is, from the dialect's hands to queryable rows: CPU microseconds, by stage.

    python bench/ledger.py [--batches 10] [--size 20000] [--mixed] [--profile]

Every observation is a call of its own (the usual case): a dozen services of one team each, a few features and two
models per service: a minute has some fifty label sets. ``--mixed`` draws team, feature, service and model apart:
20,000 label sets, the worst case for rollups.

Only the ledger's part is timed: decoding and reading dialects happen before, the price book is the real one. A timing
on a shared machine is an observation, not a verdict: nothing fails here.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spanledger.ledger.client import StoreTarget
from spanledger.ledger.database import Database
from spanledger.ledger.store import Ledger
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

START_NS = 1_795_200_000 * 10**9
SERVICES = 12
MODELS = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4.1-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("aws_bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
]


def observations(size: int, batch: int, rng: random.Random, *, mixed: bool = False) -> list[Observation]:
    """One batch: `size` calls within the seconds that belong to it."""
    made: list[Observation] = []
    for number in range(size):
        service, feature = rng.randrange(SERVICES), rng.randrange(4)
        provider, model = MODELS[(service + number % 2) % len(MODELS)]
        team = service
        if mixed:
            team, feature, (provider, model) = rng.randrange(20), rng.randrange(20), rng.choice(MODELS)
        started = START_NS + (batch * size + number) * 2_000_000
        made.append(
            Observation(
                org_id="default",
                trace_id=rng.randbytes(16),
                span_id=rng.randbytes(8),
                parent_span_id=rng.randbytes(8),
                scope_name="opentelemetry.instrumentation.genai.openai",
                scope_version="1.3b0",
                dialect="conventions",
                received_ns=started + 12 * 10**9,
                started_ns=started,
                ended_ns=started + rng.randrange(10**8, 10**10),
                provider=provider,
                operation="chat",
                request_model=model,
                response_model=model,
                response_id=f"chatcmpl-{rng.getrandbits(128):032x}",
                usage=Usage(
                    input_uncached=rng.randrange(100, 5000),
                    cache_read=rng.randrange(100),
                    output_text=rng.randrange(1000),
                ),
                stop_reason="stop",
                session_id=f"s{rng.randrange(1000)}",
                team_id=f"team{team}",
                feature=f"feature{feature}",
                service_name=f"service{service}",
                environment="prod",
                server_address="api.example.com",
            )
        )
    return made


class Stages:
    """CPU seconds of this process (all threads), by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.process_time()
        try:
            yield
        finally:
            self.spent[name] += time.process_time() - begun

    def watch(self, owner: Any, method: str, name: str = "", *, by_argument: int | None = None) -> None:
        """Count a method's time under `name`, or under one of its arguments."""
        real = getattr(owner, method)

        def timed(*arguments: Any, **options: Any) -> Any:
            label = name if by_argument is None else f"{name}{arguments[by_argument]}"
            with self.stage(label):
                return real(*arguments, **options)

        setattr(owner, method, timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--profile", action="store_true", help="print where Python spends its time instead")
    options = parser.parse_args()
    rng, stages = random.Random(1), Stages()
    prices = PriceBook()
    prices.price_many(observations(100, 0, rng))  # loads the price book once
    if not options.profile:
        stages.watch(Database, "insert", "insert ", by_argument=1)
        stages.watch(Database, "run", "sql ", by_argument=1)
        stages.watch(Database, "rows", "sql ", by_argument=1)
        stages.watch(prices, "price_many", "price book")
    profile = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as place:
        ledger = Ledger.open(StoreTarget.embedded(place), prices)
        stages.spent.clear()
        for batch in range(options.batches):
            made = observations(options.size, batch, rng, mixed=options.mixed)
            if options.profile:
                profile.enable()
            with stages.stage("all"):
                ledger.ingest(made)
            profile.disable()
        with stages.stage("all"):
            ledger.counters()
        calls, cost = ledger.query("SELECT count(), sum(cost_usd) FROM spanledger.calls").result_rows[0]
        assert calls == options.batches * options.size, "every observation is one call"
        assert cost == ledger.query("SELECT sum(cost_usd) FROM spanledger.usage_by_day").result_rows[0][0]
        ledger.close()
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    total = stages.spent.pop("all")
    rest = total - sum(stages.spent.values())
    rows = options.batches * options.size
    for name, spent in [
        *sorted(stages.spent.items(), key=lambda item: -item[1]),
        ("python, the rest", rest),
        ("all", total),
    ]:
        print(f"{name:40} {spent / rows * 1e6:8.2f} us/observation")
    without_pricing = total - stages.spent["price book"]
    print(f"{rows / total:,.0f} observations per CPU-second, {rows / without_pricing:,.0f} without pricing")


if __name__ == "__main__":
    main()
