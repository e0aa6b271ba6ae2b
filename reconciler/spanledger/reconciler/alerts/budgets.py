"""What a budget has come to: spent, forecast, pace. All from rollups, in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from spanledger.reconciler.alerts.settings import Budget, Span
from spanledger.reconciler.alerts.standing import BudgetStanding
from spanledger.reconciler.windows import next_month
from spanledger.semconv.money import CONTEXT, to_ledger

PACE: Final = {Span.DAILY: timedelta(hours=24), Span.MONTHLY: timedelta(days=7)}
"""The forecast continues the pace of the complete hours (days) of this time before now."""

STEP: Final = {Span.DAILY: timedelta(hours=1), Span.MONTHLY: timedelta(days=1)}

_SHORT: Final = {Span.DAILY: timedelta(hours=3), Span.MONTHLY: timedelta(days=1)}
"""A forecast needs at least so much of the pace's time."""

HOUR: Final = timedelta(hours=1)
FIVE_MINUTES: Final = timedelta(minutes=5)
_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Spend:
    """What was booked in one bucket."""

    bucket: datetime
    cost_usd: Decimal
    unpriced_calls: int


def bounds(span: Span, now: datetime) -> tuple[datetime, datetime]:
    """Begin and end of the period around an instant, UTC."""
    today = now.astimezone(UTC).date()
    if span is Span.DAILY:
        first, last = today, today + timedelta(days=1)
    else:
        first = today.replace(day=1)
        last = next_month(first)
    return datetime.combine(first, time(), UTC), datetime.combine(last, time(), UTC)


def since(span: Span, now: datetime) -> datetime:
    """From when on `stand` needs buckets."""
    start, _ = bounds(span, now)
    return min(start, _floor(now, STEP[span]) - PACE[span])


def stand(budget: Budget, buckets: Sequence[Spend], minutes: Sequence[Spend], now: datetime) -> BudgetStanding:
    """How a budget stands.

    Args:
        budget: which.
        buckets: hours (daily budget) or days (monthly) since `since`.
        minutes: the last hour, minute by minute.
        now: the current instant, aware.
    """
    start, end = bounds(budget.span, now)
    inside = [spend for spend in buckets if start <= spend.bucket < end]
    spent = sum((spend.cost_usd for spend in inside), _ZERO)
    return BudgetStanding(
        budget=budget,
        period=f"{start:%Y-%m-%d}" if budget.span is Span.DAILY else f"{start:%Y-%m}",
        ends=end.date(),
        spent_usd=spent,
        forecast_usd=_forecast(budget.span, buckets, spent, end, now),
        burn_rate=_burn_rate(budget, minutes, HOUR, start, end, now),
        burn_rate_5m=_burn_rate(budget, minutes, FIVE_MINUTES, start, end, now),
        unpriced_calls=sum(spend.unpriced_calls for spend in inside),
    )


def _forecast(span: Span, buckets: Sequence[Spend], spent: Decimal, end: datetime, now: datetime) -> Decimal | None:
    """Spent so far plus the pace of the complete buckets before now, over the time that is left."""
    until = _floor(now, STEP[span])
    known = [spend for spend in buckets if until - PACE[span] <= spend.bucket < until and spend.cost_usd]
    if not known:
        return None
    observed = until - min(spend.bucket for spend in known)
    if observed < _SHORT[span]:
        return None
    pace = sum((spend.cost_usd for spend in known), _ZERO)
    to_come = CONTEXT.divide(CONTEXT.multiply(pace, _seconds(end - now)), _seconds(observed))
    return to_ledger(CONTEXT.add(spent, to_come))


def _burn_rate(
    budget: Budget, minutes: Sequence[Spend], window: timedelta, start: datetime, end: datetime, now: datetime
) -> Decimal:
    until = _floor(now, timedelta(minutes=1))
    cost = sum((spend.cost_usd for spend in minutes if until - window <= spend.bucket < until), _ZERO)
    allowed = CONTEXT.divide(CONTEXT.multiply(budget.amount_usd, _seconds(window)), _seconds(end - start))
    return CONTEXT.divide(cost, allowed).quantize(Decimal("0.01"))


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)) / 1_000_000


def _floor(moment: datetime, step: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (moment - epoch) // step * step
