"""The shape that every format draws: sections with rows of exact values, columns that say how to show them, charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum, auto
from typing import TYPE_CHECKING

from spanledger.semconv import money

if TYPE_CHECKING:
    from spanledger.reconciler.tieout.unseen import Unseen

Value = str | int | bool | Decimal | date | None
Record = Mapping[str, Value]


class Kind(Enum):
    """How a column's values are shown to people."""

    text = auto()
    count = auto()
    money = auto()
    change = auto()
    """Money with its sign."""
    unit_price = auto()
    """US dollars for one unit, shown for a million."""
    share = auto()
    """A share of one, shown in percent."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column for people.

    Attributes:
        title: its head.
        key: of the record's value.
        kind: how the value is shown.
        low, high: keys of the bounds, where the value is an amount that may lie between two.
    """

    title: str
    key: str
    kind: Kind = Kind.text
    low: str = ""
    high: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a report.

    Attributes:
        name: for CSV and JSON, ``snake_case``.
        title: for people.
        columns: what people see of the records.
        records: exact values; what CSV and JSON hold. Empty sections show ``empty``.
        bar: the key whose size a bar shows, ``""`` for none.
        days: whether the records are days, drawn as a chart of columns; ``bar`` is their height.
        notes: plain lines below.
        empty: what stands there without records.
    """

    name: str
    title: str
    columns: Sequence[Column]
    records: Sequence[Record]
    bar: str = ""
    days: bool = False
    notes: Sequence[str] = ()
    empty: str = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole report, ready to be drawn.

    Attributes:
        title, subtitle: its head.
        facts: a few figures that come first: (name, value, remark).
        sections: its parts.
        problems: what the reader must know before the figures are believed.
        fields: what JSON holds besides.
    """

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]
    problems: Sequence[str]
    fields: Mapping[str, Value] = field(default_factory=dict[str, Value])


UNKNOWN = "–"
_MILLION = Decimal(1_000_000)


def cents(amount: Decimal) -> str:
    """Dollars for people: cents, or as many digits as a smaller amount needs to be seen."""
    rounded = amount.quantize(Decimal("0.01"))
    if rounded or not amount:
        return f"{rounded:,}" if rounded else "0.00"
    tiny = amount.quantize(Decimal("0.000001"))
    return money.text(tiny) if tiny else ("<0.000001" if amount > 0 else ">-0.000001")


def bounds(low: Decimal | None, high: Decimal | None) -> str:
    """What an amount lies between; ``?`` where no upper limit is known."""
    return f"[{UNKNOWN if low is None else cents(low)}, {'?' if high is None else cents(high)}]"


def percent(share: Decimal) -> str:
    """A share of one, in percent."""
    return f"{(share * 100).quantize(Decimal('0.01')):,} %"


def shown(column: Column, record: Record) -> str:
    """A value as people read it."""
    value = record.get(column.key)
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, Decimal):
        if column.low:
            low, high = record.get(column.low), record.get(column.high)
            assert low is None or isinstance(low, Decimal)
            assert high is None or isinstance(high, Decimal)
            if low != high:
                return bounds(low, high)
            value = value if low is None else low
        match column.kind:
            case Kind.share:
                return percent(value)
            case Kind.change:
                return ("+" if value > 0 else "") + cents(value)
            case Kind.unit_price:
                return money.text((value * _MILLION).quantize(Decimal("0.0001")))
            case _:
                return cents(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def is_number(column: Column) -> bool:
    """Whether a column stands to the right."""
    return column.kind is not Kind.text


def length(section: Section, record: Record) -> Decimal:
    """The signed length of a record's bar as a share of the longest; 0 where there is none."""
    longest = max((abs(_size(section, each)) for each in section.records), default=Decimal(0))
    return _size(section, record) / longest if longest else Decimal(0)


def _size(section: Section, record: Record) -> Decimal:
    value = record.get(section.bar)
    return Decimal(value) if isinstance(value, (int, Decimal)) else Decimal(0)


def unseen_record(each: Unseen) -> dict[str, str | Decimal | date]:
    """What one side alone knows, with the query that lists it."""
    return {
        "kind": each.kind,
        "name": each.name,
        "amount_usd": each.amount_usd,
        "quantity": each.quantity,
        "first_day": each.first_day,
        "last_day": each.last_day,
        "models": ", ".join(each.models),
        "cause": each.cause,
        "mend": each.mend,
        "evidence": each.evidence,
    }
