"""Hourly rows of cloud exports summed to days: what the tie-out compares, at a fraction of the rows. Sums are exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

from spanledger.reconciler.bill_line import BillLine
from spanledger.reconciler.units import Money
from spanledger.semconv.money import CONTEXT


def by_day(lines: Iterable[BillLine]) -> Iterator[BillLine]:
    """Sum lines that agree in everything but the hour.

    Quantities and amounts are summed where both sides have them and are unknown otherwise. Lines longer than a day stay
    as they are.
    """
    sums: dict[tuple[object, ...], BillLine] = {}
    for line in lines:
        start = line.start.replace(hour=0, minute=0, second=0, microsecond=0)
        end = start + timedelta(days=1)
        if line.end > end:
            yield line
            continue
        key = (
            line.kind, start, line.provider, line.model, line.token_class, line.project, line.workspace, line.api_key,
            line.service_tier, line.is_batch, line.line_item, line.unit, line.money and line.money.currency,
            line.charge, line.is_final, line.slot, tuple(sorted(line.dimensions.items())),
        )  # fmt: skip
        before = sums.get(key)
        if before is None:
            sums[key] = replace(line, start=start, end=end)
            continue
        if before.quantity is not None:
            before.quantity = None if line.quantity is None else CONTEXT.add(before.quantity, line.quantity)
        before.money = _add(before.money, line.money)
        before.list_money = _add(before.list_money, line.list_money)
    yield from sums.values()


def _add(one: Money | None, other: Money | None) -> Money | None:
    if one is None or other is None:
        return None
    return Money(CONTEXT.add(one.amount, other.amount), one.currency)
