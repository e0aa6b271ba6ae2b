"""Chargeback: billed money spread over the calls that caused it, adding up to the invoice exactly.

The stated rules, by kind of bill line:

- usage and tool fees: to those who booked what the tie-out matches with the line, in proportion to their booked cost
  (to their quantity where nothing there has a price). So a line finds its calls under another name of its model, in
  another class of the same side, on the next day, as the tie-out does. What the provider billed beyond that belongs to
  nobody that we know of: it is ``UNATTRIBUTED``, never smeared over the teams that do send telemetry.
- a line that names no class, no model or no quantity: to those who booked anything on that day in the line's place.
- credits, discounts, tax and lines in no table: in proportion to what everybody was given of the usage of the same
  days (of the whole period when those days have none), ``UNATTRIBUTED`` included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from spanledger.reconciler.spread import spread
from spanledger.reconciler.tieout.items import Billed, Booked, Charge, Dims, compatible
from spanledger.reconciler.tieout.match import folding, meet
from spanledger.reconciler.tieout.pairing import Met
from spanledger.semconv.money import CONTEXT

Owner = tuple[str, ...]
"""Who is charged: the values of the allocation's dimensions, e.g. ``("search", "summaries")`` for team and feature."""

UNATTRIBUTED: Final = "unattributed"

_ZERO: Final = Decimal(0)


def _every(_day: date) -> bool:
    return True


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


def allocate(
    uses: Iterable[OwnedUse],
    billed: Sequence[Billed],
    *,
    width: int,
    family: Callable[[str], str] = str,
    counts: Callable[[date], bool] = _every,
) -> list[Allocated]:
    """Spread every bill line over the owners; the amounts sum to the lines' amounts exactly.

    Args:
        uses: the ledger's quantities by owner.
        billed: the bill.
        width: how many dimensions an owner has (for the ``UNATTRIBUTED`` owner).
        family: a model's name without its snapshot.
        counts: the days whose lines are given; others only serve to recognise calls over midnight.
    """
    nobody: Owner = (UNATTRIBUTED,) * width
    used = list(uses)
    owners = _Owners(used, billed)
    met: dict[int, list[Met]] = defaultdict(list)
    for each in meet(owners.booked(), billed, family=family):
        met[id(each.billed)].append(each)
    by_place: dict[tuple[date, str], list[OwnedUse]] = defaultdict(list)
    for use in used:
        by_place[use.dims.day, family(use.dims.model)].append(use)
        if use.dims.model:
            by_place[use.dims.day, ""].append(use)
    given: dict[tuple[date, Charge], dict[Owner, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    overheads: list[Billed] = []
    for line in billed:
        if not counts(line.dims.day):
            continue
        if line.charge not in (Charge.USAGE, Charge.TOOL_FEE):
            overheads.append(line)
            continue
        if line.dims.model and line.dims.token_class and line.quantity is not None and line.quantity > 0:
            shares = owners.charge(line, met[id(line)], nobody)
        else:
            here = by_place.get((line.dims.day, family(line.dims.model)), ())
            shares = _charge(line, [use for use in here if _same_place(line.dims, use.dims)], nobody)
        for owner, amount in shares.items():
            given[line.dims.day, line.charge][owner] += amount
    usage_by_day, usage = _usage_weights(given)
    for line in overheads:
        weights = usage_by_day.get(line.dims.day) or usage or {nobody: Decimal(1)}
        for owner, amount in spread(line.amount, weights).items():
            given[line.dims.day, line.charge][owner] += amount
    return [
        Allocated(owner=owner, day=day, charge=charge, amount=amount)
        for (day, charge), owners_given in sorted(given.items())
        for owner, amount in sorted(owners_given.items())
        if amount
    ]


class _Owners:
    """Who booked what in each place, with classes folded as the tie-out folds them."""

    def __init__(self, uses: Iterable[OwnedUse], billed: Sequence[Billed]) -> None:
        fold = folding(billed)
        self._places: dict[Dims, list[OwnedUse]] = defaultdict(list)
        for use in uses:
            self._places[fold(use.dims)].append(use)

    def booked(self) -> list[Booked]:
        """The places as the tie-out sees them."""
        return [
            Booked(
                dims=dims,
                quantity=sum((use.quantity for use in uses), _ZERO),
                cost=sum((use.cost for use in uses), _ZERO),
            )
            for dims, uses in self._places.items()
        ]

    def charge(self, line: Billed, met: Iterable[Met], nobody: Owner) -> dict[Owner, Decimal]:
        """A line's money, by owner: what met to those who booked it, the rest to nobody."""
        shares: dict[Owner, Decimal] = defaultdict(Decimal)
        rest = line.amount
        for each in met:
            rest = CONTEXT.subtract(rest, each.amount)
            for owner, amount in spread(each.amount, _weights(self._places[each.booked])).items():
                shares[owner] = CONTEXT.add(shares[owner], amount)
        if rest:
            shares[nobody] = CONTEXT.add(shares[nobody], rest)
        return shares


def _weights(uses: Iterable[OwnedUse]) -> dict[Owner, Decimal]:
    """In which proportion the owners of one place pay: by booked cost, by quantity where nothing has a price."""
    costs: dict[Owner, Decimal] = defaultdict(Decimal)
    quantities: dict[Owner, Decimal] = defaultdict(Decimal)
    for use in uses:
        costs[use.owner] += use.cost
        quantities[use.owner] += use.quantity
    return costs if sum(costs.values(), _ZERO) > 0 else quantities


def _same_place(line: Dims, use: Dims) -> bool:
    """Whether a use of the line's day and model falls under the line."""
    return (
        line.token_class in ("", use.token_class) or _billed_as_output(line.token_class, use.token_class)
    ) and compatible(line, use)


def _billed_as_output(line_class: str, use_class: str) -> bool:
    """Most bills have no reasoning class: reasoning is billed as output."""
    return line_class == "output_text" and use_class == "reasoning"


def _charge(line: Billed, users: list[OwnedUse], nobody: Owner) -> dict[Owner, Decimal]:
    weights = _weights(users)
    if sum(weights.values(), _ZERO) <= 0:
        return {nobody: line.amount}
    booked = sum((use.quantity for use in users), _ZERO)
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
