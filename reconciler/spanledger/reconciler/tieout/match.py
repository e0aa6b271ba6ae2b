"""Match billed with booked quantities and name what is left: exact, additive, deterministic.

The sum of the findings equals billed minus booked to the last decimal, for any input. Matching goes from the finest
grain that both sides share to coarser ones, and each step only pairs what the earlier ones left over:

1. same day, model, token class and every split dimension (key, project, workspace, tier, batch);
2. the same with split dimensions that one side does not say, equal quantities first; then the model's family (dated
   snapshot and alias);
3. the same class where one side does not say the model (tool fees mostly);
4. a part of every day that moves over midnight in one direction (another time zone, calls billed at their end);
5. amounts that come without a quantity, against everything booked in their place;
6. the same side of the call in another class (telemetry without the cache split, reasoning billed as output);
7. the same class in another service tier, or as a batch (the spans do not say which one served the call);
8. what is left over on the neighbouring day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import product
from operator import attrgetter
from typing import Final

from spanledger.reconciler.tieout.items import (
    SPLIT_DIMS,
    Billed,
    Booked,
    Charge,
    Dims,
    Finding,
    Matched,
    ResidualName,
    compatible,
    dims_order,
)
from spanledger.reconciler.tieout.pairing import DIRECT, Met, Pairing
from spanledger.reconciler.tieout.pools import ZERO, BilledPool, BookedPool
from spanledger.semconv.usage import INPUT_CLASSES, OUTPUT_CLASSES

_FAMILY: Final[Mapping[str, str]] = {
    **dict.fromkeys(INPUT_CLASSES, "input"),
    **dict.fromkeys(OUTPUT_CLASSES, "output"),
}
_FOLDS: Final[Mapping[str, str]] = {
    "reasoning": "output_text",
    "cache_write_5m": "cache_write",
    "cache_write_1h": "cache_write",
}
_OWN_ROUNDING: Final = Decimal("1e-9")
"""The ledger rounds each call at 12 decimals; this is far above what a billed cell can gather from that."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The findings, and what met whose token class was the same on both sides."""

    findings: list[Finding]
    matched: list[Matched]


def tie_out(
    booked: Iterable[Booked],
    billed: Iterable[Billed],
    *,
    is_final: Callable[[date], bool],
    family: Callable[[str], str] = str,
) -> list[Finding]:
    """Name every part of billed minus booked: the findings of `match`."""
    return match(booked, billed, is_final=is_final, family=family).findings


def match(
    booked: Iterable[Booked],
    billed: Iterable[Billed],
    *,
    is_final: Callable[[date], bool],
    family: Callable[[str], str] = str,
) -> Matching:
    """Name every part of billed minus booked, and say what met.

    Args:
        booked: what the ledger holds, at its finest grain; several items may stand in one place.
        billed: what the provider charges; days are the provider's.
        is_final: whether a day is settled at the provider.
        family: a model's name without its snapshot: the second name by which models meet.

    Returns:
        Findings whose amounts sum to ``sum(billed.amount) - sum(booked.cost)`` exactly, on each day and in all; the
        same for any input order.
    """
    run, tools_booked = _paired(booked, billed, is_final, family, None)
    _name_pairs(run)
    _name_leftovers(run, tools_booked)
    return Matching(sorted(run.findings, key=lambda f: (dims_order(f.dims), f.name, f.cause, f.amount)), _matched(run))


def meet(booked: Iterable[Booked], billed: Iterable[Billed], *, family: Callable[[str], str] = str) -> list[Met]:
    """Whose units each billed item charges: what `match` pairs, place by place. Arguments as there.

    A booked place is told with its classes folded: `folding`.
    """
    met: list[Met] = []
    _paired(booked, billed, _settled, family, met)
    return met


def _settled(_day: date) -> bool:
    return True


