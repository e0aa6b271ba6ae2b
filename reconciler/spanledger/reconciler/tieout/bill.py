"""From bill lines to billed items: charges named, quantities of the usage report joined to amounts that lack them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Final

from spanledger.reconciler.spread import spread
from spanledger.reconciler.tieout.items import SPLIT_DIMS, Billed, Charge, Dims, compatible
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.semconv.usage import TOKEN_CLASSES

_CHARGES: Final = {
    "tax": Charge.TAX,
    "credit": Charge.CREDIT,
    "adjustment": Charge.CREDIT,
    "purchase": Charge.UNMATCHED,
}
_STANDARD_TIERS: Final = frozenset({"default", "standard", "auto", "on_demand", "on-demand"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRow:
    """One place of a bill as the query ``billed.sql`` gives it; ``days`` is the length of its period."""

    day: date
    days: int
    kind: str
    charge: str
    provider: str
    model: str
    token_class: str
    api_key: str
    project: str
    workspace: str
    service_tier: str
    is_batch: bool | None
    line_item: str
    quantity: Decimal | None
    amount_usd: Decimal | None
    without_rate: int
    currency: str
    lines: int
    is_final: bool
    source_ids: tuple[str, ...]


def tier(name: str) -> str:
    """One word for the ordinary tier; providers have several."""
    plain = name.lower()
    return "standard" if plain in _STANDARD_TIERS else plain


def billed_items(rows: Sequence[BillRow], names: ModelNames) -> list[Billed]:
    """The charges of a bill, each with its quantity where the bill or the usage report gives one."""
    costs = [row for row in rows if row.kind == "cost" and row.amount_usd is not None]
    totals_only = not any(row.model or row.token_class for row in costs if row.charge == "usage")
    quantum = _quantum(row.amount_usd for row in costs)
    items = _netted([_item(row, names, quantum, totals_only) for row in costs])
    reported = [(_dims(row, names), row.quantity) for row in rows if row.kind == "usage" and row.quantity is not None]
    bare = [item for item in items if _lacks_quantity(item)]
    return [item for item in items if not _lacks_quantity(item)] + _with_quantities(bare, reported)


def _dims(row: BillRow, names: ModelNames) -> Dims:
    return Dims(
        day=row.day,
        model=names.canonical(row.model),
        token_class=row.token_class,
        api_key=row.api_key,
        project=row.project,
        workspace=row.workspace,
        service_tier=tier(row.service_tier),
        batch="" if row.is_batch is None else str(row.is_batch).lower(),
    )


def _item(row: BillRow, names: ModelNames, quantum: Decimal, totals_only: bool) -> Billed:
    assert row.amount_usd is not None
    charge = _CHARGES.get(row.charge, Charge.USAGE)
    if charge is Charge.USAGE:
        if row.token_class and row.token_class not in TOKEN_CLASSES:
            charge = Charge.TOOL_FEE
        elif not row.model and not row.token_class and not totals_only:
            charge = Charge.UNMATCHED
    return Billed(
        dims=_dims(row, names),
        amount=row.amount_usd,
        quantity=row.quantity,
        charge=charge,
        is_final=row.is_final,
        lines=row.lines,
        quantum=quantum,
        source_ids=row.source_ids or (row.line_item,),
    )


def _netted(items: Sequence[Billed]) -> list[Billed]:
    """Negative usage lines are corrections: taken off their place where they say how much, else credits."""
    corrected = {i.dims for i in items if i.charge is Charge.USAGE and i.quantity is not None and i.quantity < 0}
    netted: list[Billed] = []
    places: dict[Dims, list[Billed]] = defaultdict(list)
    for item in items:
        if item.charge is Charge.USAGE and item.quantity is not None and item.dims in corrected:
            places[item.dims].append(item)
        else:
            netted.append(_credit_if_negative(item))
    for group in places.values():
        quantity = sum((item.quantity for item in group if item.quantity is not None), Decimal(0))
        whole = replace(_merge(group), quantity=quantity if quantity > 0 else None)
        if whole.amount or whole.quantity:
            netted.append(_credit_if_negative(whole))
    return netted


def _credit_if_negative(item: Billed) -> Billed:
    return replace(item, charge=Charge.CREDIT) if item.charge is Charge.USAGE and item.amount < 0 else item


def _quantum(amounts: Iterable[Decimal | None]) -> Decimal:
    """The unit of the last digit that the bill prints: the finest that occurs in it."""
    digits = [max(0, -int(a.normalize().as_tuple().exponent)) for a in amounts if a is not None and a]
    return Decimal(1).scaleb(-max(digits)) if digits else Decimal(0)


def _lacks_quantity(item: Billed) -> bool:
    return item.charge is Charge.USAGE and item.quantity is None and bool(item.dims.token_class)


def _with_quantities(bare: Sequence[Billed], reported: Sequence[tuple[Dims, Decimal]]) -> list[Billed]:
    """Split each amount over the reported quantities of its place; amounts that share quantities are taken together."""
    usage: dict[object, list[tuple[Dims, Decimal]]] = defaultdict(list)
    for dims, quantity in reported:
        if quantity > 0:
            usage[_place(dims)].append((dims, quantity))
    charges: dict[object, list[Billed]] = defaultdict(list)
    for item in bare:
        charges[_place(item.dims)].append(item)
    joined: list[Billed] = []
    for place, items in charges.items():
        for group, uses in _clusters(items, usage.get(place, [])):
            joined += _split(_merge(group), uses) if uses else group
    return joined


def _place(dims: Dims) -> object:
    return dims.day, dims.model, dims.token_class


def _clusters(
    items: Sequence[Billed], uses: Sequence[tuple[Dims, Decimal]]
) -> list[tuple[list[Billed], list[tuple[Dims, Decimal]]]]:
    by_project: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        by_project[item.dims.project].append(number)
    home = list(range(len(items)))

    def root(number: int) -> int:
        while home[number] != number:
            number = home[number]
        return number

    found: list[tuple[int, tuple[Dims, Decimal]]] = []
    for use in uses:
        dims = use[0]
        near = [*by_project.get(dims.project, ()), *by_project.get("", ())] if dims.project else range(len(items))
        roots = sorted({root(number) for number in near if compatible(items[number].dims, dims)})
        if roots:
            for other in roots[1:]:
                home[other] = roots[0]
            found.append((roots[0], use))
    clusters: dict[int, tuple[list[Billed], list[tuple[Dims, Decimal]]]] = defaultdict(lambda: ([], []))
    for number, item in enumerate(items):
        clusters[root(number)][0].append(item)
    for number, use in found:
        clusters[root(number)][1].append(use)
    return list(clusters.values())


def _merge(group: Sequence[Billed]) -> Billed:
    if len(group) == 1:
        return group[0]
    first = group[0]
    same = {d: getattr(first.dims, d) for d in SPLIT_DIMS if len({getattr(i.dims, d) for i in group}) == 1}
    blank = dict.fromkeys(SPLIT_DIMS, "")
    return replace(
        first,
        dims=replace(first.dims, **(blank | same)),
        amount=sum((item.amount for item in group), Decimal(0)),
        is_final=all(item.is_final for item in group),
        lines=sum(item.lines for item in group),
        source_ids=tuple(source for item in group for source in item.source_ids),
    )


def _split(item: Billed, uses: Sequence[tuple[Dims, Decimal]]) -> list[Billed]:
    """One item for each reported use, at the use's finer place where the amount does not say."""
    quantities: dict[Dims, Decimal] = defaultdict(Decimal)
    place = item.dims
    for dims, quantity in uses:
        finer = Dims(
            day=place.day,
            model=place.model,
            token_class=place.token_class,
            api_key=place.api_key or dims.api_key,
            project=place.project or dims.project,
            workspace=place.workspace or dims.workspace,
            service_tier=place.service_tier or dims.service_tier,
            batch=place.batch or dims.batch,
        )
        quantities[finer] += quantity
    return [
        replace(item, dims=dims, amount=amount, quantity=quantities[dims])
        for dims, amount in spread(item.amount, quantities).items()
    ]
