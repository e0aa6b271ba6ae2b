"""The book itself: citable snapshots, records, many calls at once, and nothing slow on an application's thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise

import pytest

from spanledger.semconv.cost import CostStatus
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook, RateSnapshot
from spanledger.semconv.prices.base import BaseBook
from spanledger.semconv.prices.rates import Flat, Rate, Tariff
from spanledger.semconv.usage import Usage

NOVEMBER = int(datetime(2026, 11, 15, tzinfo=UTC).timestamp()) * 10**9
TEXT = Usage(input_uncached=1_000, cache_read=200, output_text=100)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


# --- snapshots and records


def test_a_price_id_gives_the_rates_back_and_the_cost_can_be_recomputed(book: PriceBook) -> None:
    cost = book.price(TEXT, provider="openai", model="gpt-5-mini", at_ns=NOVEMBER, service_tier="flex")
    snapshot = book.snapshot(cost.price_id)
    assert snapshot is not None
    assert snapshot.conditions == {"service_tier": "flex"}
    assert snapshot.valid_from == date(2026, 10, 12)
    recomputed = sum(snapshot.rate_of(name).each * getattr(TEXT, name) for name in cost.by_class)  # type: ignore[union-attr]
    assert recomputed == cost.total


def test_another_process_finds_the_same_snapshot(book: PriceBook) -> None:
    cost = book.price(TEXT, provider="google", model="gemini-2.5-pro", at_ns=NOVEMBER)
    fresh = PriceBook()
    assert fresh.snapshot(cost.price_id) == book.snapshot(cost.price_id)


def test_ids_do_not_depend_on_the_process() -> None:
    program = (
        "from spanledger.semconv.prices import PriceBook; from spanledger.semconv.usage import Usage;"
        "print(PriceBook().price(Usage(input_uncached=1, output_text=1), provider='openai', model='gpt-4o',"
        f" at_ns={NOVEMBER}).price_id)"
    )
    run = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert run[0] == run[1]
    assert len(run[0].strip()) == 16


def test_every_long_context_bracket_is_a_snapshot_of_its_own(book: PriceBook) -> None:
    short = book.price(Usage(input_uncached=1, output_text=1), provider="openai", model="gpt-6-sol", at_ns=NOVEMBER)
    long = book.price(
        Usage(input_uncached=272_001, output_text=1), provider="openai", model="gpt-6-sol", at_ns=NOVEMBER
    )
    assert short.price_id != long.price_id
    snapshot = book.snapshot(long.price_id)
    assert snapshot is not None
    assert snapshot.conditions == {"prompt_over": "272000"}


def test_an_unknown_id_gives_nothing(book: PriceBook) -> None:
    assert book.snapshot("0" * 16) is None


def test_records_are_rows_of_a_price_table(book: PriceBook) -> None:
    records = list(book.records())
    assert len(records) > 8_000
    keys = [(record.price_id, record.token_class) for record in records]
    assert len(keys) == len(set(keys))
    row = next(r for r in records if (r.provider, r.model, r.token_class) == ("openai", "o3", "input_uncached"))
    assert (row.rate, row.per, row.unit, row.valid_from, row.valid_to) == (
        Decimal(10),
        1_000_000,
        "tokens",
        None,
        date(2025, 6, 10),
    )
    assert (row.source, row.source_version) == ("genai-prices", BaseBook().source_version)
    assert {r.unit for r in records} >= {"tokens", "searches", "seconds", "pages", "characters", "requests"}


def test_records_hold_every_snapshot_that_prices_a_call(book: PriceBook) -> None:
    known = {record.price_id for record in book.records()}
    for provider, model in (
        ("azure_openai", "gpt-4o"),
        ("google_vertex", "claude-opus-4-5"),
        ("deepseek", "deepseek-chat"),
    ):
        assert book.price(TEXT, provider=provider, model=model, at_ns=NOVEMBER).price_id in known


def test_validity_intervals_do_not_overlap_and_leave_no_gap(book: PriceBook) -> None:
    spans: dict[tuple[object, ...], set[tuple[date, date]]] = {}
    for record in book.records():
        key = (record.provider, record.model, tuple(sorted(record.conditions.items())))
        spans.setdefault(key, set()).add((record.valid_from or date.min, record.valid_to or date.max))
    for key, intervals in spans.items():
        ordered = sorted(intervals)
        for (_, end), (start, _) in pairwise(ordered):
            assert end <= start, key


# --- many at once


def observation(**fields: object) -> Observation:
    return Observation(
        **{"provider": "openai", "response_model": "gpt-4o", "started_ns": NOVEMBER, "usage": TEXT, **fields}
    )  # type: ignore[arg-type]


MANY = [
    observation(),
    observation(response_model="", request_model="gpt-4o"),
    observation(response_model="gpt-4o-private", request_model="gpt-4o"),
    observation(response_model="gpt-99"),
    observation(usage=Usage()),
    observation(
        provider="anthropic",
        response_model="claude-sonnet-4-5",
        usage=Usage(input_uncached=5, cache_write=9, output_text=1),
    ),
    observation(service_tier="priority"),
    observation(is_batch=True),
    observation(provider="deepseek", response_model="deepseek-chat", started_ns=NOVEMBER + 3_600 * 10**9),
    observation(usage=Usage(input_uncached=5, output_text=1, partial=True), max_output_tokens=50),
    observation(provider="openai", response_model="whisper-1", usage=Usage(counts={"audio_seconds": 7})),
    observation(provider="self_hosted", response_model="llama"),
]


def test_many_calls_cost_what_each_costs_alone(book: PriceBook) -> None:
    alone = [
        book.price(
            o.usage,
            provider=o.provider,
            model=o.response_model or o.request_model,
            request_model=o.request_model,
            at_ns=o.started_ns,
            service_tier=o.service_tier,
            is_batch=o.is_batch,
            max_output_tokens=o.max_output_tokens,
        )
        for o in MANY
    ]
    assert book.price_many(MANY * 3) == alone * 3
    assert {cost.status for cost in alone} == {CostStatus.LIST, CostStatus.BOUNDED, CostStatus.UNPRICED}


def test_a_broken_clock_does_not_choose_the_prices_of_1970(book: PriceBook) -> None:
    usage = Usage(input_uncached=1_000, output_text=1)
    wrong = observation(response_model="o3", usage=usage, started_ns=0, ended_ns=0, received_ns=NOVEMBER)
    right = observation(response_model="o3", usage=usage, started_ns=NOVEMBER)
    assert book.price_many([wrong]) == book.price_many([right])


def test_nothing_at_once_is_nothing(book: PriceBook) -> None:
    assert book.price_many([]) == []


def test_the_caches_are_bounded_against_made_up_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanledger.semconv.prices.book._CACHE_LIMIT", 100)
    book = PriceBook()
    for number in range(1_000):
        book.price(TEXT, provider="openai", model=f"made-up-{number}", at_ns=NOVEMBER)
    assert len(book._resolved.pricers) <= 100
    assert len(book._resolved.models) <= 100
    assert book.price(TEXT, provider="openai", model="gpt-4o", at_ns=NOVEMBER).status is CostStatus.LIST


# --- on an application's thread


def in_python(program: str) -> dict[str, object]:
    """Run a program in a process of its own; it prints one JSON object."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_importing_and_making_a_book_loads_no_price_data() -> None:
    seen = in_python(
        """
        import json, sys, threading
        from spanledger.semconv.prices import PriceBook
        PriceBook()
        print(json.dumps({"loaded": "genai_prices" in sys.modules, "threads": threading.active_count()}))
        """
    )
    assert seen == {"loaded": False, "threads": 1}


