"""A commitment's amount on its calls: exact in sum, a function of the set of calls, replay-safe, counters only grow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spanledger.ledger import shares
from spanledger.ledger.price_archive import ArchivingPricer, PriceArchive
from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.overrides import Commitment, ExchangeRate, Overrides, Scope

NOVEMBER = shares.month_days(date(2026, 11, 1))
COST = "llm_cost_usd_total"


def commitment(monthly: str, *, org: str = "", model: str = "ptu-*", **more: Any) -> Commitment:
    scope = Scope(provider="azure_openai", model=model, org=org, **more)
    return Commitment(scope=scope, monthly=Decimal(monthly), name="PTU")


def at(day: int, hour: int = 12, month: int = 11) -> float:
    """A time of 2026 in seconds after the tests' T0."""
    return (datetime(2026, month, day, hour, tzinfo=UTC) - datetime.fromtimestamp(1_795_200_000, UTC)).total_seconds()


@given(st.integers(0, 10**20), st.lists(st.integers(0, 10**7), min_size=1, max_size=40))
def test_parts_add_up_and_are_proportional(total: int, weights: list[int]) -> None:
    parts = shares.split(total, weights)
    assert sum(parts) == total
    assert min(parts) >= 0
    whole = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        exact = total * weight / Decimal(whole) if whole else Decimal(total) / len(weights)
        assert abs(part - exact) < 2


@given(st.sets(st.sampled_from(NOVEMBER)), st.integers(0, 10**18), st.integers(0, 40))
def test_days_add_up_to_what_has_accrued(used: set[date], monthly: int, past: int) -> None:
    """Over: the month's amount. Running: what accrued up to the last past day with calls."""
    accrued = dict(zip(NOVEMBER, shares.split(monthly, [1] * 30), strict=True))
    today = NOVEMBER[0] + timedelta(days=past)
    shared = shares.by_day(accrued, used, NOVEMBER, today)
    seen = sorted(day for day in used if day < today)
    assert sorted(shared) == seen
    if not seen:
        return
    if today > NOVEMBER[-1]:
        assert sum(shared.values()) == monthly
    else:
        assert sum(shared.values()) == sum(accrued[day] for day in NOVEMBER if day <= seen[-1])


def test_a_days_amount_follows_dates_currency_and_successors() -> None:
    euros = Commitment(
        scope=Scope(model="*", valid_to=date(2026, 11, 11)), monthly=Decimal(300), name="PTU", currency="EUR"
    )
    later = Commitment(scope=Scope(model="*", valid_from=date(2026, 11, 11)), monthly=Decimal(900), name="PTU")
    fx = ExchangeRate(currency="EUR", usd=Decimal("1.1"))
    overrides = Overrides(commitments=(euros, later), exchange=(fx,))
    accrued = shares.accruals(shares.Pool("PTU", "", ""), overrides, NOVEMBER)
    assert accrued is not None
    assert shares.amount(sum(accrued.values())) == Decimal(110) + Decimal(600)
    assert [shares.amount(accrued[NOVEMBER[day]]) for day in (0, 9, 10, 29)] == [11, 11, 30, 30]
    assert shares.accruals(shares.Pool("other", "", ""), overrides, NOVEMBER) is None


@pytest.fixture
def contract(org: str) -> Overrides:
    return Overrides(commitments=(commitment("1000", org=org),), source_version="v1")


@pytest.fixture
def provisioned(client: Any, new_writer: Callable[..., Any], contract: Overrides, org: str) -> Callable[..., Any]:
    """``provisioned(today)``: a writer under the contract on that day of November (or a date)."""

    def open_(today: date) -> Any:
        now = int(datetime(today.year, today.month, today.day, 3, tzinfo=UTC).timestamp()) * 10**9
        return new_writer(org, prices=ArchivingPricer(PriceBook(contract), PriceArchive(client)), clock=lambda: now)

    return open_


def spread(writer: Any, contract: Overrides, **options: Any) -> list[Any]:
    return list(writer.ledger.spread(contract, date(2026, 11, 1), date(2026, 12, 1), **options))


def call(observe: Callable[..., Any], number: int, day: int, tokens: int = 100, **more: Any) -> Any:
    fields = {"provider": "azure_openai", "request_model": "ptu-1", "response_model": "gpt-4o"} | more
    return observe(number, at=at(day) + number, usage=(tokens, 0), received_ns=0, **fields)


def costs(books: Any) -> dict[int, Decimal]:
    rows = books.calls("toDayOfMonth(started_at), cost_usd")
    found: dict[int, Decimal] = {}
    for day, cost in rows:
        found[day] = found.get(day, Decimal(0)) + cost
    return found


