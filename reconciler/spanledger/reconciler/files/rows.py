"""Reading cells of a bill's row: amounts, times, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from spanledger.reconciler.bill_line import BillLine
from spanledger.reconciler.files.tables import Row
from spanledger.reconciler.units import Dollars, Money
from spanledger.semconv.money import MoneyError, parse


class RowError(ValueError):
    """A row cannot become a line; the text says which cell and why."""


class Skip(Exception):  # noqa: N818 - not an error: the row is somebody else's
    """A row is not part of the bill in question; the text says why."""


@dataclass(slots=True)
class Remarks:
    """What a reader noticed, by kind.

    Attributes:
        counts: how often each.
        decimal: the decimal sign that the numbers of the files have shown so far.
    """

    counts: dict[str, int] = field(default_factory=dict[str, int])
    decimal: str = ""

    def note(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1


class RowReader(Protocol):
    """Turns rows of one format into lines."""

    @property
    def required(self) -> tuple[str, ...]:
        """Columns without which nothing can be read."""
        ...

    def read(self, row: Row, remarks: Remarks) -> Iterable[BillLine]:
        """The lines of a row.

        Raises:
            RowError: a cell cannot be read.
            Skip: the row belongs to something else.
        """
        ...


def cell(row: Row, *names: str) -> str:
    """The first of the columns that has a value; the words ``null`` and ``N/A`` count as none."""
    for name in names:
        value = row.get(name, "")
        if value and value.lower() not in ("null", "n/a", "none"):
            return value
    return ""


def number(row: Row, *names: str) -> Decimal | None:
    """An exact number, ``None`` when the cell is empty. Raises `RowError`."""
    said = cell(row, *names)
    if not said:
        return None
    try:
        return parse(said)
    except MoneyError:
        raise RowError(f"{names[0]}: {said!r} is not a number") from None


def money(row: Row, column: str, currency: str) -> Money | None:
    """An amount in major units, ``None`` when the cell is empty. Raises `RowError`."""
    amount = number(row, column)
    if amount is None:
        return None
    if not currency:
        raise RowError(f"{column}: an amount without a currency")
    return Dollars(amount).money(currency)


def instant(row: Row, *names: str) -> datetime:
    """A time; without a zone it is UTC. Raises `RowError`."""
    said = cell(row, *names)
    try:
        return in_utc(datetime.fromisoformat(said.replace("/", "-") if "T" not in said else said))
    except ValueError:
        raise RowError(f"{names[0]}: {said!r} is not a time like 2026-11-01T00:00:00Z") from None


def in_utc(moment: datetime) -> datetime:
    """A time in UTC; without a zone it is UTC already. Raises `ValueError`: not from 2000 to 2199, so no bill's."""
    if not 2000 <= moment.year < 2200:
        raise ValueError(f"{moment.year} is no year of a bill")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def month_of(moment: datetime) -> str:
    """The billing period that begins at ``moment``, as a slot name."""
    return f"{moment:%Y-%m}"


def dimensions(row: Row, **columns: str) -> dict[str, str]:
    """Named dimensions from columns that have a value."""
    return {name: row[column] for name, column in columns.items() if row.get(column)}
