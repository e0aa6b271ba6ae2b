"""What a period comes to, as it was stated and as it is now: the difference is an adjustment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from spanledger.reconciler.closing.entry import Entry
from spanledger.reconciler.tieout.run import TieOut
from spanledger.semconv.money import parse, text


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


def _sum(one: Mapping[str, Decimal], other: Mapping[str, Decimal], sign: int) -> dict[str, Decimal]:
    names = sorted(one.keys() | other.keys())
    return {name: one.get(name, Decimal(0)) + sign * other.get(name, Decimal(0)) for name in names}
