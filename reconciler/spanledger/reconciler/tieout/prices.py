"""Implied prices: what the provider charged for a unit, day by day, beside what the ledger books for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from operator import itemgetter
from typing import Final

from spanledger.reconciler.tieout.items import Billed, Charge, Matched
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


_Place = tuple[date, str, str, str, str]


@dataclass(slots=True)
class _Sums:
    quantity: Decimal = _ZERO
    billed: Decimal = _ZERO
    matched_quantity: Decimal = _ZERO
    matched_billed: Decimal = _ZERO
    matched_booked: Decimal = _ZERO
    tolerance: Decimal = _ZERO
    is_final: bool = True


def implied_prices(billed: Iterable[Billed], matched: Iterable[Matched]) -> tuple[ImpliedPrice, ...]:
    """The implied prices of a bill.

    Args:
        billed: the bill's items, those without a quantity included (they imply no price).
        matched: what the ledger knew of them, and its cost.
    """
    sums: dict[_Place, _Sums] = defaultdict(_Sums)
    for item in billed:
        dims = item.dims
        if item.quantity and item.charge is Charge.USAGE and dims.token_class and dims.model:
            here = sums[dims.day, dims.model, dims.token_class, dims.service_tier, dims.batch]
            here.quantity += item.quantity
            here.billed += item.amount
            here.is_final = here.is_final and item.is_final
    for pair in matched:
        dims = pair.dims
        known = sums.get((dims.day, dims.model, dims.token_class, dims.service_tier, dims.batch))
        if known is not None:
            known.matched_quantity += pair.quantity
            known.matched_billed += pair.billed
            known.matched_booked += pair.booked
            known.tolerance += pair.tolerance
    return tuple(
        ImpliedPrice(
            day=place[0],
            meter=Meter(model=place[1], token_class=place[2], service_tier=place[3], batch=place[4]),
            quantity=here.quantity,
            billed_usd=here.billed,
            matched_quantity=here.matched_quantity,
            matched_billed_usd=here.matched_billed,
            matched_booked_usd=here.matched_booked,
            tolerance_usd=here.tolerance,
            is_final=here.is_final,
        )
        for place, here in sorted(sums.items(), key=itemgetter(0))
        if here.quantity > 0
    )
