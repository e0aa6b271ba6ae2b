"""Quantities still to be matched, divisible without losing a unit of money.

A pool hands out parts of an item: the money of a part is proportional to its quantity, rounded to the ledger's scale,
and the last part takes what is left, so that the parts always sum to the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from spanledger.reconciler.tieout.items import Billed, Booked, Dims
from spanledger.semconv.money import CONTEXT, to_ledger

ZERO = Decimal(0)


def share(money: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """``money * part / whole`` at the ledger's scale; all of it when the part is the whole."""
    if part == whole:
        return money
    return to_ledger(CONTEXT.divide(CONTEXT.multiply(money, part), whole))


@dataclass(slots=True)
class BilledPool:
    """What is left of one billed item that has a quantity."""

    item: Billed
    dims: Dims
    quantity: Decimal
    amount: Decimal

    @classmethod
    def of(cls, item: Billed) -> BilledPool:
        return cls(item, item.dims, item.quantity or ZERO, item.amount)

    def take(self, quantity: Decimal) -> Decimal:
        """Remove a quantity and return its money."""
        money = share(self.amount, quantity, self.quantity)
        self.quantity -= quantity
        self.amount -= money
        return money


@dataclass(slots=True)
class BookedPool:
    """What is left of one booked item: first its priced part, then its unpriced part."""

    item: Booked
    dims: Dims
    priced: Decimal
    cost: Decimal
    unpriced: Decimal

    @classmethod
    def of(cls, item: Booked) -> BookedPool:
        return cls(item, item.dims, item.quantity, item.cost, item.unpriced_quantity)

    def take_priced(self, quantity: Decimal) -> Decimal:
        """Remove a priced quantity and return its cost."""
        money = share(self.cost, quantity, self.priced)
        self.priced -= quantity
        self.cost -= money
        return money
