"""Units of money as types, so that cents never meet dollars by accident.

Providers send dollars (OpenAI), fractional cents (Anthropic), integer cents with an inverted sign (xAI invoices), ticks
of 1e-10 dollars (xAI responses) and units with nanos (Google Money). A bill line takes `Money` only, and the only way
there is the explicit conversion of each unit: a mix-up does not type-check.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from spanledger.semconv.money import CONTEXT, parse

_CENT: Final = Decimal("0.01")
_TICK: Final = Decimal("1e-10")
_NANO: Final = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount in the major unit of an upper-case ISO 4217 (or virtual) currency."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Dollars:
    """Major units of a currency, as sent: dollars, euros."""

    value: Decimal

    @classmethod
    def read(cls, text: str | int | Decimal) -> Dollars:
        """Raises `spanledger.semconv.money.MoneyError` when the text is not an amount."""
        return cls(parse(text))

    def money(self, currency: str) -> Money:
        return Money(self.value, currency.upper())


@dataclass(frozen=True, slots=True)
class Cents:
    """Hundredths of a currency's major unit; may be fractional (``123.78912`` cents are 1.2378912 dollars)."""

    value: Decimal

    @classmethod
    def read(cls, text: str | int | Decimal) -> Cents:
        """Raises `spanledger.semconv.money.MoneyError` when the text is not an amount."""
        return cls(parse(text))

    def money(self, currency: str) -> Money:
        return Money(CONTEXT.multiply(self.value, _CENT), currency.upper())


@dataclass(frozen=True, slots=True)
class Ticks:
    """xAI's ticks: 10,000,000,000 to the US dollar."""

    value: int

    def money(self) -> Money:
        return Money(CONTEXT.multiply(Decimal(self.value), _TICK), "USD")


@dataclass(frozen=True, slots=True)
class Nanos:
    """google.type.Money: whole units plus billionths of a unit, both with the same sign."""

    units: int
    nanos: int

    def money(self, currency: str) -> Money:
        return Money(CONTEXT.add(Decimal(self.units), CONTEXT.multiply(Decimal(self.nanos), _NANO)), currency.upper())
