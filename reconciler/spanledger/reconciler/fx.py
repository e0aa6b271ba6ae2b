"""Foreign exchange: dated rates, so that a bill in euros can stand beside a ledger in dollars.

A rate is US dollars for one unit of the currency. The rate of a day is the last one known on or before it, up to
`MAX_AGE_DAYS` old (weekends, holidays). No rate means no dollar amount: it is never guessed.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final

from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.units import Money
from spanledger.semconv.money import CONTEXT, MoneyError, parse

MAX_AGE_DAYS: Final = 10


@dataclass(frozen=True, slots=True)
class Rate:
    """One unit of ``currency`` was worth ``usd`` dollars on ``day``."""

    currency: str
    day: date
    usd: Decimal
    source: str = ""


class FxRates:
    """Rates by currency and day. Dollars need none."""

    def __init__(self, rates: Iterable[Rate] = ()) -> None:
        by_currency: dict[str, dict[date, Decimal]] = {}
        for rate in rates:
            by_currency.setdefault(rate.currency.upper(), {})[rate.day] = rate.usd
        self._days: Mapping[str, list[date]] = {name: sorted(days) for name, days in by_currency.items()}
        self._rates: Mapping[str, dict[date, Decimal]] = by_currency

    def usd(self, money: Money, day: date) -> Decimal | None:
        """The amount in US dollars at the rate of ``day``; ``None`` when no rate is known."""
        if money.currency == "USD":
            return money.amount
        days = self._days.get(money.currency)
        if not days:
            return None
        place = bisect_right(days, day) - 1
        if place < 0 or (day - days[place]).days > MAX_AGE_DAYS:
            return None
        return CONTEXT.multiply(money.amount, self._rates[money.currency][days[place]])


def read_rates(path: Path) -> Iterator[Rate]:
    """Rates from a CSV file, in one of two layouts.

    * ``date,currency,usd``: one rate per line, dollars for one unit of the currency;
    * the European Central Bank's reference rates (``Date,USD,JPY,...``): units of each currency for one euro.

    Raises:
        ConfigError: the file cannot be read; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _rates(csv.reader(file), path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"exchange rates {path} cannot be read: {reason}") from None


def _rates(lines: Iterable[list[str]], path: Path) -> Iterator[Rate]:
    rows = iter(enumerate(lines, start=1))
    header = [name.strip().lower() for name in next(rows, (1, [""]))[1]]
    plain = header[:3] == ["date", "currency", "usd"]
    if not plain and not (header[:1] == ["date"] and "usd" in header):
        raise ConfigError(f"exchange rates {path}: the first line must be 'date,currency,usd' or the ECB's header")
    for number, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        try:
            day = date.fromisoformat(row[0].strip())
            if plain:
                rate = parse(row[2].strip())
                if rate <= 0:
                    raise MoneyError("not a positive rate")
                yield Rate(row[1].strip().upper(), day, rate, path.name)
            else:
                yield from _from_ecb(header, row, day, path.name)
        except (ValueError, IndexError) as error:
            raise ConfigError(f"exchange rates {path}, line {number}: {error}") from None


def _from_ecb(header: list[str], row: list[str], day: date, source: str) -> Iterator[Rate]:
    per_euro = {
        name: parse(cell.strip())
        for name, cell in zip(header[1:], row[1:], strict=False)
        if name and cell.strip() not in ("", "N/A")
    }
    dollars = per_euro.get("usd")
    if dollars is None:
        return
    yield Rate("EUR", day, dollars, source)
    for name, units in per_euro.items():
        if name != "usd" and units > 0:
            usd = CONTEXT.divide(dollars, units).quantize(Decimal("1e-18"), context=CONTEXT)
            yield Rate(name.upper(), day, usd, source)