def test_try_price_leaves_the_slow_work_to_a_daemon_thread() -> None:
    seen = in_python(
        f"""
        import json, sys, threading, time
        from spanledger.semconv.prices import PriceBook
        from spanledger.semconv.usage import Usage
        importers = set()
        class Watch:
            def find_spec(self, name, path=None, target=None):
                if name.startswith("genai_prices"):
                    importers.add(threading.current_thread().name)
        sys.meta_path.insert(0, Watch())
        book, usage = PriceBook(), Usage(input_uncached=1, output_text=1)
        ask = dict(provider="openai", model="gpt-4o", at_ns={NOVEMBER})
        book.prefetch(provider="openai", model="gpt-4o")
        began = time.perf_counter()
        first = book.try_price(usage, **ask)
        took = time.perf_counter() - began
        deadline = time.monotonic() + 30
        while (cost := book.try_price(usage, **ask)) is None and time.monotonic() < deadline:
            time.sleep(0.005)
        daemons = [t.daemon for t in threading.enumerate() if t.name == "spanledger-prices"]
        print(json.dumps({{"first": first is None, "fast": took < 0.1, "total": str(cost.total),
                          "importers": sorted(importers), "daemons": daemons}}))
        """
    )
    assert seen == {
        "first": True,
        "fast": True,
        "total": "0.0000125",
        "importers": ["spanledger-prices"],
        "daemons": [True],
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_resolves_with_a_thread_of_its_own() -> None:
    seen = in_python(
        f"""
        import json, os, time, warnings
        from spanledger.semconv.prices import PriceBook
        from spanledger.semconv.usage import Usage
        warnings.simplefilter("ignore", DeprecationWarning)
        book, usage = PriceBook(), Usage(input_uncached=1, output_text=1)
        def wait(model):
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                cost = book.try_price(usage, provider="openai", model=model, at_ns={NOVEMBER})
                if cost is not None:
                    return format(cost.total, 'f')
                time.sleep(0.005)
        book.prefetch(provider="openai", model="gpt-4o")   # the import is under way when the fork comes
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, json.dumps([wait("gpt-4o"), wait("gpt-5-mini")]).encode())
            os._exit(0)
        child = json.loads(os.read(reader, 1000))
        os.wait()
        print(json.dumps({{"child": child, "parent": wait("gpt-4o-mini")}}))
        """
    )
    assert seen == {"child": ["0.0000125", "0.00000225"], "parent": "0.00000075"}


def test_an_unknown_model_is_known_as_such_after_one_look() -> None:
    book = PriceBook()
    ask = {"provider": "openai", "model": "gpt-99", "at_ns": NOVEMBER}
    assert book.try_price(TEXT, **ask) is None  # type: ignore[arg-type]
    assert eventually(lambda: book.try_price(TEXT, **ask) is not None)  # type: ignore[arg-type]
    cost = book.try_price(TEXT, **ask)  # type: ignore[arg-type]
    assert cost is not None
    assert cost.reason == "unknown_model"


def test_other_tiers_of_a_resolved_model_need_no_thread() -> None:
    book = PriceBook()
    book.price(TEXT, provider="openai", model="gpt-4o", at_ns=NOVEMBER)
    cost = book.try_price(TEXT, provider="openai", model="gpt-4o", at_ns=NOVEMBER, service_tier="priority")
    assert cost is not None
    assert cost.status is CostStatus.LIST


def test_many_threads_agree(book: PriceBook) -> None:
    fresh = PriceBook()
    totals: list[Decimal | None] = []

    def work() -> None:
        totals.extend(fresh.price(TEXT, provider="openai", model=m, at_ns=NOVEMBER).total for m in ("gpt-4o", "gpt-5"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(totals)) == sorted(  # type: ignore[type-var]
        book.price(TEXT, provider="openai", model=m, at_ns=NOVEMBER).total for m in ("gpt-4o", "gpt-5")
    )


def test_a_failing_source_is_counted_and_never_raises_into_the_caller() -> None:
    class Broken(BaseBook):
        def knows(self, provider: str) -> bool:
            raise RuntimeError(provider)

    book = PriceBook(base=Broken())
    assert book.try_price(TEXT, provider="openai", model="gpt-4o", at_ns=NOVEMBER) is None
    assert eventually(lambda: book.background_errors == 1)
    assert book.try_price(TEXT, provider="openai", model="gpt-4o", at_ns=NOVEMBER) is None


# --- for people


def test_a_cost_is_explained_line_by_line(book: PriceBook) -> None:
    usage = Usage(input_uncached=1_218, cache_read=2_048, cache_write=768, output_text=207, counts={"web_searches": 2})
    cost = book.price(usage, provider="anthropic", model="claude-sonnet-4-5", at_ns=NOVEMBER)
    assert book.explain(cost) == [
        "input_uncached: 1,218 x $3 / 1,000,000 tokens = $0.003654",
        "cache_read: 2,048 x $0.3 / 1,000,000 tokens = $0.0006144",
        "cache_write: 768 x $3.75 / 1,000,000 tokens = $0.00288",
        "output_text: 207 x $15 / 1,000,000 tokens = $0.003105",
        "web_searches: 2 x $10 / 1,000 searches = $0.02",
        "total = $0.0302534 (bounded)",
        "between $0.0302534 and $0.0319814",
        "because the lifetime of the written cache was not reported: the shorter one is assumed",
        f"rates: anthropic/claude-sonnet-4-5, genai-prices {BaseBook().source_version}, snapshot {cost.price_id}",
    ]


def test_an_unpriced_cost_says_why(book: PriceBook) -> None:
    cost = book.price(TEXT, provider="openai", model="gpt-99", at_ns=NOVEMBER)
    assert book.explain(cost) == ["unpriced: the price book does not know this model of this provider"]


def test_free_and_per_request_prices_are_explained(book: PriceBook) -> None:
    free = book.price(TEXT, provider="google", model="gemma-3-27b-it", at_ns=NOVEMBER)
    assert book.explain(free)[0] == "input_uncached: any quantity x $0 = $0"
    sonar = book.price(TEXT, provider="perplexity", model="sonar", at_ns=NOVEMBER)
    assert "requests: 1 x $12 / 1,000 requests = $0.012" in book.explain(sonar)


@pytest.mark.parametrize(
    ("provider", "model", "suggestion"),
    [
        ("openai", "gpt4o-mini", "openai/gpt-4o-mini"),
        ("anthropic", "claude-sonet-4-5", "anthropic/claude-sonnet-4-5"),
        ("azure_openai", "gpt-4o-mni", "azure_openai/gpt-4o-mini"),
        ("groq", "claude-opus-4-5", "anthropic/claude-opus-4-5"),
    ],
)
def test_the_nearest_known_models_are_suggested(book: PriceBook, provider: str, model: str, suggestion: str) -> None:
    assert suggestion in book.suggest(provider=provider, model=model)


def test_nothing_is_suggested_for_nonsense(book: PriceBook) -> None:
    assert book.suggest(provider="openai", model="zzzzqqqq") == []
    assert book.suggest(provider="openai", model="") == []


# --- building blocks


def test_rates_that_never_end_are_rounded_once() -> None:
    assert Rate(Decimal("0.111"), 3_600).times(10) == Decimal("0.000308333333333333")
    assert Rate(Decimal("0.36"), 3_600).times(7) == Decimal("0.0007")


def test_a_class_without_a_rate_falls_under_another() -> None:
    snapshot = RateSnapshot(
        provider="p", model="m", rates={"input_uncached": Rate(Decimal(1))}, source="s", source_version="1"
    )
    assert snapshot.rate_of("cache_write_1h") == Rate(Decimal(1))
    assert snapshot.rate_of("cache_read_audio") == Rate(Decimal(1))
    assert snapshot.rate_of("output_text") is None
    assert Tariff(Flat(snapshot)).base.max_output is None
