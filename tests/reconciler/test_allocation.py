"""Shares add up to the invoice exactly, whatever is billed and whoever used it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.reconciler.allocation import UNATTRIBUTED, OwnedUse, allocate
from spanledger.reconciler.spread import spread
from spanledger.reconciler.tieout.items import Billed, Charge, Dims

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
