"""A whole report of an org and a period, gathered from the parts beside this module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from clickhouse_connect.driver.client import Client

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.reporting.bounds import settled
from spanledger.reconciler.reporting.change import Change, change
from spanledger.reconciler.reporting.forecast import HISTORY_DAYS, Forecast, forecast
from spanledger.reconciler.reporting.prices import Stretch, Suggestion, day_prices, stretches, suggestions
from spanledger.reconciler.reporting.shares import Share, shares
from spanledger.reconciler.reporting.spend import Spend, SpendReader, before
from spanledger.reconciler.tieout.items import ResidualName
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.report import Tied, tie_out_period
from spanledger.reconciler.tieout.run import Period

_ZERO: Final = Decimal(0)


class Part(StrEnum):
    """The parts of a report."""

    spend = "spend"
    variance = "variance"
    chargeback = "chargeback"
    change = "change"
    forecast = "forecast"
    prices = "prices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was asked for; parts that were not are ``None`` or empty.

    Attributes:
        org_id, period, today: what it is about, and the day (UTC) on which it was made.
        parts: what was asked for.
        by: the dimensions of ``owners`` and ``shares``.
        total: booked spend of the period.
        days: booked spend by day.
        models: booked spend by provider and model.
        owners: booked spend by ``by``.
        tied: the tie-outs of the period.
        shares: billed money by ``by``.
        change: against the period before.
        forecast: of the month of ``today``.
        prices: billed unit prices of the period over time.
        suggestions: what would bring the books to them.
        problems: what the reader must know, in plain lines.
    """

    org_id: str
    period: Period
    today: date
    parts: frozenset[Part]
    by: tuple[str, ...]
    total: Spend
    days: Mapping[date, Spend] = field(default_factory=dict[date, Spend])
    models: Sequence[Spend] = ()
    owners: Sequence[Spend] = ()
    tied: Tied | None = None
    shares: Sequence[Share] = ()
    change: Change | None = None
    forecast: Forecast | None = None
    prices: Sequence[Stretch] = ()
    suggestions: Sequence[Suggestion] = ()
    problems: Sequence[str] = ()


def report(
    client: Client,
    *,
    org_id: str,
    period: Period,
    by: tuple[str, ...],
    parts: frozenset[Part],
    clock: Clock,
    names: ModelNames,
    today: date,
    compare: Period | None = None,
) -> Report:
    """Gather a report. Writes nothing.

    Args:
        client: of the store.
        org_id: whose.
        period: which days (UTC).
        by: names of `spanledger.reconciler.reporting.spend.DIMENSIONS`.
        parts: what to gather.
        clock: of the tie-out.
        names: how models are called.
        today: the current day, UTC.
        compare: what to compare the period with; ``None`` for the period before.

    Raises:
        StoreError: the store failed.
    """

    def tie_out(of: Period) -> Tied:
        return tie_out_period(client, org_id=org_id, period=of, names=names, clock=clock, today=today, keep=False)

    reader = SpendReader(client, org_id)
    total = reader.total(period)
    # Only a bill can settle interrupted calls, and only they need it.
    needs_bill = total.is_bounded or parts & {Part.variance, Part.chargeback, Part.prices}
    tied = tie_out(period) if needs_bill else None
    if tied is not None and total.is_bounded:
        reader = SpendReader(client, org_id, settled(tied))
        total = reader.total(period)
    compared: Change | None = None
    if Part.change in parts:
        after, earlier = before(period, today=today)
        if compare is not None:
            after, earlier = period, compare
        unseen = _unseen(tie_out(earlier)), _unseen(tied if tied and after == period else tie_out(after))
        compared = change(client, org_id, earlier, after, unseen=unseen)
    implied = stretches(day_prices(tied.results)) if tied is not None and Part.prices in parts else []
    advice = suggestions(implied, today=today)
    return Report(
        org_id=org_id,
        period=period,
        today=today,
        parts=parts,
        by=by,
        total=total,
        days=reader.by_day(period) if Part.spend in parts else {},
        models=reader.by(period, ("provider", "model")) if Part.spend in parts else (),
        owners=reader.by(period, by) if Part.spend in parts else (),
        tied=tied,
        shares=shares(client, org_id, period, names, by) if Part.chargeback in parts else (),
        change=compared,
        forecast=_forecast(reader, today) if Part.forecast in parts else None,
        prices=implied,
        suggestions=advice,
        problems=[*_problems(total, tied, parts), *(f"{each.why}: see the billed prices" for each in advice)],
    )


def _forecast(reader: SpendReader, today: date) -> Forecast:
    history = Period(today - timedelta(days=HISTORY_DAYS + 31), today + timedelta(days=1), "history")
    return forecast({day: spend.cost or _ZERO for day, spend in reader.by_day(history).items()}, today=today)


def _unseen(tied: Tied) -> Decimal | None:
    """Billed money that no span told of, on final days and on others; ``None`` without a bill."""
    if not any(result.billed_usd for result in tied.results):
        return None
    found = (finding for result in tied.results for finding in result.findings)
    return sum((each.amount for each in found if each.kind is ResidualName.MISSING_TELEMETRY), _ZERO)


def _problems(total: Spend, tied: Tied | None, parts: frozenset[Part]) -> list[str]:
    problems: list[str] = []
    if not total.calls:
        problems.append("the ledger holds no calls of this period: is it the right --org and --period?")
    if total.unpriced_calls:
        many = "calls have no price and are" if total.unpriced_calls > 1 else "call has no price and is"
        problems.append(f"{total.unpriced_calls} {many} in no sum: spanledger prices unknown")
    if total.is_bounded and total.high is None:
        problems.append("interrupted calls without an upper limit: give requests a maximum of output tokens")
    if tied is None:
        return problems
    if not tied.results and parts & {Part.variance, Part.chargeback}:
        problems.append("no bill of this period: spanledger connections add, then spanledger sync")
    for result in tied.results:
        problems += [f"{result.connection}: {problem}" for problem in result.problems]
        if result.missing_days:
            first, *_ = result.missing_days
            days = ", ".join(day.isoformat() for day in result.missing_days[:5])
            more = f" and {len(result.missing_days) - 5} more" if len(result.missing_days) > 5 else ""
            problems.append(f"{result.connection}: {days}{more} were never synced: spanledger sync --since {first}")
    problems += tied.doubts
    problems += [
        f"no connection bills {provider}: what is booked there cannot be tied out" for provider in tied.unbilled
    ]
    return problems
