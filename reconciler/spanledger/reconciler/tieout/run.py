"""One tie-out: a connection's bill for a period against what the ledger booked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Final

from spanledger.reconciler.spread import spread
from spanledger.reconciler.tieout.bill import BillRow, billed_items
from spanledger.reconciler.tieout.grain import Grain
from spanledger.reconciler.tieout.interrupted import Interrupted, Narrowed, narrow
from spanledger.reconciler.tieout.items import SPLIT_DIMS, Billed, Booked, Charge, Finding, ResidualName
from spanledger.reconciler.tieout.match import match
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.prices import ImpliedPrice, implied_prices
from spanledger.reconciler.windows import next_month

_ZERO: Final = Decimal(0)
_WHOLE_CALL: Final = attrgetter("day", "model", *SPLIT_DIMS)

FINAL_AFTER_DAYS: Final = 35
"""A day without any line is settled by then: the longest revision window that a provider documents is 30 days."""

LATE_AFTER_DAYS: Final = 2
"""A completed day's bill is there after two days at the latest; an older day that was never pulled is missing data."""

NEVER_SYNCED: Final = "these days were never synced"
"""Why what is booked on some days is on no bill yet."""

EXPECTED: Final = frozenset(
    {
        ResidualName.CREDITS_AND_DISCOUNTS,
        ResidualName.TAX,
        ResidualName.TIMING,
        ResidualName.ROUNDING,
        ResidualName.NOT_FINAL_YET,
    }
)
"""Residuals that need nobody's attention: they do not count as variance."""


class PeriodError(ValueError):
    """A period is not written as ``2026-11``, ``2026-11-03`` or ``2026-11-01..2026-11-15``."""


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days ``[start, end)`` of the provider's calendar."""

    start: date
    end: date
    name: str

    @classmethod
    def parse(cls, text: str) -> Period:
        """Read a month, a day, or an inclusive range of days.

        Raises:
            PeriodError: it is none of them.
        """
        try:
            if re.fullmatch(r"\d{4}-\d{2}", text):
                first = date.fromisoformat(f"{text}-01")
                return cls(first, next_month(first), text)
            start, _, end = text.partition("..")
            first, last = _day(start), _day(end or start)
            after = last + timedelta(days=1)
        except (ValueError, OverflowError) as error:
            raise PeriodError(
                f"not a period: {text!r}; write a month (2026-11), a day (2026-11-03) or days (2026-11-01..2026-11-15)"
            ) from error
        if last < first:
            raise PeriodError(f"the period {text!r} ends before it begins: swap its days")
        return cls(first, after, text)

    def days(self) -> list[date]:
        return [self.start + timedelta(days=n) for n in range((self.end - self.start).days)]


def _day(text: str) -> date:
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        # Python also reads 20261103 and 2026-W45-2: then one period would have several names.
        raise ValueError(text)
    return day


