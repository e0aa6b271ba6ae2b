"""From a gathered report to what is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from spanledger.cli.reports.sections import (
    UNKNOWN,
    Column,
    Document,
    Kind,
    Record,
    Section,
    bounds,
    cents,
    percent,
    unseen_record,
)
from spanledger.reconciler.reporting.report import Part

if TYPE_CHECKING:
    from spanledger.reconciler.reporting.change import Change
    from spanledger.reconciler.reporting.forecast import Forecast
    from spanledger.reconciler.reporting.prices import Stretch, Suggestion
    from spanledger.reconciler.reporting.report import Report
    from spanledger.reconciler.reporting.shares import Share
    from spanledger.reconciler.reporting.spend import Spend
    from spanledger.reconciler.tieout.report import Tied
    from spanledger.reconciler.tieout.unseen import Unseen

_ZERO: Final = Decimal(0)
_COST: Final = Column("cost USD", "cost_usd", Kind.money, "cost_low_usd", "cost_high_usd")
_MEASURES: Final = (
    _COST,
    Column("calls", "calls", Kind.count),
    Column("input tokens", "input_tokens", Kind.count),
    Column("output tokens", "output_tokens", Kind.count),
)


def document(report: Report) -> Document:
    """Everything that was gathered, in the order in which it is read."""
    sections: list[Section] = []
    if Part.spend in report.parts:
        sections += _spend(report)
    if report.tied is not None and Part.variance in report.parts:
        sections += _variance(report.tied)
    if Part.chargeback in report.parts:
        sections.append(_chargeback(report.shares, report.by))
    if report.change is not None:
        sections += _change(report.change)
    if report.forecast is not None:
        sections.append(_forecast(report.forecast))
    if Part.prices in report.parts:
        sections.append(prices_section(report.prices, report.suggestions))
    return Document(
        title=f"Spanledger report, {report.period.name}",
        subtitle=f"organisation {report.org_id}, made on {report.today}, US dollars, days in UTC",
        facts=list(_facts(report)),
        sections=sections,
        problems=report.problems,
        fields={
            "org_id": report.org_id,
            "period": report.period.name,
            "since": report.period.start,
            "until": report.period.end,
            "made_on": report.today,
            "currency": "USD",
            "calls": report.total.calls,
            "unpriced_calls": report.total.unpriced_calls,
            "cost_usd": report.total.cost,
            "cost_low_usd": report.total.low,
            "cost_high_usd": report.total.high,
        },
    )


def _facts(report: Report) -> Iterator[tuple[str, str, str]]:
    total = report.total
    if total.cost is None:
        yield "booked", UNKNOWN, "no call has a price"
    elif total.is_bounded:
        yield "booked", bounds(total.low, total.high), "interrupted calls: the truth lies between"
    elif total.low is not None and total.low != total.cost:
        given = cents(total.low - total.cost)
        yield "booked", cents(total.low), f"{given} of it settled by the final bill, for interrupted calls"
    else:
        yield "booked", cents(total.cost), ""
    yield "calls", f"{total.calls:,}", f"{total.unpriced_calls:,} without a price" if total.unpriced_calls else ""
    tied = report.tied
    if tied is not None and tied.results:
        billed = sum((result.billed_usd for result in tied.results), _ZERO)
        booked = sum((result.booked_usd for result in tied.results), _ZERO)
        difference = billed - booked
        yield (
            "billed",
            cents(billed),
            f"{'+' if difference > 0 else ''}{cents(difference)} against {cents(booked)} booked",
        )
        covered = sum((r.coverage * r.billed_usd for r in tied.results if r.coverage is not None), _ZERO)
        base = sum((r.billed_usd for r in tied.results if r.coverage is not None), _ZERO)
        if base > 0:
            yield "coverage", percent(covered / base), "of the bill is known to the ledger"
    if report.change is not None:
        moved = report.change.after_usd - report.change.before_usd
        share = (
            f" ({'+' if moved > 0 else ''}{percent(moved / report.change.before_usd)})"
            if report.change.before_usd
            else ""
        )
        yield "change", f"{'+' if moved > 0 else ''}{cents(moved)}{share}", f"against {report.change.before.name}"
    if report.forecast is not None and report.forecast.expected is not None:
        found = report.forecast
        assert found.expected is not None
        error = "past error unknown" if found.error is None else f"past error {percent(found.error)}"
        yield f"{found.month:%Y-%m} will cost", cents(found.expected), error


def _measures(spend: Spend) -> dict[str, str | int | Decimal | None]:
    return {
        "calls": spend.calls,
        "errors": spend.errors,
        "unpriced_calls": spend.unpriced_calls,
        "input_tokens": spend.input_tokens,
        "output_tokens": spend.output_tokens,
        "cost_usd": spend.cost,
        "cost_low_usd": spend.low,
        "cost_high_usd": spend.high,
    }


def _spend(report: Report) -> Iterator[Section]:
    yield Section(
        name="spend",
        title=f"Spend by {', '.join(report.by)}",
        columns=[*(Column(name, name) for name in report.by), *_MEASURES],
        records=[{**dict(zip(report.by, spend.place, strict=True)), **_measures(spend)} for spend in report.owners],
        bar="cost_usd",
        empty="no calls in this period",
    )
    yield Section(
        name="models",
        title="Spend by model",
        columns=[Column("provider", "provider"), Column("model", "model"), *_MEASURES],
        records=[{"provider": spend.place[0], "model": spend.place[1], **_measures(spend)} for spend in report.models],
        bar="cost_usd",
        empty="no calls in this period",
    )
    yield Section(
        name="days",
        title="Spend by day",
        columns=[Column("day", "day"), *_MEASURES],
        records=[{"day": day, **_measures(spend)} for day, spend in sorted(report.days.items())],
        bar="cost_usd",
        days=True,
        empty="no calls in this period",
    )


def _variance(tied: Tied) -> Iterator[Section]:
    tied_records: list[Record] = [
        {
            "connection": result.connection,
            "provider": result.provider,
            "billed_usd": result.billed_usd,
            "booked_usd": result.booked_usd,
            "difference_usd": result.billed_usd - result.booked_usd,
            "variance": result.variance,
            "coverage": result.coverage,
            "missing_days": len(result.missing_days),
        }
        for result in tied.results
    ]
    yield Section(
        name="variance",
        title="Bill against ledger",
        columns=[
            Column("connection", "connection"),
            Column("provider", "provider"),
            Column("billed USD", "billed_usd", Kind.money),
            Column("booked USD", "booked_usd", Kind.money),
            Column("difference", "difference_usd", Kind.change),
            Column("variance", "variance", Kind.share),
            Column("coverage", "coverage", Kind.share),
        ],
        records=tied_records,
        empty="no bill of this period",
    )
    causes: list[Record] = [
        {
            "connection": name,
            "residual": cause.name.value,
            "amount_usd": cause.amount,
            "what": cause.what,
            "mend": cause.mend,
            "evidence": cause.evidence,
        }
        for name, found in tied.causes.items()
        for cause in found
    ]
    for name, title, sides in (
        ("shadow", "Shadow spend: billed, never seen in spans", tied.shadow),
        ("ghosts", "Ghost spend: seen in spans, on no bill", tied.ghosts),
    ):
        yield unseen_section(name, title, sides)
    yield Section(
        name="residuals",
        title="What the difference is made of",
        columns=[
            Column("connection", "connection"),
            Column("residual", "residual"),
            Column("USD", "amount_usd", Kind.change),
            Column("what", "what"),
            Column("mend", "mend"),
        ],
        records=causes,
        bar="amount_usd",
        empty="no difference",
    )


def unseen_section(name: str, title: str, sides: Mapping[str, Sequence[Unseen]]) -> Section:
    """Shadow or ghost spend, by connection."""
    return Section(
        name=name,
        title=title,
        columns=[
            Column("connection", "connection"),
            Column("kind", "kind"),
            Column("name", "name"),
            Column("USD", "amount_usd", Kind.money),
            Column("from", "first_day"),
            Column("to", "last_day"),
            Column("likely", "cause"),
            Column("mend", "mend"),
        ],
        records=[
            {"connection": connection, **unseen_record(each)} for connection, found in sides.items() for each in found
        ],
        empty="none",
    )


def prices_section(found: Sequence[Stretch], advice: Sequence[Suggestion]) -> Section:
    """Billed unit prices over time, and what would bring the books to them."""
    notes = [line for each in advice for line in (f"{each.why}:", f"  {each.command}")]
    return Section(
        name="prices",
        title="Billed prices, US dollars a million units",
        columns=[
            Column("provider", "provider"),
            Column("model", "model"),
            Column("class", "token_class"),
            Column("tier", "service_tier"),
            Column("batch", "batch"),
            Column("from", "first_day"),
            Column("to", "last_day"),
            Column("billed", "billed_unit_price", Kind.unit_price),
            Column("before", "changed_from", Kind.unit_price),
            Column("booked", "booked_unit_price", Kind.unit_price),
            Column("drift", "drift", Kind.share),
        ],
        records=[
            {
                "connection": stretch.connection,
                "provider": stretch.provider,
                "model": stretch.meter.model,
                "token_class": stretch.meter.token_class,
                "service_tier": stretch.meter.service_tier,
                "batch": stretch.meter.batch,
                "first_day": stretch.first_day,
                "last_day": stretch.last_day,
                "quantity": stretch.quantity,
                "billed_usd": stretch.billed_usd,
                "billed_unit_price": stretch.billed,
                "changed_from": stretch.changed_from,
                "booked_unit_price": stretch.booked,
                "drift": stretch.drift,
                "is_final": stretch.is_final,
            }
            for stretch in found
        ],
        notes=notes,
        empty="no bill gives quantities and money here, or no tie-out has run: spanledger reconcile --period 2026-11",
    )


def _chargeback(shares: Sequence[Share], by: Sequence[str]) -> Section:
    return Section(
        name="chargeback",
        title=f"Who pays the bill, by {', '.join(by)}",
        columns=[
            *(Column(name, name) for name in by),
            Column("usage USD", "usage_usd", Kind.money),
            Column("credits, tax, other", "overhead_usd", Kind.change),
            Column("pays USD", "amount_usd", Kind.money),
        ],
        records=[
            {
                **dict(zip(by, share.owner, strict=True)),
                "usage_usd": share.usage,
                "overhead_usd": share.overhead,
                "amount_usd": share.total,
            }
            for share in shares
        ],
        bar="amount_usd",
        notes=["the shares sum to the bill exactly; unattributed is what no call explains"] if shares else (),
        empty="no bill of this period: nothing to spread",
    )


def _change(change: Change) -> Iterator[Section]:
    sides = f"{change.before.name}: {cents(change.before_usd)}, {change.after.name}: {cents(change.after_usd)}"
    notes = [f"{sides}; the parts sum to the change exactly"]
    if not change.is_coverage_known:
        notes.append("coverage is unknown: both periods need a bill")
    meanings = {
        "volume": "more or fewer tokens",
        "mix": "other models, other share of output",
        "tier": "other service tiers, batch",
        "cache": "other share of cached input",
        "rate": "other unit prices",
        "coverage": "billed calls that no span told of",
    }
    yield Section(
        name="change",
        title=f"Why spend changed, {change.before.name} → {change.after.name}",
        columns=[Column("part", "part"), Column("USD", "amount_usd", Kind.change), Column("means", "means")],
        records=[
            {"part": part, "amount_usd": amount, "means": meanings[part]} for part, amount in change.parts.items()
        ],
        bar="amount_usd",
        notes=notes,
    )
    yield Section(
        name="model_changes",
        title="Change by model",
        columns=[
            Column("provider", "provider"),
            Column("model", "model"),
            Column("before USD", "before_usd", Kind.money),
            Column("after USD", "after_usd", Kind.money),
            Column("change", "change_usd", Kind.change),
        ],
        records=[
            {"provider": p, "model": m, "before_usd": old, "after_usd": new, "change_usd": new - old}
            for p, m, old, new in change.models
        ],
        bar="change_usd",
        empty="no calls in either period",
    )


def _forecast(found: Forecast) -> Section:
    notes = [found.reason] if found.reason else []
    if found.error is not None:
        notes.append(
            f"asked on {found.trials} earlier days for {found.horizon} days each, half the answers were within"
            f" {percent(found.error)} of what came; four in five ended between the bounds"
        )
    return Section(
        name="forecast",
        title=f"What {found.month:%Y-%m} will cost",
        columns=[
            Column("month", "month"),
            Column("spent USD", "spent_usd", Kind.money),
            Column("expected USD", "expected_usd", Kind.money),
            Column("at least", "low_usd", Kind.money),
            Column("at most", "high_usd", Kind.money),
            Column("past error", "error", Kind.share),
            Column("trials", "trials", Kind.count),
        ],
        records=[
            {
                "month": f"{found.month:%Y-%m}",
                "spent_usd": found.spent,
                "expected_usd": found.expected,
                "low_usd": found.low,
                "high_usd": found.high,
                "error": found.error,
                "trials": found.trials,
                "horizon_days": found.horizon,
                "reason": found.reason,
            }
        ],
        notes=notes,
    )