def test_a_months_calls_cost_the_months_amount(
    provisioned: Any, contract: Overrides, observe: Any, books: Any, org: str
) -> None:
    writer = provisioned(date(2026, 12, 5))
    writer(
        call(observe, 1, 3, 100),
        call(observe, 2, 3, 200),
        call(observe, 3, 10),
        observe(4, at=at(10), response_model="gpt-4o", request_model="gpt-4o", received_ns=0),
        call(observe, 5, 20),
    )
    assert set(costs(books).values()) == {Decimal(0), costs(books)[10]}, "by the token they cost nothing"
    by_token = costs(books)[10]
    assert [each.calls for each in spread(writer, contract, dry_run=True)] == [2, 1, 1]
    assert [each.day.day for each in spread(writer, contract)] == [3, 10, 20]
    day = Decimal(1000) / 30
    found = costs(books)
    assert sum(found.values()) - by_token == 1000
    assert abs(found[3] - 3 * day) < Decimal("1e-9")
    assert abs(found[20] - 20 * day) < Decimal("1e-9"), "its own, those before without calls, the rest of the month"
    three = books.rows(
        "SELECT cost_usd, cost_low_usd, cost_high_usd, cost_status FROM spanledger.calls "
        "WHERE org_id = {org:String} AND toDayOfMonth(started_at) = 3 ORDER BY cost_usd"
    )
    assert [cost for cost, *_ in three] == [Decimal("33.333333333333"), Decimal("66.666666666667")]
    assert all(low == cost == high and status == "list" for cost, low, high, status in three)
    assert spread(writer, contract) == [], "run again it changes nothing"
    assert list(writer.ledger.reprice(date(2026, 11, 1), date(2026, 12, 1), org_id=org)) == []
    ((rolled_up,),) = books.rows("SELECT sum(cost_usd) FROM spanledger.usage_by_day WHERE org_id = {org:String}")
    assert rolled_up - by_token == 1000
    history = books.rows("SELECT DISTINCT reason FROM spanledger.calls_history WHERE org_id = {org:String}")
    assert history == [("shared",)]


def test_late_and_repeated_calls(provisioned: Any, contract: Overrides, observe: Any, books: Any, org: str) -> None:
    """A late call changes the shares of its day; redelivery none; counters never go down."""
    writer = provisioned(date(2026, 11, 21))
    first, second = call(observe, 1, 10), call(observe, 2, 20)
    writer(first, second)
    spread(writer, contract)
    before = costs(books)
    accrued = Decimal(20000) / 30  # up to the last day with calls
    assert abs(sum(before.values()) - accrued) < Decimal("1e-9")
    counted = {c.metric: c.value for c in writer.ledger.counters(org)}
    writer(first, second)
    assert spread(writer, contract) == []
    writer(call(observe, 3, 10, 300), call(observe, 4, 5))
    assert [each.day.day for each in spread(writer, contract)] == [5, 10]
    after = costs(books)
    assert sum(after.values()) == sum(before.values())
    assert after[20] == before[20]
    counters = writer.ledger.counters(org)
    assert all(c.value >= counted[c.metric] for c in counters if c.metric in counted)
    assert sum(c.value - c.pending for c in counters if c.metric == COST) == sum(after.values())


@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],  # each example fills a store: shrinking would take minutes
)
@given(st.permutations(range(6)), st.integers(1, 5))
def test_shares_do_not_depend_on_order(
    client: Any, new_writer: Any, books_of: Any, observe: Any, order: list[int], cut: int
) -> None:
    found = []
    for arrival, name in ((list(range(6)), "straight"), (order, "shuffled")):
        org = f"spread-{name}-{order}-{cut}"
        contract = Overrides(commitments=(commitment("777.77", org=org),), source_version=org)
        pricer = ArchivingPricer(PriceBook(contract), PriceArchive(client))
        now = int(datetime(2026, 12, 5, tzinfo=UTC).timestamp()) * 10**9
        writer = new_writer(org, prices=pricer, clock=lambda now=now: now)
        calls = [call(observe, number + 1, (3, 3, 4, 9, 9, 9)[number], 50 + number) for number in arrival]
        writer(*calls[:cut])
        spread(writer, contract)
        writer(*calls[cut:])
        spread(writer, contract)
        found.append(books_of(org).calls("trace_id, cost_usd"))
    assert found[0] == found[1]
    assert sum(cost for _, cost in found[0]) == Decimal("777.77")


def test_web_searches_are_billed_beside_the_share() -> None:
    fee, share = Decimal("0.01"), Decimal("2.5")
    cost = Cost(
        CostStatus.LIST, fee, fee, fee, {"input_uncached": Decimal(0), "web_searches": fee}, "id", "provisioned"
    )
    held = shares.with_share(cost, share)
    assert (held.total, held.low, held.high, dict(held.by_class)) == (Decimal("2.51"),) * 3 + ({"web_searches": fee},)
    assert shares.share_of(held.total, held.by_class, held.reason) == share
    assert shares.is_covered(cost)
    assert not shares.is_covered(held)
