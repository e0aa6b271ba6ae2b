"""The month's forecast: exact where the weekdays repeat, honest about its past, silent where it knows too little."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal as D

from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.reconciler.reporting.forecast import LEAST_TRIALS, forecast

TODAY = date(2026, 11, 16)


def weekly(day: date) -> D:
    return D(2) if day.weekday() >= 5 else D(10)


def history(days: int, cost=weekly) -> dict[date, D]:  # type: ignore[no-untyped-def]
    return {TODAY - timedelta(days=n): cost(TODAY - timedelta(days=n)) for n in range(1, days + 1)}


def test_weeks_that_repeat_are_forecast_exactly():
    found = forecast(history(70), today=TODAY)
    month = [date(2026, 11, n) for n in range(1, 31)]
    assert found.expected == sum(weekly(day) for day in month)
    assert found.spent == sum(weekly(day) for day in month if day < TODAY)
    assert (found.error, found.low, found.high) == (0, found.expected, found.expected)
    assert (found.horizon, found.reason) == (15, "")
    assert found.trials >= LEAST_TRIALS


def test_growth_makes_it_too_low_and_its_past_error_says_so():
    found = forecast(history(70, lambda day: D(100) + (day - TODAY).days), today=TODAY)
    truth = sum(D(100) + (date(2026, 11, n) - TODAY).days for n in range(1, 31))
    assert found.expected is not None
    assert found.error is not None
    assert found.expected < truth
    assert D("0.1") < found.error < D("0.5")
    assert found.low is not None
    assert found.expected < found.low  # every trial of the past came out higher


def test_too_little_history_gives_none_and_says_why():
    found = forecast(history(13), today=TODAY)
    assert found.expected is None
    assert found.reason == "needs 14 complete days, the ledger has 13"
    assert forecast({}, today=TODAY).expected is None


def test_a_short_past_gives_a_forecast_without_an_error():
    found = forecast(history(20), today=TODAY)
    assert found.expected is not None
    assert (found.error, found.low, found.high) == (None, None, None)
    assert "past error is unknown" in found.reason


def test_today_counts_with_what_it_has_cost_already():
    quiet, dear = history(70) | {TODAY: D(1)}, history(70) | {TODAY: D(500)}
    expected = forecast(quiet, today=TODAY).expected, forecast(dear, today=TODAY).expected
    assert None not in expected
    assert expected[1] - expected[0] == 490  # type: ignore[operator]


def test_days_without_calls_cost_nothing():
    costs = {day: cost for day, cost in history(70).items() if day.weekday() < 5}
    found = forecast(costs, today=TODAY)
    assert found.expected == sum(D(10) for n in range(1, 31) if date(2026, 11, n).weekday() < 5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.decimals(0, 100, places=12, allow_nan=False), min_size=0, max_size=80))
def test_it_never_falls_below_what_is_spent(costs: list[D]):
    days = {TODAY - timedelta(days=n): cost for n, cost in enumerate(costs)}
    found = forecast(days, today=TODAY)
    for bound in (found.expected, found.low, found.high):
        assert bound is None or bound >= found.spent
    assert (found.expected is None) <= bool(found.reason)
