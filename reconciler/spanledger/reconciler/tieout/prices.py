"""Implied prices: what the provider charged for a unit, day by day, beside what the ledger books for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from spanledger.reconciler.tieout.items import Billed, Charge, Dims, Matched
from spanledger.semconv.money import CONTEXT

_ZERO: Final = Decimal(0)
_UNIT: Final = Decimal("1e-18")
_RATIO: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Meter:
    """What has one price: a model's token class in a service tier, batch or not (``"true"``, ``"false"``, ``""``)."""

    model: str
    token_class: str
    service_tier: str = ""
    batch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpliedPrice:
    """One meter on one of the provider's days.

    Attributes:
        day: the billing day.
        meter: what was charged for.
        quantity: billed units, more than 0.
        billed_usd: their money.
        matched_quantity: the part that the ledger knows and prices.
        matched_billed_usd: the billed money of that part.
        matched_booked_usd: its booked cost.
        tolerance_usd: by how much these two may differ from rounding alone.
        is_final: whether the provider may no longer restate the day.
    """

    day: date
    meter: Meter
    quantity: Decimal
    billed_usd: Decimal
    matched_quantity: Decimal
    matched_billed_usd: Decimal
    matched_booked_usd: Decimal
    tolerance_usd: Decimal
    is_final: bool

    @property
    def billed_unit_price(self) -> Decimal:
        """US dollars for one unit, as billed."""
        return CONTEXT.divide(self.billed_usd, self.quantity).quantize(_UNIT, context=CONTEXT)

    @property
    def booked_unit_price(self) -> Decimal | None:
        """US dollars for one unit, as booked; ``None`` when the ledger prices nothing here."""
        if self.matched_quantity <= 0:
            return None
        return CONTEXT.divide(self.matched_booked_usd, self.matched_quantity).quantize(_UNIT, context=CONTEXT)

    @property
    def drift(self) -> Decimal | None:
        """The share by which the billed price exceeds the booked one; 0 within rounding; ``None`` without one."""
        if self.matched_quantity <= 0 or self.matched_booked_usd <= 0:
            return None
        difference = self.matched_billed_usd - self.matched_booked_usd
        if abs(difference) <= self.tolerance_usd:
            return _ZERO
        return CONTEXT.divide(difference, self.matched_booked_usd).quantize(_RATIO, context=CONTEXT)


def implied_prices(billed: Iterable[Billed], matched: Iterable[Matched]) -> tuple[ImpliedPrice, ...]:
    """The implied prices of a bill.

    Args:
        billed: the bill's items, those without a quantity included (they imply no price).
        matched: what the ledger knew of them, and its cost.
    """
    lines: dict[tuple[date, Meter], list[Billed]] = defaultdict(list)
    for item in billed:
        if item.charge is Charge.USAGE and item.quantity and item.dims.token_class and item.dims.model:
            lines[item.dims.day, _meter(item.dims)].append(item)
    known: dict[tuple[date, Meter], list[Matched]] = defaultdict(list)
    for pair in matched:
        known[pair.dims.day, _meter(pair.dims)].append(pair)
    return tuple(
        price
        for (day, meter), items in sorted(lines.items())
        for price in (_price(day, meter, items, known[day, meter]),)
        if price.quantity > 0
    )


def _meter(dims: Dims) -> Meter:
    return Meter(model=dims.model, token_class=dims.token_class, service_tier=dims.service_tier, batch=dims.batch)


def _price(day: date, meter: Meter, items: Sequence[Billed], pairs: Sequence[Matched]) -> ImpliedPrice:
    return ImpliedPrice(
        day=day,
        meter=meter,
        quantity=sum((item.quantity or _ZERO for item in items), _ZERO),
        billed_usd=sum((item.amount for item in items), _ZERO),
        matched_quantity=sum((pair.quantity for pair in pairs), _ZERO),
        matched_billed_usd=sum((pair.billed for pair in pairs), _ZERO),
        matched_booked_usd=sum((pair.booked for pair in pairs), _ZERO),
        tolerance_usd=sum((pair.tolerance for pair in pairs), _ZERO),
        is_final=all(item.is_final for item in items),
    )
