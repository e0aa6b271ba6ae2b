"""How things stand: values that rules produce, the store keeps and channels tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Final

from spanledger.reconciler.alerts.settings import Budget

OK: Final = "ok"


class Kind(StrEnum):
    """What is watched."""

    BUDGET = "budget"
    FORECAST = "budget_forecast"
    BURN_RATE = "burn_rate"
    VARIANCE = "variance"
    COVERAGE = "coverage"
    UNPRICED = "unpriced"
    SYNC = "sync"
    PRICE_DRIFT = "price_drift"


class Severity(StrEnum):
    """How bad it is while it lasts."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One thing that is watched, now.

    Attributes:
        org_id: whose.
        kind: what is watched.
        subject: which one, with its period; stays the same while the state changes.
        state: ``ok``, or what it has come to; only a change of this text is told.
        title: one line.
        text: what it is, the numbers, and what to do.
        value: the number that is watched, and ``threshold`` where it becomes an alert.
        severity: how bad.
        holds: a state that is kept where it was before, although it would not begin now: no flapping at the threshold.
        channels: whom to tell; references.
    """

    org_id: str
    kind: Kind
    subject: str
    state: str
    title: str
    text: str
    value: Decimal
    threshold: Decimal
    severity: Severity = Severity.WARNING
    holds: str = ""
    channels: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return self.org_id, self.kind, self.subject


Key = tuple[str, str, str]
"""Organisation, kind and subject of an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStanding:
    """A budget in its current period.

    Attributes:
        budget: the budget.
        period: ``2026-11`` or ``2026-11-21`` (UTC).
        ends: the first day after the period.
        spent_usd: booked so far.
        forecast_usd: at the recent pace, by the end of the period; ``None`` while too little is known.
        burn_rate: the last hour's pace, and ``burn_rate_5m`` the last five minutes', as a multiple of what the budget
            allows.
        unpriced_calls: calls of the period that have no price and so are not in ``spent_usd``.
    """

    budget: Budget
    period: str
    ends: date
    spent_usd: Decimal
    forecast_usd: Decimal | None
    burn_rate: Decimal
    burn_rate_5m: Decimal
    unpriced_calls: int
