"""Laws of pricing, over random usage and rates."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.semconv.cost import CostStatus
from spanledger.semconv.money import CONTEXT
from spanledger.semconv.prices.arithmetic import cost_of
from spanledger.semconv.prices.quick import pricer
from spanledger.semconv.prices.rates import Flat, Rate, RateSnapshot, Tariff
from spanledger.semconv.usage import TOKEN_CLASSES, Usage

tokens = st.none() | st.integers(min_value=0, max_value=10**9)
count_names = st.sampled_from(
    [
        "web_searches",
        "file_searches",
        "storage_searches",
        "audio_seconds",
        "cache_read_audio",
        "images",
        "web_fetch_requests",
        "requests",
        "never_heard_of",
    ]
)
counts = st.dictionaries(count_names, st.integers(min_value=0, max_value=10**5), max_size=3)
usages = st.builds(
    Usage, **dict.fromkeys(TOKEN_CLASSES, tokens), counts=counts, partial=st.booleans(), estimated=st.booleans()
)
complete = st.builds(Usage, **dict.fromkeys(TOKEN_CLASSES, st.integers(min_value=0, max_value=10**9)))
amounts = st.decimals(min_value=0, max_value=1_000, places=6)


@st.composite
def snapshots(draw: Any, base: dict[str, Rate] | None = None) -> RateSnapshot:
    names = draw(st.sets(st.sampled_from(TOKEN_CLASSES), min_size=0)) | {"input_uncached", "output_text"}
    rates = {name: Rate(draw(amounts)) for name in sorted(names)}
    if draw(st.booleans()):
        rates["web_searches"] = Rate(draw(amounts), 1_000)
        rates["storage_searches"] = Rate(draw(amounts), 1_000)
        rates["images"] = Rate(draw(amounts), draw(st.sampled_from([1, 3])))
    return RateSnapshot(provider="p", model="m", rates=rates, source="test", source_version="1")


@st.composite
def tariffs(draw: Any) -> Tariff:
    base = Flat(draw(snapshots()))
    thresholds = sorted(draw(st.sets(st.integers(min_value=0, max_value=10**9), max_size=2)))
    over = tuple((threshold, Flat(draw(snapshots()))) for threshold in thresholds)
    doubt = draw(st.sampled_from(["", "", "service_tier"]))
    below, above = (draw(st.booleans()), draw(st.booleans())) if doubt else (False, False)
    return Tariff(base, over, doubt=doubt, doubt_below=below, doubt_above=above)


limits = st.none() | st.integers(min_value=0, max_value=10**6)


@given(tariffs(), usages, limits)
@settings(max_examples=400)
def test_the_fast_way_gives_what_the_readable_way_gives(tariff: Tariff, usage: Usage, limit: int | None) -> None:
    fast, readable = pricer(tariff)(usage, 0, limit), cost_of(tariff, usage, limit)
    assert fast == readable
    assert list(fast.by_class) == list(readable.by_class)


@given(tariffs(), usages, limits)
def test_a_cost_is_never_negative_and_lies_between_its_bounds(tariff: Tariff, usage: Usage, limit: int | None) -> None:
    cost = cost_of(tariff, usage, limit)
    if cost.status is CostStatus.UNPRICED:
        assert (cost.total, cost.low, cost.high) == (None, None, None)
        assert cost.reason
        return
    assert cost.total is not None
    assert cost.low is not None
    assert cost.low >= 0
    assert cost.high is None or cost.low <= cost.high
    assert cost.low <= cost.total or cost.reason.startswith("cache_lifetime")
    assert (cost.status is CostStatus.LIST) == (not cost.reason)


@given(tariffs(), usages)
def test_the_classes_add_up_to_the_total_exactly(tariff: Tariff, usage: Usage) -> None:
    cost = cost_of(tariff, usage)
    if cost.total is not None:
        total = Decimal(0)
        for amount in cost.by_class.values():
            total = CONTEXT.add(total, amount)
        assert total == cost.total


@given(snapshots(), complete, complete)
def test_two_calls_cost_what_their_summed_usage_costs(snapshot: RateSnapshot, one: Usage, other: Usage) -> None:
    tariff = Tariff(Flat(snapshot))
    together = Usage(**{name: getattr(one, name) + getattr(other, name) for name in TOKEN_CLASSES})
    total = cost_of(tariff, together).total
    parts = [cost_of(tariff, usage).total for usage in (one, other)]
    assert None not in parts
    assert CONTEXT.add(parts[0], parts[1]) == total  # type: ignore[arg-type]


@given(snapshots(), complete, st.sampled_from(TOKEN_CLASSES), st.integers(min_value=1, max_value=10**6))
def test_more_tokens_never_cost_less(snapshot: RateSnapshot, usage: Usage, name: str, more: int) -> None:
    tariff = Tariff(Flat(snapshot))
    grown = Usage(**{n: getattr(usage, n) + (more if n == name else 0) for n in TOKEN_CLASSES})
    before, after = cost_of(tariff, usage).total, cost_of(tariff, grown).total
    assert before is not None
    assert after is not None
    assert after >= before


@given(snapshots(), complete)
def test_a_cost_is_exact(snapshot: RateSnapshot, usage: Usage) -> None:
    """Integers of 1e-18 dollars give the same figure: nothing was rounded on the way."""
    cost = cost_of(Tariff(Flat(snapshot)), usage)
    total = 0
    for name in TOKEN_CLASSES:
        rate = snapshot.rate_of("cache_write_5m" if name == "cache_write" else name)
        assert rate is not None
        total += int(rate.amount * 10**6) * getattr(usage, name) * 10**6
    assert cost.total == Decimal(total).scaleb(-18, CONTEXT)


contexts = st.builds(
    decimal.Context,
    prec=st.integers(min_value=1, max_value=40),
    rounding=st.sampled_from([decimal.ROUND_UP, decimal.ROUND_DOWN]),
    Emin=st.sampled_from([-999_999, -20, 0]),
    Emax=st.sampled_from([0, 5, 999_999]),
    clamp=st.sampled_from([0, 1]),
    traps=st.lists(st.sampled_from([decimal.Inexact, decimal.Rounded, decimal.Overflow, decimal.Subnormal])),
)
endless = st.builds(
    Usage,
    input_uncached=st.integers(min_value=0, max_value=10**40),
    cache_read=st.integers(min_value=0, max_value=10**30),
    cache_write=st.integers(min_value=0, max_value=10**20),
    output_text=st.integers(min_value=0, max_value=10**40),
    reasoning=st.integers(min_value=0, max_value=10**9),
    counts=counts,
)


@given(tariffs(), complete | usages | endless, contexts)
@settings(max_examples=300)
def test_the_applications_decimal_context_does_not_matter(
    tariff: Tariff, usage: Usage, context: decimal.Context
) -> None:
    expected = cost_of(tariff, usage)
    price = pricer(tariff)
    with decimal.localcontext(context) as theirs:
        before = repr(theirs)
        cost = price(usage, 0, None)
        after = repr(theirs)
        readable = cost_of(tariff, usage)
    assert cost == expected
    assert readable == expected
    is_usual = context.prec >= 28 and (context.Emin, context.Emax) == (-999_999, 999_999)
    if is_usual and (expected.high is None or expected.high < 10**12):
        assert after == before, "not even a flag of the application's context is touched"


@given(tariffs(), complete)
def test_the_whole_prompt_chooses_the_rates_of_every_class(tariff: Tariff, usage: Usage) -> None:
    prompt = usage.input_tokens
    assert prompt is not None
    reached = [flat for threshold, flat in tariff.over if prompt > threshold]
    flat = reached[-1] if reached else tariff.base
    assert cost_of(tariff, usage).price_id == flat.price_id


@given(snapshots(), st.integers(min_value=1, max_value=10**6), complete)
def test_a_wider_request_limit_never_lowers_the_bound(snapshot: RateSnapshot, limit: int, usage: Usage) -> None:
    tariff = Tariff(Flat(snapshot))
    broken = Usage(**{name: getattr(usage, name) for name in TOKEN_CLASSES}, partial=True)
    narrow, wide = (cost_of(tariff, broken, allowed).high for allowed in (limit, limit * 2))
    assert narrow is not None
    assert wide is not None
    assert narrow <= wide


@given(snapshots(), snapshots())
def test_different_rates_have_different_ids(one: RateSnapshot, other: RateSnapshot) -> None:
    assert (one.price_id == other.price_id) is (dict(one.rates) == dict(other.rates))
