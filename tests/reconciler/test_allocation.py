"""Shares add up to the invoice exactly, whatever is billed and whoever used it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.reconciler.allocation import UNATTRIBUTED, OwnedUse, allocate
from spanledger.reconciler.spread import spread
from spanledger.reconciler.tieout.items import Billed, Booked, Charge, Dims, ResidualName
from spanledger.reconciler.tieout.match import tie_out
from spanledger.reconciler.tieout.model_names import ModelNames

DAY = date(2026, 11, 3)
money = st.decimals(-1000, 1000, places=12, allow_nan=False)
weight = st.decimals(0, 1000, places=6, allow_nan=False)
dims = st.builds(
    Dims,
    day=st.integers(1, 3).map(lambda n: date(2026, 11, n)),
    model=st.sampled_from(["", "a", "b"]),
    token_class=st.sampled_from(["", "input_uncached", "output_text", "reasoning"]),
    project=st.sampled_from(["", "p", "q"]),
)
uses = st.builds(OwnedUse, owner=st.sampled_from([("x",), ("y",), ("z",)]), dims=dims, quantity=weight, cost=weight)
lines = st.builds(Billed, dims=dims, amount=money, quantity=st.none() | weight, charge=st.sampled_from(list(Charge)))


@given(money, st.dictionaries(st.text(max_size=3), weight, min_size=1).filter(lambda w: sum(w.values()) > 0))
def test_a_spread_sums_to_its_amount_and_ignores_the_order(amount: D, weights: dict[str, D]):
    shares = spread(amount, weights)
    assert sum(shares.values()) == amount
    assert spread(amount, dict(reversed(weights.items()))) == shares


def test_a_third_each_leaves_the_odd_quantum_with_one():
    assert spread(D("0.10"), {"a": D(1), "b": D(1), "c": D(1)}, quantum=D("0.01")) == {
        "a": D("0.04"),
        "b": D("0.03"),
        "c": D("0.03"),
    }


def test_weights_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="not all zero"):
        spread(D(1), {"a": D(0)})


@given(st.lists(uses, max_size=10), st.lists(lines, max_size=10))
def test_every_line_is_given_away_exactly(used: list[OwnedUse], billed: list[Billed]):
    shares = allocate(used, billed, width=1)
    assert sum((s.amount for s in shares), D(0)) == sum((b.amount for b in billed), D(0))


positive = st.integers(1, 10**6).map(D)
said = st.builds(
    Dims,
    day=st.integers(1, 3).map(lambda n: date(2026, 11, n)),
    model=st.sampled_from(["a", "a-2026-08-06", "b"]),
    token_class=st.sampled_from(["input_uncached", "cache_read", "output_text", "reasoning", "cache_write_5m"]),
    project=st.sampled_from(["", "p", "q"]),
    api_key=st.sampled_from(["", "k"]),
    service_tier=st.sampled_from(["standard", "flex"]),
)
whole_lines = st.builds(Billed, dims=said, amount=positive, quantity=positive)
whole_uses = st.builds(
    OwnedUse, owner=st.sampled_from([("x",), ("y",)]), dims=said, quantity=positive, cost=positive | st.just(D(0))
)


@given(st.lists(whole_uses, max_size=10), st.lists(whole_lines, max_size=10))
def test_nobody_pays_for_exactly_what_the_tie_out_says_was_not_seen(used: list[OwnedUse], billed: list[Billed]):
    """The two reports cannot contradict each other: `unattributed` is the missing telemetry, to the last decimal."""
    family = ModelNames().family
    here: dict[Dims, list[OwnedUse]] = {}
    for use in used:
        here.setdefault(use.dims, []).append(use)
    booked = [
        Booked(dims=dims, quantity=sum((u.quantity for u in uses), D(0)), cost=sum((u.cost for u in uses), D(0)))
        for dims, uses in here.items()
    ]
    findings = tie_out(booked, billed, is_final=lambda _: True, family=family)
    missing = sum((f.amount for f in findings if f.name is ResidualName.MISSING_TELEMETRY), D(0))
    shares = allocate(used, billed, width=1, family=family)
    assert sum((s.amount for s in shares if s.owner == (UNATTRIBUTED,)), D(0)) == missing
    assert sum((s.amount for s in shares), D(0)) == sum((b.amount for b in billed), D(0))


def test_calls_pay_under_whatever_name_the_bill_has_for_them():
    """Another name of the model, a class that telemetry does not split, another tier, a day that begins elsewhere."""
    used = [use("search", 120, "12", model="a-2026-08-06"), use("ads", 50, "5", model="b", service_tier="standard")]
    billed = [
        Billed(dims=place(), amount=D(10), quantity=D(100)),
        Billed(dims=place(token_class="cache_read"), amount=D(1), quantity=D(20)),
        Billed(dims=place(model="b", batch="true", service_tier="flex"), amount=D(3), quantity=D(50)),
    ]
    shares = allocate(used, billed, width=1, family=ModelNames().family)
    assert {share.owner: share.amount for share in shares} == {("search",): D(11), ("ads",): D(3)}


def test_two_keys_of_a_bill_are_not_both_paid_by_the_one_that_was_seen():
    used = [use("search", 100, "10", project="web")]
    billed = [
        Billed(dims=place(api_key="key_a"), amount=D(12), quantity=D(120)),
        Billed(dims=place(api_key="key_b"), amount=D(10), quantity=D(100)),
    ]
    shares = allocate(used, billed, width=1)
    assert {share.owner: share.amount for share in shares} == {("search",): D(10), (UNATTRIBUTED,): D(12)}


def test_days_around_a_period_only_help_to_recognise_calls():
    before = Dims(day=date(2026, 11, 2), model="a", token_class="input_uncached")
    used = [OwnedUse(owner=("search",), dims=before, quantity=D(100), cost=D(10))]
    billed = [Billed(dims=place(), amount=D(10), quantity=D(100)), Billed(dims=before, amount=D(5), quantity=D(50))]
    shares = allocate(used, billed, width=1, counts=lambda day: day == DAY)
    assert {share.owner: share.amount for share in shares} == {("search",): D(5), (UNATTRIBUTED,): D(5)}


def place(**more: str) -> Dims:
    return Dims(**({"day": DAY, "model": "a", "token_class": "input_uncached"} | more))  # type: ignore[arg-type]


def use(team: str, quantity: int, cost: str, **more: str) -> OwnedUse:
    return OwnedUse(owner=(team,), dims=place(**more), quantity=D(quantity), cost=D(cost))


def by_team(used: list[OwnedUse], billed: list[Billed]) -> dict[str, D]:
    totals: dict[str, D] = {}
    for item in allocate(used, billed, width=1):
        totals[item.owner[0]] = totals.get(item.owner[0], D(0)) + item.amount
    return totals


def test_teams_pay_by_their_booked_cost_and_nobody_for_what_was_not_seen():
    billed = [Billed(dims=place(), amount=D("10"), quantity=D(1000))]
    assert by_team([use("search", 600, "6"), use("ads", 200, "2")], billed) == {
        "search": D("6"),
        "ads": D("2"),
        UNATTRIBUTED: D("2"),
    }


def test_a_discount_follows_the_usage():
    billed = [
        Billed(dims=place(), amount=D("8"), quantity=D(800)),
        Billed(dims=place(model="", token_class=""), amount=D("-2"), charge=Charge.CREDIT),
    ]
    assert by_team([use("search", 600, "6"), use("ads", 200, "2")], billed) == {"search": D("4.5"), "ads": D("1.5")}


def test_reasoning_pays_for_output():
    billed = [Billed(dims=place(token_class="output_text"), amount=D("9"), quantity=D(300))]
    used = [use("a", 100, "1", token_class="output_text"), use("b", 200, "2", token_class="reasoning")]
    assert by_team(used, billed) == {"a": D("3"), "b": D("6")}


def test_tax_without_any_usage_is_unattributed():
    assert by_team([], [Billed(dims=place(), amount=D("1.19"), charge=Charge.TAX)]) == {UNATTRIBUTED: D("1.19")}
