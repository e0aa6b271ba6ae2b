"""What a closed period's file holds beside today's rows, so that it stays at what was stated.

Spans arrive and bills move after a closing. A file of a closed period sums to its statement: what has changed since is
taken out of it, by provider, model, team and feature, and by residual. It comes in with the file of the next period
that is closed, as the adjustments of that statement: FOCUS calls such a row, about a period that was invoiced before,
a Correction.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

from spanledger.semconv.money import CONTEXT, parse

_ZERO: Final = Decimal(0)
_Key = TypeVar("_Key", bound=tuple[str, ...])

AFTER_CLOSE: Final = "after_close"
"""The residual of money that was booked, or taken back, after the statement."""


@dataclass(frozen=True, slots=True)
class Line:
    """An amount beside the booked spend and the residuals of a tie-out.

    Attributes:
        provider, connection, model, team, feature: whose; ``""`` where the statement does not say.
        residual: a name of the tie-out, `AFTER_CLOSE`, or ``""`` for booked spend.
        day: on which it stands.
        amount: US dollars.
        cause: why it is there.
        is_correction: whether it is about an earlier period.
    """

    provider: str
    connection: str
    model: str
    residual: str
    day: date
    amount: Decimal
    cause: str
    is_correction: bool
    team: str = ""
    feature: str = ""


_OWNED: Final = ("provider", "model", "team_id", "feature")
"""What a statement's totals of booked spend are told apart by; those of older ones only by the first two."""


class Kept:
    """A period's statement, against the rows that its file has today."""

    def __init__(self, document: str, last_day: date) -> None:
        self._body: Mapping[str, Any] = json.loads(document)["body"]
        self._last_day = last_day
        self._by = [name for name in _OWNED if all(name in each for each in self._body["ledger"])]
        self._booked: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
        self._residuals: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)

    def count_booked(self, row: Mapping[str, Any]) -> None:
        """A row of booked spend goes into the file."""
        key = tuple(row[name] for name in self._by)
        self._booked[key] = CONTEXT.add(self._booked[key], row["cost"])

    def count_residual(self, row: Mapping[str, Any]) -> None:
        """A residual goes into the file."""
        key = row["provider"], row["connection"], row["residual"]
        self._residuals[key] = CONTEXT.add(self._residuals[key], row["amount"])

    def lines(self) -> list[Line]:
        """What leads from the rows that were counted to what was stated, then the adjustments of earlier periods."""
        booked = {tuple(each[name] for name in self._by): parse(each["cost_usd"]) for each in self._body["ledger"]}
        residuals = {
            (connection["provider"], connection["name"], name): parse(amount)
            for connection in self._body["connections"]
            for name, amount in connection["residuals"].items()
        }
        cause = "came after the period was closed; an adjustment of a later period"
        found = [
            Line(provider, "", model, AFTER_CLOSE, self._last_day, amount, cause, False, *owner)
            for (provider, model, *owner), amount in _differences(booked, self._booked)
        ]
        found += [
            Line(provider, connection, "", name, self._last_day, amount, cause, is_correction=False)
            for (provider, connection, name), amount in _differences(residuals, self._residuals)
        ]
        return found + self._adjustments()

    def _adjustments(self) -> list[Line]:
        providers = {each["name"]: each["provider"] for each in self._body["connections"]}
        booked: Mapping[str, Sequence[Mapping[str, str]]] = self._body.get("ledger_adjustments", {})
        found = [
            Line(
                row["provider"],
                "",
                row["model"],
                "",
                _last_day(period),
                parse(row["cost_usd"]),
                f"changed since {period} was stated",
                is_correction=True,
                team=row["team_id"],
                feature=row["feature"],
            )
            for period, rows in booked.items()
            for row in rows
        ]
        for change in self._body.get("adjustments", ()):
            connection, period = change["connection"], change["period"]
            amounts = dict(change["residuals"])
            if period not in booked:
                amounts[""] = change["booked_usd"]
            found += [
                Line(
                    providers.get(connection, ""),
                    connection,
                    "",
                    name,
                    _last_day(period),
                    parse(amount),
                    f"changed since {period} was stated",
                    is_correction=True,
                )
                for name, amount in amounts.items()
                if parse(amount)
            ]
        return found


def _differences(stated: Mapping[_Key, Decimal], current: Mapping[_Key, Decimal]) -> Iterable[tuple[_Key, Decimal]]:
    for key in sorted(stated.keys() | current.keys()):
        difference = CONTEXT.subtract(stated.get(key, _ZERO), current.get(key, _ZERO))
        if difference:
            yield key, difference


def _last_day(period: str) -> date:
    """Of the name of a period: a month, a day, or the first and the last day."""
    parts: Sequence[str] = period.partition("..")
    if parts[2]:
        return date.fromisoformat(parts[2])
    if len(period) == len("2026-11-03"):
        return date.fromisoformat(period)
    first = date.fromisoformat(f"{period}-01")
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