@dataclass(frozen=True, slots=True, kw_only=True)
class TieOut:
    """The result for one connection and period.

    Attributes:
        connection: the connection's name.
        provider: who bills; several are joined with ``+``.
        period: the period.
        billed_usd: the bill, everything included.
        booked_usd: the ledger's cost; ``booked_high_usd`` with the upper bounds of interrupted calls, as far as the
            bill has not settled them.
        coverage: the share of billed usage that the ledger saw (0 to 1); ``None`` when nothing was billed.
        findings: the named parts of billed minus booked; they sum to it exactly.
        missing_days: completed days that were never pulled.
        problems: what the reader must know: other currencies without a rate, several accounts, an empty ledger, ...
        interrupted: interrupted calls, and what the bill gives them.
        prices: what the bill charges for a unit, by day.
        final_days: days whose bill is there and will not move any more.
        lines_without_rate: lines that are left out because nobody knows an exchange rate for them.
        billed: the bill's items of the period.
        booked: the ledger's items of the period, as long as they are needed.
        grain: where the bill only knows longer periods than days.
    """

    connection: str
    provider: str
    period: Period
    billed_usd: Decimal
    booked_usd: Decimal
    booked_high_usd: Decimal
    coverage: Decimal | None
    findings: tuple[Finding, ...]
    grain: Grain = field(repr=False, compare=False)
    missing_days: tuple[date, ...] = ()
    problems: tuple[str, ...] = ()
    interrupted: tuple[Narrowed, ...] = ()
    prices: tuple[ImpliedPrice, ...] = ()
    final_days: tuple[date, ...] = ()
    lines_without_rate: int = field(default=0, repr=False)
    billed: tuple[Billed, ...] = field(default=(), repr=False)
    booked: tuple[Booked, ...] = field(default=(), repr=False)

    @property
    def booked_low_usd(self) -> Decimal:
        """The ledger's cost with what the bill gives to interrupted calls on final days."""
        return self.booked_usd + sum((each.given for each in self.interrupted), _ZERO)

    @property
    def has_open_calls(self) -> bool:
        """Whether interrupted calls that the bill has not settled have no upper limit."""
        return any(each.high is None for each in self.interrupted)

    def residuals(self) -> dict[ResidualName, Decimal]:
        """The sum of each name that occurs."""
        sums: dict[ResidualName, Decimal] = defaultdict(Decimal)
        for finding in self.findings:
            sums[finding.name] += finding.amount
        return {name: sums[name] for name in ResidualName if name in sums}

    @property
    def is_incomplete(self) -> bool:
        """Whether a part of the bill is not there: completed days that were never pulled, lines without a rate."""
        return bool(self.missing_days or self.lines_without_rate)

    @property
    def variance(self) -> Decimal:
        """What needs attention, as a share of the larger side; opposite findings do not cancel."""
        residuals = self.residuals()
        if ResidualName.MISSING_TELEMETRY in residuals:
            # What settles interrupted calls is explained.
            residuals[ResidualName.MISSING_TELEMETRY] -= sum((each.given for each in self.interrupted), _ZERO)
        open_money = sum((abs(a) for name, a in residuals.items() if name not in EXPECTED), _ZERO)
        return open_money / max(abs(self.billed_usd), abs(self.booked_usd)) if open_money else _ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a tie-out is made from, a day wider than the period on both sides."""

    connection: str
    provider: str
    rows: Sequence[BillRow]
    booked: Sequence[Booked]
    pulled_days: Collection[date]
    problems: tuple[str, ...] = ()
    interrupted: Sequence[Interrupted] = ()


def run_tie_out(evidence: Evidence, period: Period, names: ModelNames, *, today: date) -> TieOut:
    """Tie out one connection.

    Args:
        evidence: the bill and the books.
        period: the days that count; the neighbouring days only serve to recognise calls over midnight.
        names: how models are called.
        today: the current day, UTC.
    """
    grain = Grain.of(evidence.rows, period.start, period.end, names.family)
    rows, booked = grain.rows(evidence.rows), grain.used(_classed(evidence.booked, names))
    billed = billed_items(rows, names)
    missing = tuple(
        day
        for day in period.days()
        if day < today - timedelta(days=LATE_AFTER_DAYS) and day not in evidence.pulled_days
    )
    final = _finality(billed, missing, today)
    matching = match(booked, billed, is_final=final, family=names.family)
    billed_here = [item for item in billed if period.start <= item.dims.day < period.end]
    final_days = frozenset(item.dims.day for item in billed_here if final(item.dims.day))
    broken = grain.used(_canonical(evidence.interrupted, names))
    findings, narrowed = narrow(
        [_said(finding, final) for finding in matching.findings if period.start <= finding.dims.day < period.end],
        [item for item in broken if period.start <= item.dims.day < period.end],
        is_final=lambda dims: dims.day in final_days,
        family=names.family,
    )
    booked_here = [item for item in booked if period.start <= item.dims.day < period.end]
    here = [row for row in rows if period.start <= row.day < period.end]
    billed_usd = sum((item.amount for item in billed_here), _ZERO)
    booked_usd = sum((item.cost for item in booked_here), _ZERO)
    return TieOut(
        connection=evidence.connection,
        provider=evidence.provider,
        period=period,
        billed_usd=billed_usd,
        booked_usd=booked_usd,
        booked_high_usd=booked_usd
        + sum((item.high - item.cost for item in booked_here if item.high is not None), _ZERO)
        + sum((each.given if each.is_final else each.interrupted.room for each in narrowed), _ZERO),
        coverage=_coverage(billed_here, findings),
        findings=tuple(findings),
        missing_days=missing,
        problems=evidence.problems + _problems(here, booked_here, billed_here),
        interrupted=tuple(narrowed),
        prices=implied_prices(
            billed_here, [pair for pair in matching.matched if period.start <= pair.dims.day < period.end]
        ),
        final_days=tuple(sorted(final_days)),
        lines_without_rate=sum(row.without_rate for row in here),
        billed=tuple(billed_here),
        booked=tuple(booked_here),
        grain=grain,
    )


def _said(finding: Finding, final: _Finality) -> Finding:
    """A finding of a day whose bill is not there says so."""
    if finding.likely is not None and final.is_missing(finding.dims.day):
        return replace(finding, cause=NEVER_SYNCED)
    return finding


def _canonical(interrupted: Sequence[Interrupted], names: ModelNames) -> list[Interrupted]:
    return [replace(each, dims=replace(each.dims, model=names.canonical(each.dims.model))) for each in interrupted]


def _classed(booked: Sequence[Booked], names: ModelNames) -> list[Booked]:
    """Give the money that no class carries (one exact amount for a whole call) to the classes, by quantity."""
    places: dict[Hashable, list[Booked]] = defaultdict(list)
    for item in booked:
        model = names.canonical(item.dims.model)
        named = item if model == item.dims.model else replace(item, dims=replace(item.dims, model=model))
        places[_WHOLE_CALL(named.dims)].append(named)
    classed: list[Booked] = []
    for items in places.values():
        split = [item for item in items if item.dims.token_class]
        rest = sum((item.cost for item in items if not item.dims.token_class), _ZERO)
        weights = {n: item.quantity for n, item in enumerate(split) if item.quantity > 0}
        if rest and weights:
            for n, amount in spread(rest, weights).items():
                split[n] = replace(split[n], cost=split[n].cost + amount)
            classed += split
        else:
            classed += split + [item for item in items if not item.dims.token_class and item.cost]
    return classed


class _Finality:
    """Whether the provider may still restate a day."""

    def __init__(
        self,
        open_days: frozenset[date],
        billed_days: frozenset[date],
        missing_days: frozenset[date],
        settled_before: date,
    ) -> None:
        self._open = open_days
        self._billed = billed_days
        self._missing = missing_days
        self._settled_before = settled_before

    def __call__(self, day: date) -> bool:
        if day in self._billed:
            return day not in self._open
        return day < self._settled_before and day not in self._missing

    def is_missing(self, day: date) -> bool:
        """Whether nobody knows the day's bill: it was never synced."""
        return day in self._missing and day not in self._billed


