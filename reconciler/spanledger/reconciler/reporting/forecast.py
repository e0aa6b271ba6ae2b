"""What a month will cost, from the weekdays before it, with the error that the same method made in the past.

The method is simple on purpose: a coming day costs what the same weekday cost on average over the last weeks. The
back-test asks it again on every earlier day, for as many days as are left of the month now, with what was known then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from spanledger.reconciler.windows import next_month
from spanledger.semconv.money import CONTEXT, to_ledger

WEEKS: Final = 4
"""How many of the last same weekdays are averaged."""
LEAST_DAYS: Final = 14
"""Every weekday must have been seen twice."""
LEAST_TRIALS: Final = 5
"""With fewer trials no past error is told: it would be luck."""
HISTORY_DAYS: Final = 182
"""How far the back-test looks back."""

_ZERO: Final = Decimal(0)
_SHARE: Final = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The forecast of one month, in US dollars.

    Attributes:
        month: its first day.
        spent: booked so far, today's part included.
        expected: for the whole month; ``None`` when too little is known, and ``reason`` says why.
        low, high: what the past error makes of it: four trials in five lay between; ``None`` with too few trials.
        error: the median of the absolute errors of the back-test, as a share of what the days then cost.
        trials: how many days of the past were asked.
        horizon: how many days are forecast.
        reason: why something is unknown; ``""`` otherwise.
    """

    month: date
    spent: Decimal
    expected: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    error: Decimal | None = None
    trials: int = 0
    horizon: int = 0
    reason: str = ""


def forecast(costs: Mapping[date, Decimal], *, today: date) -> Forecast:
    """Forecast the month of ``today``.

    Args:
        costs: booked cost by day (UTC), including today's so far; days without calls may be left out.
        today: the current day, UTC; it is not complete.
    """
    month = today.replace(day=1)
    end = next_month(month)
    spent = sum((cost for day, cost in costs.items() if month <= day < end), _ZERO)
    complete = sorted(day for day in costs if day < today)
    first = max(complete[0], today - timedelta(days=HISTORY_DAYS)) if complete else today
    horizon = (end - today).days
    if (today - first).days < LEAST_DAYS:
        return Forecast(
            month=month,
            spent=spent,
            horizon=horizon,
            reason=f"needs {LEAST_DAYS} complete days, the ledger has {(today - first).days}",
        )
    coming = _expect(costs, first, today, horizon)
    # Today is forecast like any day, but cannot end below what it has cost already.
    coming[0] = max(coming[0], costs.get(today, _ZERO))
    rest = sum(coming, _ZERO)
    before_today = spent - sum((cost for day, cost in costs.items() if today <= day < end), _ZERO)
    ratios = _trials(costs, first, today, horizon)
    expected = to_ledger(before_today + rest)
    if len(ratios) < LEAST_TRIALS:
        return Forecast(
            month=month,
            spent=spent,
            expected=expected,
            trials=len(ratios),
            horizon=horizon,
            reason=f"its past error is unknown: {len(ratios)} trials fit into the past, {LEAST_TRIALS} are needed",
        )
    ordered = sorted(ratios)
    errors = sorted(abs(CONTEXT.divide(1, ratio) - 1) for ratio in ratios)
    floor = costs.get(today, _ZERO)
    return Forecast(
        month=month,
        spent=spent,
        expected=expected,
        low=to_ledger(before_today + max(floor, CONTEXT.multiply(rest, _quantile(ordered, Decimal("0.1"))))),
        high=to_ledger(before_today + max(floor, CONTEXT.multiply(rest, _quantile(ordered, Decimal("0.9"))))),
        error=_quantile(errors, Decimal("0.5")).quantize(_SHARE),
        trials=len(ratios),
        horizon=horizon,
    )


def _expect(costs: Mapping[date, Decimal], first: date, today: date, horizon: int) -> list[Decimal]:
    """The cost of ``horizon`` days from ``today`` on, seen from its morning."""
    by_weekday: dict[int, Decimal] = {}
    for offset in range(7):
        same = [today - timedelta(days=7 * week - offset) for week in range(1, WEEKS + 1)]
        seen = [costs.get(day, _ZERO) for day in same if day >= first]
        by_weekday[offset] = CONTEXT.divide(sum(seen, _ZERO), len(seen))
    return [by_weekday[number % 7] for number in range(horizon)]


def _trials(costs: Mapping[date, Decimal], first: date, today: date, horizon: int) -> list[Decimal]:
    """What came, divided by what would have been forecast, for every day of the past that can be asked."""
    ratios: list[Decimal] = []
    origin = first + timedelta(days=LEAST_DAYS)
    while origin + timedelta(days=horizon) <= today:
        guess = sum(_expect(costs, first, origin, horizon), _ZERO)
        truth = sum((costs.get(origin + timedelta(days=n), _ZERO) for n in range(horizon)), _ZERO)
        if guess > 0 and truth > 0:
            ratios.append(CONTEXT.divide(truth, guess))
        origin += timedelta(days=1)
    return ratios


def _quantile(ordered: Sequence[Decimal], share: Decimal) -> Decimal:
    """The value at a share of an ordered list, the nearest one."""
    return ordered[int((share * (len(ordered) - 1)).to_integral_value())]
