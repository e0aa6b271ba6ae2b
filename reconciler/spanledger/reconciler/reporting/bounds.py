"""The bounds of a breakdown with interrupted calls: summed where they are open, settled where the bill is final."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from spanledger.reconciler.tieout.interrupted import divide
from spanledger.reconciler.tieout.report import Tied

_ZERO: Final = Decimal(0)

Key = tuple[str, ...]
Settled = Mapping[tuple[str, date], Decimal]
"""By provider and day: what a final bill gives to that day's interrupted calls beyond their booked cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Bounded calls of one place, one provider and one day: how far their cost may lie from what is booked."""

    place: Key
    provider: str
    day: date
    below: Decimal
    above: Decimal
    open_calls: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the truth lies from what is booked: from ``low``, which may be negative, to ``high`` (``None``: open)."""

    low: Decimal = _ZERO
    high: Decimal | None = _ZERO


def settled(tied: Tied) -> dict[tuple[str, date], Decimal]:
    """What the final days of tie-outs settle; a provider with several connections is settled where all are final."""
    given: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    finals: dict[str, list[frozenset[date]]] = defaultdict(list)
    for result in tied.results:
        for provider in result.provider.split("+"):
            finals[provider].append(frozenset(result.final_days))
        for each in result.interrupted:
            if each.is_final:
                # A connection that bills several providers does not say whose the calls are: they count as the first's.
                given[result.provider.split("+")[0], each.interrupted.dims.day] += each.given
    return {
        (provider, day): given[provider, day]
        for provider, days in finals.items()
        for day in days[0].intersection(*days[1:])
    }


def bounds(rows: Iterable[Open], final: Settled) -> dict[Key, Bounds]:
    """The bounds of every place.

    What a day settles is divided over its places by their room, so that each stays within its own bounds and any
    breakdown sums to the same total.
    """
    groups: dict[tuple[str, date], list[Open]] = defaultdict(list)
    for row in rows:
        groups[row.provider, row.day].append(row)
    low: dict[Key, Decimal] = defaultdict(Decimal)
    high: dict[Key, Decimal | None] = defaultdict(Decimal)
    for key, group in groups.items():
        if key in final:
            parts = divide(
                final[key],
                {number: max(_ZERO, row.above) for number, row in enumerate(group)},
                {number: row.open_calls for number, row in enumerate(group)},
            )
        else:
            parts = None
        for number, row in enumerate(group):
            least = -row.below if parts is None else parts.get(number, _ZERO)
            most = (None if row.open_calls else row.above) if parts is None else least
            low[row.place] += least
            so_far = high[row.place]
            high[row.place] = None if so_far is None or most is None else so_far + most
    return {place: Bounds(low[place], high[place]) for place in low}
