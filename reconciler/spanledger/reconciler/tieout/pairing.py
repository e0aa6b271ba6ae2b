"""Pairing what is left over on both sides, place by place, and noting what each pair means."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from heapq import merge
from operator import itemgetter
from typing import Final

from spanledger.reconciler.tieout.items import Billed, Charge, Dims, Finding, ResidualName, compatible
from spanledger.reconciler.tieout.pools import ZERO, BilledPool, BookedPool

DIRECT: Final = {
    Charge.CREDIT: ResidualName.CREDITS_AND_DISCOUNTS,
    Charge.TAX: ResidualName.TAX,
    Charge.UNMATCHED: ResidualName.UNMATCHED_LINE,
}


LACKS_SPLIT: Final = "the telemetry lacks the split that is billed"
OTHER_TIER: Final = "the spans name another tier than the bill"


@dataclass(slots=True)
class Pair:
    """Matched money of one billed item on one booked day: decides at the end whether it differs by rate or rounding.

    Attributes:
        billed: the item.
        dims: its place, on the day on which the calls were booked.
        cause: how the booked side names it otherwise; ``""`` where both names agree.
        quantity, amount, cost: matched units, their billed money and their booked cost.
    """

    billed: Billed
    dims: Dims
    cause: str
    quantity: Decimal = ZERO
    amount: Decimal = ZERO
    cost: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Met:
    """Billed money of units that were booked in a place (after folding of classes)."""

    billed: Billed
    booked: Dims
    amount: Decimal


def _otherwise(billed: Dims, booked: Dims) -> str:
    """How the booked side names what was billed, where the two differ."""
    if booked.token_class != billed.token_class:
        return f"booked as {booked.token_class}: {LACKS_SPLIT}"
    if not compatible(billed, booked):
        return f"booked as {_service(booked)}, billed as {_service(billed)}: {OTHER_TIER}"
    return ""


def _service(dims: Dims) -> str:
    return "batch" if dims.batch == "true" else dims.service_tier or "standard"


_Placed = tuple[int, BookedPool]


class _Group:
    """Booked pools that agree in a key, by project and workspace: only the same or none of them can be compatible."""

    __slots__ = ("_all", "_by_project", "_by_workspace")

    def __init__(self) -> None:
        self._all: list[_Placed] = []
        self._by_project: dict[str, list[_Placed]] = {}
        self._by_workspace: dict[str, list[_Placed]] = {}

    def add(self, position: int, pool: BookedPool) -> None:
        placed = (position, pool)
        self._all.append(placed)
        self._by_project.setdefault(pool.dims.project, []).append(placed)
        self._by_workspace.setdefault(pool.dims.workspace, []).append(placed)

    def near(self, dims: Dims) -> Iterable[_Placed]:
        """What may be compatible with a place, in the order of the positions."""
        index, mark = (self._by_project, dims.project) if dims.project else (self._by_workspace, dims.workspace)
        if not mark:
            return self._all
        same, unsaid = index.get(mark, ()), index.get("", ())
        return merge(same, unsaid, key=itemgetter(0)) if same and unsaid else same or unsaid


@dataclass(slots=True)
class Pairing:
    """Both sides, what of them is left over, and what was found so far.

    Attributes:
        is_final: whether a day is settled at the provider.
        family: a model's name without its snapshot.
        billed, booked: what is still to be matched.
        findings: what was named so far.
        pairs: what met, by billed item, booked day and cause.
        met: which places met, where somebody asks for it.
    """

    is_final: Callable[[date], bool]
    family: Callable[[str], str]
    billed: list[BilledPool]
    booked: list[BookedPool]
    findings: list[Finding] = field(default_factory=list[Finding])
    pairs: dict[tuple[int, date, str], Pair] = field(default_factory=dict[tuple[int, date, str], Pair])
    met: list[Met] | None = None

    def pair(self, billed: BilledPool, booked: BookedPool) -> None:
        """Match as much as both hold: first what the ledger priced, then what it could not price."""
        priced = min(billed.quantity, booked.priced)
        shifted = booked.dims.day != billed.dims.day
        if priced > 0:
            amount, cost = billed.take(priced), booked.take_priced(priced)
            if self.met is not None:
                self.met.append(Met(billed.item, booked.item.dims, amount))
            self._shift(shifted, billed, booked, amount)
            cause = _otherwise(billed.dims, booked.dims)
            key = (id(billed), booked.dims.day, cause)
            record = self.pairs.get(key)
            if record is None:
                place = replace(billed.dims, day=booked.dims.day) if shifted else billed.dims
                record = self.pairs[key] = Pair(billed.item, place, cause)
            record.quantity += priced
            record.amount += amount
            record.cost += cost
        unpriced = min(billed.quantity, booked.unpriced)
        if unpriced > 0:
            amount = billed.take(unpriced)
            booked.unpriced -= unpriced
            if self.met is not None:
                self.met.append(Met(billed.item, booked.item.dims, amount))
            self._shift(shifted, billed, booked, amount)
            self.note(
                ResidualName.UNPRICED, booked.dims, amount, unpriced, billed.item, "the price book has no price for it"
            )

    def _shift(self, shifted: bool, billed: BilledPool, booked: BookedPool, amount: Decimal) -> None:
        """Move billed money to the day on which the call was booked: nets to zero within the period."""
        if shifted:
            cause = "booked on one day, billed on the next or the one before"
            self.note(ResidualName.TIMING, billed.dims, amount, None, billed.item, cause)
            self.note(ResidualName.TIMING, booked.dims, -amount, None, billed.item, cause)

    def note(
        self,
        name: ResidualName,
        dims: Dims,
        amount: Decimal,
        quantity: Decimal | None = None,
        billed: Billed | None = None,
        cause: str = "",
    ) -> None:
        likely = None
        if name not in (ResidualName.TIMING, *DIRECT.values()) and not self.is_final(dims.day):
            likely, name, cause = name, ResidualName.NOT_FINAL_YET, "the provider may still restate this day"
        if amount or quantity:
            source_ids = billed.source_ids if billed else ()
            self.findings.append(
                Finding(
                    name=name,
                    dims=dims,
                    amount=amount,
                    quantity=quantity,
                    cause=cause,
                    source_ids=source_ids,
                    likely=likely,
                )
            )

    def match(self, key: Callable[[Dims], Hashable | None], test: Callable[[Dims, Dims], bool]) -> None:
        """Pair everything left over that agrees in ``key`` and passes ``test``; ``None`` keys stay out."""
        groups: dict[Hashable, _Group] = {}
        for position, pool in enumerate(self.booked):
            if (pool.priced or pool.unpriced) and (place := key(pool.dims)) is not None:
                groups.setdefault(place, _Group()).add(position, pool)
        for billed in self.billed:
            if not billed.quantity or (place := key(billed.dims)) is None or (group := groups.get(place)) is None:
                continue
            for _, booked in group.near(billed.dims):
                if (booked.priced > 0 or booked.unpriced > 0) and test(billed.dims, booked.dims):
                    self.pair(billed, booked)
                    if not billed.quantity:
                        break

    def match_equal(self) -> None:
        """Pair places of equal quantity whose names can be the same.

        Where one side names keys and the other projects, this tells which key is whose: a sum of many calls is seldom
        the same by chance.
        """
        groups: dict[Hashable, list[BookedPool]] = {}
        for pool in self.booked:
            if quantity := pool.priced + pool.unpriced:
                groups.setdefault((pool.dims.day, pool.dims.model, pool.dims.token_class, quantity), []).append(pool)
        for billed in self.billed:
            place = (billed.dims.day, billed.dims.model, billed.dims.token_class, billed.quantity)
            for booked in groups.get(place, ()):
                if (
                    billed.quantity
                    and booked.priced + booked.unpriced == billed.quantity
                    and compatible(billed.dims, booked.dims)
                ):
                    self.pair(billed, booked)
