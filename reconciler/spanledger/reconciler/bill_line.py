"""One line of what a provider reports: a used quantity or a charged amount."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from spanledger.reconciler.units import Money

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def _nothing() -> Mapping[str, str]:
    return _NOTHING


class Kind(StrEnum):
    """What a line measures."""

    USAGE = "usage"
    """A quantity; ``money`` is unknown."""
    COST = "cost"
    """A charge."""


class Charge(StrEnum):
    """What a line is for (FOCUS's ChargeCategory, lower case, plus ours)."""

    USAGE = "usage"
    PURCHASE = "purchase"
    """A prepayment or a commitment: money without usage."""
    TAX = "tax"
    CREDIT = "credit"
    """A discount, promotion, free tier or refund shown as its own line; usually negative."""
    ADJUSTMENT = "adjustment"
    """A correction or a rounding line."""
    MEMO = "memo"
    """For information only (estimates, subscription use): no part of the bill, never summed with it."""


@dataclass(slots=True, kw_only=True)
class BillLine:
    """One line of a provider's report. Treat as immutable once made.

    Texts that the provider did not give are ``""``; unknown numbers are ``None``. The period is ``[start, end)``,
    aware, UTC (a provider with another billing day gives the true instants of that day). Connection, organisation,
    stream and fetch time are the engine's to add.

    Attributes:
        kind: usage or cost.
        provider: who bills, in the ledger's words (``azure_openai``).
        model: the provider's model name as the line shows it.
        token_class: a class of `spanledger.semconv.usage.TOKEN_CLASSES`, a count (``web_searches``, ``requests``), or
            ``""`` when the line could not be classified. ``output_text`` includes reasoning where the provider does
            not split it.
        line_item: the provider's own words, verbatim.
        quantity: in single units (tokens, not thousands of tokens). A token class is counted in tokens: a quantity in
            another unit is kept as a dimension only.
        unit: ``tokens``, ``requests``, ``seconds``, ... ; ``""`` when unknown.
        money: the charged amount after discounts that the provider folds into its prices; ``None`` when not given.
        list_money: the same at list price, where the provider says so.
        is_final: ``True``/``False`` when the provider says so itself; ``None`` leaves it to the stream's rule.
        source_id: the provider's own id of the line; ``""`` lets the engine point into the kept response.
        slot: the billing period that the line belongs to, where that is not the day of its start.
        dimensions: every other dimension that the provider gave, by its own name.
    """

    kind: Kind
    start: datetime
    end: datetime
    provider: str
    model: str = ""
    token_class: str = ""
    project: str = ""
    workspace: str = ""
    api_key: str = ""
    service_tier: str = ""
    is_batch: bool | None = None
    line_item: str = ""
    quantity: Decimal | None = None
    unit: str = ""
    money: Money | None = None
    list_money: Money | None = None
    charge: Charge = Charge.USAGE
    is_final: bool | None = None
    source_id: str = ""
    slot: str = ""
    dimensions: Mapping[str, str] = field(default_factory=_nothing)