def _finality(billed: Sequence[Billed], missing_days: Iterable[date], today: date) -> _Finality:
    days = frozenset(item.dims.day for item in billed)
    open_days = frozenset(item.dims.day for item in billed if not item.is_final)
    settled = [day for day in days if day not in open_days]
    # A day without lines between settled ones is settled too: the provider charged nothing.
    return _Finality(
        open_days, days, frozenset(missing_days), max([*settled, today - timedelta(days=FINAL_AFTER_DAYS)])
    )


def _coverage(billed: Sequence[Billed], findings: Sequence[Finding]) -> Decimal | None:
    usage = sum((i.amount for i in billed if i.charge not in (Charge.TAX, Charge.CREDIT)), _ZERO)
    if usage <= 0:
        return None
    unseen = {ResidualName.MISSING_TELEMETRY, ResidualName.TOOL_FEES, ResidualName.UNMATCHED_LINE}
    missed = sum((f.amount for f in findings if f.name in unseen and f.amount > 0), _ZERO)
    return max(_ZERO, min(Decimal(1), (usage - missed) / usage))


def _many(number: int, noun: str, of: str = "") -> str:
    of = f" {of}" if of else ""
    return f"1 {noun}{of} is" if number == 1 else f"{number} {noun}s{of} are"


def _problems(rows: Sequence[BillRow], booked: Sequence[Booked], billed: Sequence[Billed]) -> tuple[str, ...]:
    problems: list[str] = []
    foreign = sorted({row.currency for row in rows if row.without_rate})
    if foreign:
        lines, of = sum(row.without_rate for row in rows), f"in {', '.join(foreign)}"
        problems.append(
            f"{_many(lines, 'line', of)} left out: no exchange rate is known for their days; "
            "spanledger bills rates FILE, then spanledger bills reparse"
        )
    currencies = sorted({row.currency for row in rows if row.kind == "cost" and row.amount_usd is not None})
    if set(currencies) - {"USD", ""}:
        problems.append(f"the bill is in {' and '.join(currencies)}: converted to US dollars at each day's rate")
    if not booked:
        problems.append("the ledger is empty here: nothing was booked for this provider in the period")
    if not billed:
        problems.append("the bill is empty here: the provider charged nothing, or nothing was synced")
    negative = [
        (row.lines, row.amount_usd)
        for row in rows
        if row.kind == "cost" and row.charge == "usage" and row.amount_usd is not None and row.amount_usd < 0
    ]
    if negative:
        lines, amount = sum(lines for lines, _ in negative), sum(amount for _, amount in negative)
        problems.append(
            f"{_many(lines, 'usage line')} negative (${amount:.2f} in all): corrections that "
            "the provider books as usage; taken off where they say how many tokens, else counted as credits"
        )
    return tuple(problems)
