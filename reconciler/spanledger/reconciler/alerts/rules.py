"""When something is an alert, and the words for it. Pure: from what was read to a `Standing`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from spanledger.reconciler.alerts.settings import AlertSettings
from spanledger.reconciler.alerts.standing import OK, BudgetStanding, Kind, Severity, Standing
from spanledger.reconciler.reporting.prices import Stretch, Suggestion

_ZERO: Final = Decimal(0)
_HUNDRED: Final = Decimal(100)
_CALM: Final = Decimal("0.95")
"""A forecast that has exceeded its budget is good news only below this share of it."""


def of_budget(stands: BudgetStanding, settings: AlertSettings) -> list[Standing]:
    """The budget itself, its forecast and its pace, each as far as the budget asks for it."""
    found = [_spent(stands, settings)]
    is_spent = stands.spent_usd >= stands.budget.amount_usd  # then the forecast is no news
    if stands.budget.forecast and stands.forecast_usd is not None and not is_spent:
        found.append(_forecast(stands, stands.forecast_usd, settings))
    if stands.budget.burn_rate:
        found.append(_pace(stands, settings))
    return found


def _spent(stands: BudgetStanding, settings: AlertSettings) -> Standing:
    budget = stands.budget
    reached = [fraction for fraction in budget.warn_at if stands.spent_usd >= fraction * budget.amount_usd]
    level = reached[-1] if reached else None
    share = stands.spent_usd / budget.amount_usd
    lines = [f"{usd(stands.spent_usd)} of {usd(budget.amount_usd)} are spent ({percent(share)}), {_about(stands)}."]
    if stands.forecast_usd is not None:
        lines.append(f"At the recent pace it will be {usd(stands.forecast_usd)} by the end of the period.")
    if stands.unpriced_calls:
        lines.append(f"{stands.unpriced_calls} calls without a price are not in it: spanledger prices unknown.")
    return Standing(
        org_id=budget.org_id,
        kind=Kind.BUDGET,
        subject=f"{budget.name} {stands.period}",
        state=OK if level is None else percent(level),
        title=f"Budget {budget.name}: {percent(share)} spent in {stands.period}",
        text=" ".join(lines),
        value=stands.spent_usd,
        threshold=(level if level is not None else min(budget.warn_at, default=Decimal(1))) * budget.amount_usd,
        severity=Severity.CRITICAL if level is not None and level >= 1 else Severity.WARNING,
        channels=_channels(stands, settings),
    )


def _forecast(stands: BudgetStanding, forecast: Decimal, settings: AlertSettings) -> Standing:
    budget = stands.budget
    return Standing(
        org_id=budget.org_id,
        kind=Kind.FORECAST,
        subject=f"{budget.name} {stands.period}",
        state="exceeds" if forecast > budget.amount_usd else OK,
        holds="exceeds" if forecast > budget.amount_usd * _CALM else "",
        title=f"Budget {budget.name}: forecast {usd(forecast)} of {usd(budget.amount_usd)} in {stands.period}",
        text=f"{usd(stands.spent_usd)} are spent, {_about(stands)}; at the recent pace it will be {usd(forecast)} by "
        f"the end of the period, {percent(forecast / budget.amount_usd)} of the budget.",
        value=forecast,
        threshold=budget.amount_usd,
        channels=_channels(stands, settings),
    )


def _pace(stands: BudgetStanding, settings: AlertSettings) -> Standing:
    budget = stands.budget
    # Two windows: the hour says that it matters, the five minutes that it still goes on.
    burns = min(stands.burn_rate, stands.burn_rate_5m) > budget.burn_rate
    return Standing(
        org_id=budget.org_id,
        kind=Kind.BURN_RATE,
        subject=f"{budget.name} {stands.period}",
        state="burning" if burns else OK,
        holds="burning" if stands.burn_rate > budget.burn_rate else "",
        title=f"Budget {budget.name}: burns {plain(stands.burn_rate)} times faster than it allows",
        text=f"The last hour ran at {plain(stands.burn_rate)} times the pace that uses up {usd(budget.amount_usd)} in "
        f"the period; the alert is at {plain(budget.burn_rate)} times. {usd(stands.spent_usd)} are spent, "
        f"{_about(stands)}.",
        value=stands.burn_rate,
        threshold=budget.burn_rate,
        severity=Severity.CRITICAL,
        channels=_channels(stands, settings),
    )


def of_tieout(row: Mapping[str, Any], settings: AlertSettings) -> list[Standing]:
    """Variance and coverage of one connection's month."""
    org, connection, period = str(row["org_id"]), str(row["connection"]), str(row["period"])
    variance, coverage = Decimal(row["variance"]), row["coverage"]
    common: dict[str, Any] = {"org_id": org, "subject": f"{connection} {period}", "channels": settings.notify}
    look = f"spanledger reconcile --period {period} --connection {connection}"
    found: list[Standing] = []
    if settings.variance is not None:
        found.append(
            Standing(
                **common,
                kind=Kind.VARIANCE,
                state="above" if variance > settings.variance else OK,
                title=f"{connection}, {period}: {percent(variance)} of the bill needs attention",
                text=f"Billed minus booked is {usd(Decimal(row['difference']))}; the limit is "
                f"{percent(settings.variance)}. See why: {look}",
                value=variance,
                threshold=settings.variance,
            )
        )
    if settings.coverage is not None and coverage is not None:
        seen = Decimal(coverage)
        found.append(
            Standing(
                **common,
                kind=Kind.COVERAGE,
                state="below" if seen < settings.coverage else OK,
                title=f"{connection}, {period}: the ledger has seen {percent(seen)} of the bill",
                text=f"At least {percent(settings.coverage)} should be seen: some application does not report. "
                f"See which: {look}",
                value=seen,
                threshold=settings.coverage,
            )
        )
    return found