def _paired(
    booked: Iterable[Booked],
    billed: Iterable[Billed],
    is_final: Callable[[date], bool],
    family: Callable[[str], str],
    met: list[Met] | None,
) -> tuple[Pairing, set[str]]:
    """Everything that can meet, met; with the classes of tools that the ledger books."""
    bills, books = sorted(billed, key=_billed_order), list(booked)
    tools_booked = {item.dims.token_class for item in books} - _FAMILY.keys()
    with_quantity = [i for i in bills if _is_usage(i, tools_booked) and i.quantity is not None and i.quantity > 0]
    fold = folding(bills)
    folded = sorted((_folded(item, fold) for item in books), key=_booked_order)
    pools = [BilledPool.of(i) for i in with_quantity], [BookedPool.of(i) for i in folded]
    run = Pairing(is_final, family, *pools, met=met)
    amounts_only: list[Billed] = []
    for item in bills:
        if item.charge in DIRECT:
            run.note(DIRECT[item.charge], item.dims, item.amount, item.quantity, item)
        elif not _is_usage(item, tools_booked):
            run.note(ResidualName.TOOL_FEES, item.dims, item.amount, item.quantity, item, "billed per use")
        elif item.quantity is None or item.quantity <= 0:
            amounts_only.append(item)

    run.match(lambda d: d, _always)
    run.match_equal()
    run.match(lambda d: (d.day, d.model, d.token_class), compatible)
    run.match(lambda d: (d.day, family(d.model), d.token_class), compatible)
    run.match(lambda d: (d.day, d.token_class), _model_unsaid)
    _carried_over_midnight(run)
    for item in amounts_only:
        _amount_only(run, item)
    run.match(lambda d: (d.day, family(d.model), side) if (side := _FAMILY.get(d.token_class)) else None, compatible)
    run.match(lambda d: (d.day, family(d.model), d.token_class), _same_owner)
    for step in (-1, 1):
        _neighbouring_day(run, step)
    return run, tools_booked


def _always(_one: Dims, _other: Dims) -> bool:
    return True


def _model_unsaid(one: Dims, other: Dims) -> bool:
    return (not one.model or not other.model) and compatible(one, other)


def _same_owner(one: Dims, other: Dims) -> bool:
    """Whether two places can be the same but for the tier that served the calls."""
    return compatible(one, replace(other, service_tier=one.service_tier, batch=one.batch))


def _billed_order(item: Billed) -> tuple[object, ...]:
    quantity = item.quantity
    return dims_order(item.dims), item.charge, item.amount, quantity is None, quantity or ZERO, item.source_ids


def _booked_order(item: Booked) -> tuple[object, ...]:
    return dims_order(item.dims), item.quantity, item.cost, item.unpriced_quantity


def _is_usage(item: Billed, tools_booked: set[str]) -> bool:
    """Tool fees that the ledger books by use are matched like tokens; others are a residual of their own."""
    return item.charge is Charge.USAGE or (item.charge is Charge.TOOL_FEE and item.dims.token_class in tools_booked)


def folding(billed: Iterable[Billed]) -> Callable[[Dims], Dims]:
    """Where a class is booked: under the one that the provider bills it as, if the bill has none of its own for it."""
    charged = (item for item in billed if item.charge in (Charge.USAGE, Charge.TOOL_FEE))
    on_bill = {item.dims.token_class for item in charged if item.quantity is not None and item.quantity > 0}
    wider = {narrow: wide for narrow, wide in _FOLDS.items() if narrow not in on_bill and wide in on_bill}

    def fold(dims: Dims) -> Dims:
        return replace(dims, token_class=wider[dims.token_class]) if dims.token_class in wider else dims

    return fold


def _folded(item: Booked, fold: Callable[[Dims], Dims]) -> Booked:
    dims = fold(item.dims)
    return item if dims is item.dims else replace(item, dims=dims)


def _amount_only(run: Pairing, item: Billed) -> None:
    """Compare an amount without quantity with everything still booked in its place."""
    dims = item.dims
    pools = [
        pool
        for pool in run.booked
        if pool.dims.day == dims.day
        and dims.model in ("", pool.dims.model, run.family(pool.dims.model))
        and dims.token_class in ("", pool.dims.token_class)
        and compatible(dims, pool.dims)
    ]
    cost = sum((pool.cost for pool in pools), ZERO)
    seen = any(pool.priced > 0 or pool.cost for pool in pools)
    unpriced = any(pool.unpriced > 0 for pool in pools)
    for pool in pools:
        pool.priced = pool.cost = pool.unpriced = ZERO
    difference = item.amount - cost
    if not seen and not unpriced:
        name, cause = ResidualName.MISSING_TELEMETRY, "no call was seen there"
    elif abs(difference) <= _tolerance(item):
        name, cause = ResidualName.ROUNDING, ""
    elif not seen:
        name, cause = ResidualName.UNPRICED, "the price book has no price for it"
    else:
        name, cause = ResidualName.UNEXPLAINED, "the bill gives no quantity here: telemetry or price, it cannot be told"
    run.note(name, dims, difference, None, item, cause)


