"""Interrupted calls: their cost is only known to lie between two bounds; the day's bill settles it.

The rule: what the provider billed beyond the telemetry, on a final day and in a place where calls were interrupted, is
given to those calls first, each at most up to its upper bound and in proportion to the room below it. So every settled
cost lies within its bounds, the settled costs sum to the booked ones plus exactly what was given, and the parts of the
difference still sum to the whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Final

from spanledger.reconciler.spread import spread
from spanledger.reconciler.tieout.items import Dims, Finding, ResidualName, compatible
from spanledger.reconciler.tieout.pools import share
from spanledger.semconv.usage import TOKEN_CLASSES

CAUSE: Final = "interrupted calls: their spans end before the provider's count"
_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The interrupted calls of one place.

    Attributes:
        dims: the place; no token class.
        calls: how many.
        cost: what is booked for them: the known part.
        room: how much more they may have cost, without those of ``open_calls``.
        open_calls: how many of them have no upper limit.
    """

    dims: Dims
    calls: int
    cost: Decimal
    room: Decimal
    open_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed:
    """Interrupted calls of one place, and what the bill gives them.

    Attributes:
        interrupted: the calls.
        given: billed money beyond what is booked for them, 0 while the day is not final.
        is_final: whether the day's bill is final, so that the cost is settled.
    """

    interrupted: Interrupted
    given: Decimal
    is_final: bool

    @property
    def low(self) -> Decimal:
        """The least that they cost."""
        return self.interrupted.cost + self.given

    @property
    def high(self) -> Decimal | None:
        """The most that they cost; ``None`` when no limit is known."""
        if self.is_final:
            return self.low
        return None if self.interrupted.open_calls else self.interrupted.cost + self.interrupted.room


def narrow(
    findings: Sequence[Finding],
    interrupted: Sequence[Interrupted],
    *,
    is_final: Callable[[Dims], bool],
    family: Callable[[str], str] = str,
) -> tuple[list[Finding], list[Narrowed]]:
    """Give billed money without telemetry to the interrupted calls of its place.

    Args:
        findings: of a tie-out.
        interrupted: the interrupted calls, in any number of places.
        is_final: whether the bill of a place's day is there and final.
        family: a model's name without its snapshot.

    Returns:
        The findings, those that were given away split off with a cause of their own (same sum, same names), and every
        place of interrupted calls with what it was given.
    """
    family = cache(family)
    places = sorted(interrupted, key=lambda i: (i.dims, i.calls, i.cost, i.room, i.open_calls))
    room = {number: place.room for number, place in enumerate(places)}
    given = dict.fromkeys(room, _ZERO)
    result: list[Finding] = []
    by_day: dict[date, list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        if is_final(place.dims):
            by_day[place.dims.day].append(number)
    for finding in findings:
        here = [n for n in by_day.get(finding.dims.day, ()) if _fits(finding, places[n].dims, family)]
        parts = divide(finding.amount, {n: room[n] for n in here}, {n: places[n].open_calls for n in here})
        taken = sum(parts.values(), _ZERO)
        for number, amount in parts.items():
            given[number] += amount
            room[number] = max(_ZERO, room[number] - amount)
        result += _split(finding, taken) if taken else [finding]
    return result, [
        Narrowed(interrupted=place, given=given[number], is_final=is_final(place.dims))
        for number, place in enumerate(places)
    ]


def divide(amount: Decimal, room: Mapping[int, Decimal], open_calls: Mapping[int, int]) -> dict[int, Decimal]:
    """Give as much of an amount as there is room for: first within the known limits, the rest to calls without one.

    Args:
        amount: what may be given; nothing is given of a negative one.
        room: the most that each place can take within its limit, not negative.
        open_calls: calls without a limit in each place.

    Returns:
        What each place gets; at most its room unless it has open calls.
    """
    parts: dict[int, Decimal] = {}
    limited = {number: space for number, space in room.items() if space > 0}
    within = min(max(amount, _ZERO), sum(limited.values(), _ZERO))
    if within > 0:
        parts = spread(within, limited)
    rest = max(amount, _ZERO) - within
    unlimited = {number: Decimal(calls) for number, calls in open_calls.items() if calls > 0}
    if rest > 0 and unlimited:
        for number, part in spread(rest, unlimited).items():
            parts[number] = parts.get(number, _ZERO) + part
    return {number: part for number, part in parts.items() if part}


def _fits(finding: Finding, dims: Dims, family: Callable[[str], str]) -> bool:
    return (
        finding.name is ResidualName.MISSING_TELEMETRY
        and finding.amount > 0
        and finding.dims.token_class in TOKEN_CLASSES
        and family(finding.dims.model) == family(dims.model)
        and compatible(finding.dims, dims)
    )


def _split(finding: Finding, taken: Decimal) -> Iterable[Finding]:
    part = None if finding.quantity is None else share(finding.quantity, taken, finding.amount)
    yield replace(finding, amount=taken, quantity=part, cause=CAUSE)
    if taken != finding.amount:
        rest = None if finding.quantity is None or part is None else finding.quantity - part
        yield replace(finding, amount=finding.amount - taken, quantity=rest)
