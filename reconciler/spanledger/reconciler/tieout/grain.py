"""Which places of a bill are known by the day, and which only by longer periods (invoices)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, Protocol, TypeVar, cast

from spanledger.reconciler.tieout.bill import BillRow
from spanledger.reconciler.tieout.items import Dims
from spanledger.semconv.usage import TOKEN_CLASSES

_TOKENS: Final = frozenset(TOKEN_CLASSES)


Span = Callable[[Iterable[Dims]], tuple[date, date]]
"""The first and last day that some places stand for, both included."""


def by_day(places: Iterable[Dims]) -> tuple[date, date]:
    """The span of places that all are known by the day."""
    days = [dims.day for dims in places]
    return min(days), max(days)


class _Placed(Protocol):
    """Something of the ledger that stands on a day."""

    @property
    def dims(self) -> Dims: ...


Used = TypeVar("Used", bound=_Placed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grain:
    """Places whose day is given up, because the bill only knows longer periods there.

    What stands in such a place inside the period ``[start, end)`` is moved to its first day, on both sides.

    Attributes:
        start, end: the period that is tied out.
        family: a model's name without its snapshot.
        everything: whether it is all places.
        models: families of models.
        fees: classes that are billed by the use.
    """

    start: date
    end: date
    family: Callable[[str], str]
    everything: bool = False
    models: frozenset[str] = frozenset()
    fees: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rows: Sequence[BillRow], start: date, end: date, family: Callable[[str], str]) -> Grain:
        """The grain of a bill."""
        charged = [row for row in rows if row.kind == "cost" and row.charge == "usage"]
        totals_only = not any(row.model or row.token_class for row in charged)
        long = [row for row in charged if row.days > 1]
        fees = frozenset(row.token_class for row in long if _is_fee(row.token_class))
        tokens = [row for row in long if not _is_fee(row.token_class)]
        return cls(
            start=start,
            end=end,
            family=family,
            # A line that names nothing, beside others that do, is matched with nothing: it moves nothing.
            everything=any(not row.model and (row.token_class or totals_only) for row in tokens),
            models=frozenset(family(row.model) for row in tokens if row.model),
            fees=fees,
        )

    def is_long(self, model: str, token_class: str) -> bool:
        """Whether the bill does not tell days there."""
        if _is_fee(token_class):
            return self.everything or token_class in self.fees
        return self.everything or (bool(self.models) and self.family(model) in self.models)

    def day(self, model: str, token_class: str, day: date) -> date:
        """The day on which something of that place stands."""
        return self.start if self.start <= day < self.end and self.is_long(model, token_class) else day

    def rows(self, rows: Sequence[BillRow]) -> Sequence[BillRow]:
        """The bill's side, moved."""
        return [replace(row, day=self.day(row.model, row.token_class, row.day)) for row in rows]

    def used(self, used: Sequence[Used]) -> Sequence[Used]:
        """The ledger's side, moved."""
        if not (self.everything or self.models or self.fees):
            return used
        moved: list[Any] = []
        for item in used:
            dims = item.dims
            day = self.day(dims.model, dims.token_class, dims.day)
            moved.append(item if day == dims.day else replace(cast("Any", item), dims=replace(dims, day=day)))
        return moved

    def span(self, places: Iterable[Dims]) -> tuple[date, date]:
        """The first and last day that some places stand for, both included."""
        first, last = date.max, date.min
        for dims in places:
            first = min(first, dims.day)
            whole = dims.day == self.start and self.is_long(dims.model, dims.token_class)
            last = max(last, self.end - date.resolution if whole else dims.day)
        return first, last


def _is_fee(token_class: str) -> bool:
    return bool(token_class) and token_class not in _TOKENS
