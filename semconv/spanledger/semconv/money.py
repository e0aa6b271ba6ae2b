"""The rules of money: exact decimals in, exact decimals out.

Amounts are ``decimal.Decimal`` in US dollars unless a name says otherwise. They are never floats, never clamped, and
rounded in one place only: when they enter the ledger's ``Decimal(38, 12)`` columns (`to_ledger`).
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Final

LEDGER_SCALE: Final = 12
"""Digits behind the point of every money column: one unit is a millionth of a micro-dollar."""

CONTEXT: Final = Context(prec=76, rounding=ROUND_HALF_EVEN)
"""Wide enough that no product of a token count and a rate is ever rounded (providers send 30+ decimals)."""

_QUANTUM: Final = Decimal(1).scaleb(-LEDGER_SCALE)
_LIMIT: Final = Decimal(10) ** (38 - LEDGER_SCALE)


class MoneyError(ValueError):
    """A text is not an amount, or an amount does not fit the ledger."""


def parse(text: str | int | Decimal) -> Decimal:
    """Read an exact amount from a decimal text (scientific notation included), an int or a Decimal.

    Raises:
        MoneyError: the text is not a finite decimal number. Floats are refused by type: pass the text they came from.
    """
    # Callers hold parsed JSON: the type is a promise that their data may break.
    if isinstance(text, bool) or not isinstance(text, (str, int, Decimal)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise MoneyError(f"an amount must be a decimal text, not {type(text).__name__}")
    try:
        amount = CONTEXT.create_decimal(text)
    except InvalidOperation as error:
        raise MoneyError(f"not an amount: {text!r}") from error
    if not amount.is_finite():
        raise MoneyError(f"not an amount: {text!r}")
    return amount if amount else Decimal(0)


def to_ledger(amount: Decimal) -> Decimal:
    """Round half-even to the ledger's scale; the only place where money is rounded.

    Raises:
        MoneyError: the amount has more than 26 digits before the point.
    """
    if abs(amount) >= _LIMIT:
        raise MoneyError(f"amount too large for the ledger: {amount}")
    return amount.quantize(_QUANTUM, context=CONTEXT)


def text(amount: Decimal) -> str:
    """The plain decimal text of an amount: no exponent, no trailing zeros (``0.0025``, ``12``, ``-3.5``)."""
    plain = format(amount.normalize(CONTEXT) if amount else Decimal(0), "f")
    return plain or "0"
