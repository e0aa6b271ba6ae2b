"""What the tie-out compares: booked items (the ledger) and billed items (the provider), and the named residuals.

Both sides are plain values; reading them from the store is somebody else's job. Money is exact ``Decimal`` US dollars,
quantities are exact ``Decimal`` (tokens, or uses for tool classes such as ``web_searches``), days are the provider's
billing days.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from typing import Final


class ResidualName(StrEnum):
    """Every difference between billed and booked has exactly one of these names; together they sum to it."""

    MISSING_TELEMETRY = "missing_telemetry"
    EXCESS_TELEMETRY = "excess_telemetry"
    RATE_DIFFERENCE = "rate_difference"
    UNPRICED = "unpriced"
    TOOL_FEES = "tool_fees"
    CREDITS_AND_DISCOUNTS = "credits_and_discounts"
    TAX = "tax"
    TIMING = "timing"
    ROUNDING = "rounding"
    NOT_FINAL_YET = "not_final_yet"
    UNMATCHED_LINE = "unmatched_line"
    UNEXPLAINED = "unexplained"


class Charge(StrEnum):
    """What a bill line charges for."""

    USAGE = "usage"
    TOOL_FEE = "tool_fee"
    CREDIT = "credit"
    TAX = "tax"
    UNMATCHED = "unmatched"
    """The line's model or meter is in no table: shown, never dropped, never guessed."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Dims:
    """Where an item belongs. ``""`` means that this side does not say, which is compatible with anything.

    ``batch`` is ``"true"``, ``"false"`` or ``""``.
    """

    day: date
    model: str = ""
    token_class: str = ""
    api_key: str = ""
    project: str = ""
    workspace: str = ""
    service_tier: str = ""
    batch: str = ""


dims_order: Final = attrgetter(*(field.name for field in fields(Dims)))
"""A place as a plain tuple that sorts as the place does, without a Python call for each comparison."""

SPLIT_DIMS: Final = ("api_key", "project", "workspace", "service_tier", "batch")
"""The dimensions below (day, model, token class), finest first: the order in which the grain is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What the ledger holds for one place: priced quantity with its cost, and quantity that has no price.

    Attributes:
        dims: the place.
        quantity: priced units.
        cost: their cost.
        unpriced_quantity: units of calls whose cost is NULL.
        high: upper bound of ``cost`` where some calls are bounded; equal to ``cost`` otherwise.
    """

    dims: Dims
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    unpriced_quantity: Decimal = Decimal(0)
    high: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """What the provider charges for one place.

    Attributes:
        dims: the place.
        amount: dollars charged.
        quantity: units charged; ``None`` when neither the bill nor the usage report says.
        charge: what for.
        is_final: whether the provider's finality rule says that the day will not move any more.
        lines: how many bill lines stand behind it (each may be rounded by half a unit of its last digit).
        quantum: the unit of the amount's last digit as printed by the provider (``0.01`` for cents).
        source_ids: the bill lines behind it.
    """

    dims: Dims
    amount: Decimal
    quantity: Decimal | None = None
    charge: Charge = Charge.USAGE
    is_final: bool = True
    lines: int = 1
    quantum: Decimal = Decimal(0)
    source_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One named part of the difference at one place; ``amount`` is billed minus booked.

    ``likely`` is the name that a finding ``not_final_yet`` will have if the provider restates nothing.
    """

    name: ResidualName
    dims: Dims
    amount: Decimal
    quantity: Decimal | None = None
    billed_unit_price: Decimal | None = None
    booked_unit_price: Decimal | None = None
    cause: str = ""
    source_ids: tuple[str, ...] = ()
    likely: ResidualName | None = None

    @property
    def kind(self) -> ResidualName:
        """What it is, whether the day is final or not."""
        return self.likely or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Billed and booked money of the same units, whether it differs or not.

    Attributes:
        dims: the place, on the day on which the calls were booked.
        quantity: matched units.
        billed: their billed money.
        booked: their booked cost.
        tolerance: by how much the two may differ from rounding alone.
    """

    dims: Dims
    quantity: Decimal
    billed: Decimal
    booked: Decimal
    tolerance: Decimal


def compatible(one: Dims, other: Dims) -> bool:
    """Whether two places can be the same: every split dimension is equal or unsaid on one side."""
    # Written out: a large month asks this millions of times.
    return (
        (not one.project or not other.project or one.project == other.project)
        and (not one.workspace or not other.workspace or one.workspace == other.workspace)
        and (not one.api_key or not other.api_key or one.api_key == other.api_key)
        and (not one.service_tier or not other.service_tier or one.service_tier == other.service_tier)
        and (not one.batch or not other.batch or one.batch == other.batch)
    )