@dataclass(slots=True)
class _Place:
    """One place over all days: what is left over, and what each side holds a day in all."""

    billed: list[BilledPool] = field(default_factory=list[BilledPool])
    booked: list[BookedPool] = field(default_factory=list[BookedPool])
    billed_by_day: dict[date, Decimal] = field(default_factory=lambda: defaultdict[date, Decimal](Decimal))
    booked_by_day: dict[date, Decimal] = field(default_factory=lambda: defaultdict[date, Decimal](Decimal))

    def carries(self) -> bool:
        """Whether the days differ as if a part of each moved over midnight, always in the same direction.

        The quantity on its way at each midnight is the running sum of billed minus booked. It must not change its sign,
        not exceed what was booked on the day, and be there on at least half of the days (on three at the least).
        """
        on_its_way = ZERO
        signs: set[bool] = set()
        moving = 0
        days = sorted(self.billed_by_day.keys() | self.booked_by_day.keys())
        for day in days[:-1]:
            on_its_way += self.billed_by_day[day] - self.booked_by_day[day]
            if on_its_way:
                moving += 1
                signs.add(on_its_way > 0)
                source = self.booked_by_day[day] if on_its_way < 0 else self.billed_by_day[day]
                if abs(on_its_way) > source:
                    return False
        return len(signs) == 1 and moving >= max(3, len(days) / 2)


def _carried_over_midnight(run: Pairing) -> None:
    sides: tuple[Sequence[BilledPool], Sequence[BookedPool]] = (run.billed, run.booked)
    unshared = [name for name in SPLIT_DIMS if not all(any(getattr(p.dims, name) for p in side) for side in sides)]
    # A place over all days, by what both sides say.
    over_days = attrgetter("model", "token_class", *(name for name in SPLIT_DIMS if name not in unshared))
    places: dict[Hashable, _Place] = defaultdict(_Place)
    for billed in run.billed:
        place = places[over_days(billed.dims)]
        place.billed_by_day[billed.dims.day] += billed.item.quantity or ZERO
        place.billed.append(billed)
    for booked in run.booked:
        place = places[over_days(booked.dims)]
        place.booked_by_day[booked.dims.day] += booked.item.quantity + booked.item.unpriced_quantity
        place.booked.append(booked)
    for place in places.values():
        if place.billed and place.booked and place.carries():
            for billed, booked in product(place.billed, place.booked):
                if billed.quantity > 0 and (booked.priced > 0 or booked.unpriced > 0):
                    run.pair(billed, booked)


def _neighbouring_day(run: Pairing, step: int) -> None:
    shift = timedelta(days=step)
    by_place: dict[Hashable, list[BookedPool]] = defaultdict(list)
    for pool in run.booked:
        if pool.priced > 0 or pool.unpriced > 0:
            by_place[pool.dims.day, pool.dims.model, pool.dims.token_class].append(pool)
    for billed in run.billed:
        place = (billed.dims.day + shift, billed.dims.model, billed.dims.token_class)
        for booked in by_place.get(place, ()):
            if billed.quantity > 0 and compatible(billed.dims, booked.dims):
                run.pair(billed, booked)


def _name_pairs(run: Pairing) -> None:
    for pair in run.pairs.values():
        difference = pair.amount - pair.cost
        if not difference:
            continue
        if abs(difference) <= _tolerance(pair.billed):
            run.note(ResidualName.ROUNDING, pair.dims, difference, None, pair.billed)
            continue
        run.note(ResidualName.RATE_DIFFERENCE, pair.dims, difference, pair.quantity, pair.billed, pair.cause)
        run.findings[-1] = replace(
            run.findings[-1],
            billed_unit_price=pair.amount / pair.quantity,
            booked_unit_price=pair.cost / pair.quantity,
        )


def _matched(run: Pairing) -> list[Matched]:
    return [
        Matched(
            dims=pair.dims,
            quantity=pair.quantity,
            billed=pair.amount,
            booked=pair.cost,
            tolerance=_tolerance(pair.billed),
        )
        for pair in run.pairs.values()
        if not pair.cause
    ]


def _name_leftovers(run: Pairing, tools_booked: set[str]) -> None:
    for billed in run.billed:
        if billed.amount or billed.quantity > 0:
            tool = billed.dims.token_class in tools_booked or billed.item.charge is Charge.TOOL_FEE
            name = ResidualName.TOOL_FEES if tool else ResidualName.MISSING_TELEMETRY
            run.note(name, billed.dims, billed.amount, billed.quantity, billed.item)
    for booked in run.booked:
        if booked.cost or booked.priced > 0:
            run.note(ResidualName.EXCESS_TELEMETRY, booked.dims, -booked.cost, -booked.priced)


def _tolerance(item: Billed) -> Decimal:
    """Half a unit of the last printed digit for each line behind the amount, plus our own rounding."""
    return item.quantum * item.lines / 2 + _OWN_ROUNDING
