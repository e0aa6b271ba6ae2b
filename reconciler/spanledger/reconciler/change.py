"""Why spend changed between two periods, split exactly: the parts sum to the change to the last decimal.

The split walks from the old cost to the new one in five steps, each changing one thing and keeping the rest; the
difference of two neighbouring steps is that thing's share (a telescoping sum, so nothing is lost or counted twice):

    old cost
    → volume   as many tokens as now, used as before
    → mix      the models of now, and their share of output
    → tier     the service tiers and batch shares of now
    → cache    the cache shares of now
    → rate     the unit prices of now = new cost

A place that has no old price (a new model, say) takes its new one, so that novelty shows as mix and not as rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final

from spanledger.semconv.money import CONTEXT, to_ledger
from spanledger.semconv.usage import OUTPUT_CLASSES

PARTS: Final = ("volume", "mix", "tier", "cache", "rate", "coverage")

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """The grain of the split."""

    provider: str
    model: str
    tier: str
    token_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Units used and what they cost at one place."""

    quantity: Decimal
    cost: Decimal


def explain_change(
    before: Mapping[Place, Spend],
    after: Mapping[Place, Spend],
    *,
    unseen_before: Decimal = _ZERO,
    unseen_after: Decimal = _ZERO,
) -> dict[str, Decimal]:
    """Split ``after - before`` into `PARTS`.

    Args:
        before: the old period's booked spend by place.
        after: the new period's.
        unseen_before: billed money that the old period's ledger had not seen (0 where no bill is known).
        unseen_after: the same for the new period; its growth is the part ``coverage``.
    """
    steps = [
        _total(before),
        _as_before(before, after, lambda place: ()),
        _as_before(before, after, lambda place: (place.provider, place.model, _is_output(place))),
        _as_before(before, after, lambda place: (place.provider, place.model, _is_output(place), place.tier)),
        _as_before(before, after, lambda place: place),
        _total(after),
    ]
    changes = [new - old for old, new in pairwise(steps)]
    return {str(part): change for part, change in zip(PARTS, [*changes, unseen_after - unseen_before], strict=True)}


def _is_output(place: Place) -> bool:
    return place.token_class in OUTPUT_CLASSES


def _total(spend: Mapping[Place, Spend]) -> Decimal:
    return sum((item.cost for item in spend.values()), _ZERO)


def _as_before(
    before: Mapping[Place, Spend], after: Mapping[Place, Spend], group: Callable[[Place], object]
) -> Decimal:
    """What the new quantities would cost at the old average price of their group."""
    old, new = _grouped(before, group), _grouped(after, group)
    cost = _ZERO
    for key, spend in new.items():
        base = old.get(key)
        if base is None or base.quantity <= 0:
            cost += spend.cost
        else:
            cost += to_ledger(CONTEXT.divide(CONTEXT.multiply(base.cost, spend.quantity), base.quantity))
    return cost


def _grouped(spend: Mapping[Place, Spend], group: Callable[[Place], object]) -> dict[object, Spend]:
    items: dict[object, list[Spend]] = defaultdict(list)
    for place, item in spend.items():
        items[group(place)].append(item)
    return {key: _sum(parts) for key, parts in items.items()}


def _sum(parts: Iterable[Spend]) -> Spend:
    quantity = cost = _ZERO
    for part in parts:
        quantity += part.quantity
        cost += part.cost
    return Spend(quantity=quantity, cost=cost)