def of_unpriced(row: Mapping[str, Any], settings: AlertSettings) -> Standing:
    """Calls of one model without a price."""
    calls = Decimal(row["calls"])
    provider, model = str(row["provider"]), str(row["model"]) or "(no model)"
    limit = settings.unpriced_calls or _ZERO
    return Standing(
        org_id=str(row["org_id"]),
        kind=Kind.UNPRICED,
        subject=f"{provider} {model}",
        state="unpriced" if calls > limit else OK,
        title=f"{provider} {model}: {calls} calls of the last 24 hours have no price",
        text="They are in no sum. Give the model a price: spanledger prices unknown, spanledger prices override, then "
        "spanledger reprice.",
        value=calls,
        threshold=limit,
        channels=settings.notify,
    )


def of_sync(row: Mapping[str, Any], settings: AlertSettings, now: datetime) -> Standing:
    """The age of one stream's last complete pull."""
    good_at: datetime = row["good_at"]
    hours = (Decimal(int((now - good_at).total_seconds())) / 3600).quantize(Decimal("0.1"))
    limit = settings.sync_hours or _ZERO
    connection, stream = str(row["connection"]), str(row["stream"])
    return Standing(
        org_id=str(row["org_id"]),
        kind=Kind.SYNC,
        subject=f"{connection} {stream}".strip(),
        state="stale" if hours > limit else OK,
        title=f"{connection}: {stream or 'nothing'} was last pulled in full {plain(hours)} hours ago",
        text=f"Last at {good_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC; the limit is {plain(limit)} hours. See why: "
        f"spanledger connections test {connection}",
        value=hours,
        threshold=limit,
        channels=settings.notify,
    )


def of_drifts(
    org_id: str, drifting: Iterable[Stretch], advice: Iterable[Suggestion], settings: AlertSettings
) -> list[Standing]:
    """The models whose billed unit prices are not the booked ones.

    Args:
        org_id: whose.
        drifting: the newest prices of the meters that are off by more than the threshold.
        advice: what would mend them.
        settings: threshold and channels.
    """
    commands = {(each.provider, each.model): each for each in advice}
    models: dict[tuple[str, str], list[Stretch]] = defaultdict(list)
    for stretch in drifting:
        models[stretch.provider, stretch.meter.model].append(stretch)
    found: list[Standing] = []
    for (provider, model), group in sorted(models.items()):
        worst = max(group, key=lambda s: (s.billed_usd, s.meter))
        drift = worst.drift or _ZERO
        mend = commands.get((provider, model)) or commands.get((provider, "*"))
        found.append(
            Standing(
                org_id=org_id,
                kind=Kind.PRICE_DRIFT,
                subject=f"{provider} {model}".strip(),
                state="drifts",
                title=f"{provider} {model}: {worst.meter.token_class or 'its use'} is billed {percent(abs(drift))} "
                f"{'above' if drift > 0 else 'below'} the booked price",
                text=f"So on the bill of {worst.connection} since {worst.drift_since}"
                + (
                    f": {mend.why}. If that is right: {mend.command}, then "
                    f"spanledger reprice --since {worst.drift_since}."
                    if mend is not None
                    else ". See what was billed: spanledger prices implied --drifting."
                ),
                value=drift,
                threshold=settings.price_drift or _ZERO,
                channels=settings.notify,
            )
        )
    return found


def billed_as_booked(org_id: str, subject: str, settings: AlertSettings) -> Standing:
    """The end of an `of_drifts`: such a model is in no answer any more."""
    title = f"{subject}: no recent bill shows another price than is booked"
    return _over(org_id, Kind.PRICE_DRIFT, subject, title, settings.price_drift, settings)


def priced_again(org_id: str, subject: str, settings: AlertSettings) -> Standing:
    """The end of an `of_unpriced`: such a model is in no answer any more."""
    title = f"{subject}: no call of the last 24 hours lacks a price"
    return _over(org_id, Kind.UNPRICED, subject, title, settings.unpriced_calls, settings)


def _over(
    org_id: str, kind: Kind, subject: str, title: str, threshold: Decimal | None, settings: AlertSettings
) -> Standing:
    return Standing(
        org_id=org_id,
        kind=kind,
        subject=subject,
        state=OK,
        title=title,
        text="",
        value=_ZERO,
        threshold=threshold or _ZERO,
        channels=settings.notify,
    )


def usd(amount: Decimal) -> str:
    """Dollars for people: cents, or as many digits as a smaller amount needs."""
    sign, size = "-" if amount < 0 else "", abs(amount)
    if size and size < Decimal("0.01"):
        return f"{sign}${plain(size.quantize(Decimal('0.000001')))}"
    return f"{sign}${size.quantize(Decimal('0.01')):,}"


def percent(share: Decimal) -> str:
    return f"{plain((share * _HUNDRED).quantize(Decimal('0.1')))} %"


def plain(number: Decimal) -> str:
    """Without an exponent and without zeros at the end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _about(stands: BudgetStanding) -> str:
    budget = stands.budget
    what = ", ".join(f"{name} {value}" for name, value in budget.where.items())
    return f"{budget.org_id}{f', {what}' if what else ''}, {stands.period} (UTC)"


def _channels(stands: BudgetStanding, settings: AlertSettings) -> tuple[str, ...]:
    return settings.notify if stands.budget.notify is None else stands.budget.notify
