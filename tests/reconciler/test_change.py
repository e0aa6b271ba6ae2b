"""The reasons for a change of spend sum to the change."""

from __future__ import annotations

from datetime import date
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.reconciler.change import PARTS, Place, Spend, explain_change
from spanledger.reconciler.reporting.change import classed
from spanledger.reconciler.reporting.spend import before
from spanledger.reconciler.tieout.run import Period

places = st.builds(
    Place,
    provider=st.just("openai"),
    model=st.sampled_from(["a", "b"]),
    tier=st.sampled_from(["", "flex"]),
    token_class=st.sampled_from(["input_uncached", "cache_read", "output_text"]),
)
spends = st.builds(
    Spend,
    quantity=st.integers(0, 10**6).map(D),
    cost=st.decimals(0, 100, places=12, allow_nan=False),
)
periods = st.dictionaries(places, spends, max_size=8)


@given(periods, periods, st.integers(0, 9).map(D), st.integers(0, 9).map(D))
def test_the_parts_sum_to_the_change(before: dict[Place, Spend], after: dict[Place, Spend], old: D, new: D):
    parts = explain_change(before, after, unseen_before=old, unseen_after=new)
    change = sum((s.cost for s in after.values()), new) - sum((s.cost for s in before.values()), old)
    assert tuple(parts) == PARTS
    assert sum(parts.values()) == change


def spend(quantity: int, rate: str) -> Spend:
    return Spend(quantity=D(quantity), cost=D(quantity) * D(rate))


def place(model: str = "a", tier: str = "", token_class: str = "input_uncached") -> Place:
    return Place(provider="openai", model=model, tier=tier, token_class=token_class)


def only(before: dict[Place, Spend], after: dict[Place, Spend]) -> dict[str, D]:
    return {name: amount for name, amount in explain_change(before, after).items() if amount}


def test_twice_the_tokens_is_volume():
    assert only({place(): spend(100, "2")}, {place(): spend(200, "2")}) == {"volume": D(200)}


def test_a_price_cut_is_rate():
    assert only({place(): spend(100, "2")}, {place(): spend(100, "1.5")}) == {"rate": D(-50)}


def test_another_model_is_mix_even_when_it_is_new():
    assert only({place("a"): spend(100, "2")}, {place("b"): spend(100, "3")}) == {"mix": D(100)}


def test_more_cache_hits_are_cache():
    before = {place(): spend(80, "2"), place(token_class="cache_read"): spend(20, "0.5")}
    after = {place(): spend(40, "2"), place(token_class="cache_read"): spend(60, "0.5")}
    assert only(before, after) == {"cache": D(-60)}


def test_moving_to_flex_is_tier():
    before = {place(): spend(50, "2"), place(tier="flex"): spend(50, "1")}
    after = {place(tier="flex"): spend(100, "1")}
    assert only(before, after) == {"tier": D(-50)}


@pytest.mark.parametrize(
    ("period", "today", "compared", "earlier"),
    [
        ("2026-11", "2026-12-05", "2026-11", "2026-10"),
        ("2026-01", "2026-12-05", "2026-01", "2025-12"),
        ("2026-11", "2026-11-11", "2026-11-01..2026-11-10", "2026-10-01..2026-10-10"),
        ("2026-03", "2026-03-31", "2026-03-01..2026-03-30", "2026-02-01..2026-02-28"),
        ("2026-11", "2026-11-01", "2026-11-01", "2026-10-01"),
        ("2026-11-03", "2026-11-20", "2026-11-03", "2026-11-02"),
        ("2026-11-20", "2026-11-20", "2026-11-20", "2026-11-19"),
        ("2026-11-08..2026-11-14", "2026-11-20", "2026-11-08..2026-11-14", "2026-11-01..2026-11-07"),
        ("2026-11-08..2026-11-14", "2026-11-10", "2026-11-08..2026-11-09", "2026-11-06..2026-11-07"),
    ],
)
def test_like_is_compared_with_like(period: str, today: str, compared: str, earlier: str):
    names = tuple(found.name for found in before(Period.parse(period), today=date.fromisoformat(today)))
    assert names == (compared, earlier)


@given(
    st.dictionaries(st.sampled_from(["", "input_uncached", "output_text"]), spends),
)
def test_money_that_no_class_carries_is_not_lost(classes: dict[str, Spend]):
    assert sum(item.cost for item in classed(classes).values()) == sum(item.cost for item in classes.values())
