"""Chargeback: billed money spread over the calls that caused it, adding up to the invoice exactly.

The stated rules, by kind of bill line:

- usage and tool fees: to those who booked the same day, model and class, in proportion to their booked cost (to their
  quantity where nothing there has a price). What the provider billed beyond the booked quantity belongs to nobody
  that we know of: it is ``UNATTRIBUTED``, never smeared over the teams that do send telemetry.
- a line that names no class or no model: to those who booked anything on that day in the line's place.
- credits, discounts, tax and lines in no table: in proportion to what everybody was given of the usage of the same
  days (of the whole period when those days have none), ``UNATTRIBUTED`` included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from spanledger.reconciler.spread import spread
from spanledger.reconciler.tieout.items import Billed, Charge, Dims, compatible
from spanledger.semconv.money import CONTEXT

Owner = tuple[str, ...]
"""Who is charged: the values of the allocation's dimensions, e.g. ``("search", "summaries")`` for team and feature."""

UNATTRIBUTED: Final = "unattributed"

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedUse:
    """What one owner booked in one place: a quantity, and its cost as far as it is priced."""

    owner: Owner
    dims: Dims
    quantity: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocated:
    """Billed money given to one owner on one day for one kind of charge."""

    owner: Owner
    day: date
    charge: Charge
    amount: Decimal


def allocate(uses: Iterable[OwnedUse], billed: Iterable[Billed], *, width: int) -> list[Allocated]:
    """Spread every bill line over the owners; the amounts sum to the lines' amounts exactly.

    Args:
        uses: the ledger's quantities by owner.
        billed: the bill.
        width: how many dimensions an owner has (for the ``UNATTRIBUTED`` owner).
    """
    nobody: Owner = (UNATTRIBUTED,) * width
    by_place: dict[tuple[date, str], list[OwnedUse]] = defaultdict(list)
    for use in uses:
        by_place[use.dims.day, use.dims.model].append(use)
        if use.dims.model:
            by_place[use.dims.day, ""].append(use)
    given: dict[tuple[date, Charge], dict[Owner, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    overheads: list[Billed] = []
    for line in billed:
        if line.charge not in (Charge.USAGE, Charge.TOOL_FEE):
            overheads.append(line)
            continue
        here = by_place.get((line.dims.day, line.dims.model), ())
        users = [use for use in here if _same_place(line.dims, use.dims)]
        for owner, amount in _charge(line, users, nobody).items():
            given[line.dims.day, line.charge][owner] += amount
    usage_by_day, usage = _usage_weights(given)
    for line in overheads:
        weights = usage_by_day.get(line.dims.day) or usage or {nobody: Decimal(1)}
        for owner, amount in spread(line.amount, weights).items():
            given[line.dims.day, line.charge][owner] += amount
    return [
        Allocated(owner=owner, day=day, charge=charge, amount=amount)
        for (day, charge), owners in sorted(given.items())
        for owner, amount in sorted(owners.items())
        if amount
    ]


def _same_place(line: Dims, use: Dims) -> bool:
    """Whether a use of the line's day and model falls under the line."""
    return (
        line.token_class in ("", use.token_class) or _billed_as_output(line.token_class, use.token_class)
    ) and compatible(line, use)


def _billed_as_output(line_class: str, use_class: str) -> bool:
    """Most bills have no reasoning class: reasoning is billed as output."""
    return line_class == "output_text" and use_class == "reasoning"


def _charge(line: Billed, users: list[OwnedUse], nobody: Owner) -> dict[Owner, Decimal]:
    costs: dict[Owner, Decimal] = defaultdict(Decimal)
    quantities: dict[Owner, Decimal] = defaultdict(Decimal)
    for use in users:
        costs[use.owner] += use.cost
        quantities[use.owner] += use.quantity
    booked = sum(quantities.values(), _ZERO)
    weights = costs if sum(costs.values(), _ZERO) > 0 else quantities
    if sum(weights.values(), _ZERO) <= 0:
        return {nobody: line.amount}
    if line.quantity is None or booked >= line.quantity or booked <= 0:
        return spread(line.amount, weights)
    seen = spread(line.amount, {True: booked, False: line.quantity - booked})
    return {**spread(seen[True], weights), nobody: seen[False]}


def _usage_weights(
    given: Mapping[tuple[date, Charge], Mapping[Owner, Decimal]],
) -> tuple[dict[date, dict[Owner, Decimal]], dict[Owner, Decimal]]:
    """What everybody was given of usage, by day and over all days; only positive sums can carry a share."""
    days: dict[date, dict[Owner, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    total: dict[Owner, Decimal] = defaultdict(Decimal)
    for (day, _), owners in given.items():
        for owner, amount in owners.items():
            days[day][owner] = CONTEXT.add(days[day][owner], amount)
            total[owner] = CONTEXT.add(total[owner], amount)
    positive = {day: {o: a for o, a in owners.items() if a > 0} for day, owners in days.items()}
    return {day: owners for day, owners in positive.items() if owners}, {o: a for o, a in total.items() if a > 0}
