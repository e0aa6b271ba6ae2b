"""What a period comes to, as it was stated and as it is now: the difference is an adjustment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, TypeVar

from spanledger.reconciler.closing.entry import Entry
from spanledger.reconciler.tieout.run import TieOut
from spanledger.semconv.money import parse, text

_Name = TypeVar("_Name", str, tuple[str, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """One connection's period: billed, booked, and the named parts of the difference, in US dollars."""

    billed: Decimal = Decimal(0)
    booked: Decimal = Decimal(0)
    residuals: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])

    @classmethod
    def of(cls, result: TieOut) -> Totals:
        residuals = {name.value: amount for name, amount in result.residuals().items()}
        return cls(billed=result.billed_usd, booked=result.booked_usd, residuals=residuals)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Totals:
        """From a statement's connection or adjustment."""
        return cls(
            billed=parse(document["billed_usd"]),
            booked=parse(document["booked_usd"]),
            residuals={name: parse(amount) for name, amount in document.get("residuals", {}).items()},
        )

    def plus(self, other: Totals) -> Totals:
        return Totals(
            billed=self.billed + other.billed,
            booked=self.booked + other.booked,
            residuals=_sum(self.residuals, other.residuals, 1),
        )

    def minus(self, stated: Totals) -> dict[str, Any]:
        """The adjustment that leads from what was stated to this; empty when no money has changed."""
        if (self.billed, self.booked) == (stated.billed, stated.booked):
            return {}
        return {
            "billed_usd": text(self.billed - stated.billed),
            "booked_usd": text(self.booked - stated.booked),
            "was": {"billed_usd": text(stated.billed), "booked_usd": text(stated.booked)},
            "now": {"billed_usd": text(self.billed), "booked_usd": text(self.booked)},
            "residuals": {
                n: text(amount) for n, amount in _sum(self.residuals, stated.residuals, -1).items() if amount
            },
        }


def stated_totals(log: Sequence[Entry], period: str) -> dict[str, Totals]:
    """By connection, as last closed, later adjustments included."""
    stated: dict[str, Totals] = {}
    for entry in log:
        body = entry.statement.body
        if entry.period == period and entry.action == "close":
            stated = {each["name"]: Totals.read(each) for each in body["connections"]}
            continue
        for change in body.get("adjustments", ()):
            if change["period"] == period:
                stated[change["connection"]] = stated.get(change["connection"], Totals()).plus(Totals.read(change))
    return stated


OWNED: Final = ("provider", "model", "team_id", "feature")
"""What booked spend is told apart by in a statement."""

_Owned = tuple[str, ...]


def ledger_adjustments(
    log: Sequence[Entry], period: str, current: Sequence[Mapping[str, str]]
) -> list[dict[str, str]] | None:
    """How booked spend has changed since everything that was stated about a period.

    Args:
        log: all entries of an org.
        period: a closed one.
        current: the ledger's totals of it as they are now.

    Returns:
        One row for each provider, model, team and feature whose cost differs; ``None`` for a period that was closed
        when statements did not tell teams apart: there `Totals` hold the change.
    """
    stated: dict[_Owned, Decimal] | None = None
    for entry in log:
        body = entry.statement.body
        if entry.period == period and entry.action == "close":
            stated = _costs(body["ledger"]) if "ledger_adjustments" in body else None
        elif stated is not None:
            stated = _sum(stated, _costs(body.get("ledger_adjustments", {}).get(period, ())), 1)
    if stated is None:
        return None
    return [
        {**dict(zip(OWNED, owner, strict=True)), "cost_usd": text(amount)}
        for owner, amount in _sum(_costs(current), stated, -1).items()
        if amount
    ]


def _costs(rows: Iterable[Mapping[str, str]]) -> dict[_Owned, Decimal]:
    return {tuple(row[name] for name in OWNED): parse(row["cost_usd"]) for row in rows}


def _sum(one: Mapping[_Name, Decimal], other: Mapping[_Name, Decimal], sign: int) -> dict[_Name, Decimal]:
    names = sorted(one.keys() | other.keys())
    return {name: one.get(name, Decimal(0)) + sign * other.get(name, Decimal(0)) for name in names}
