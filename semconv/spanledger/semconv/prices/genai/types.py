"""What the data module of ``genai-prices`` finds under ``from .types import *``: its constructors, by its names.

Each returns plain values (tuples, texts, numbers), and a whole model is packed at once, so that reading thousands of
models takes little more memory than keeping them. What decides no price (descriptions, how to read usage from an
answer) is dropped on the spot. A word that is not known here is a ``TypeError`` or a ``NameError``: see
`spanledger.semconv.prices.genai.bundled`.
"""

# ruff: noqa: N802 - the names are the data module's

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

from spanledger.semconv.prices.genai.models import (
    FROM,
    HOURS,
    Amount,
    Constraint,
    Match,
    Model,
    Prices,
    Provider,
    Stage,
    Variant,
)

__all__ = [  # noqa: RUF022 - the data module's order
    "Provider",
    "ModelInfo",
    "ModelPrice",
    "TieredPrices",
    "Tier",
    "ConditionalPrice",
    "PriceVariant",
    "StartDateConstraint",
    "TimeOfDateConstraint",
    "ClauseStartsWith",
    "ClauseEndsWith",
    "ClauseContains",
    "ClauseRegex",
    "ClauseEquals",
    "ClauseOr",
    "ClauseAnd",
    "UsageExtractor",
    "UsageExtractorMapping",
    "ArrayMatch",
]


def ModelInfo(
    *,
    id: str,
    match: Match,
    prices: Prices | Sequence[Stage],
    price_variants: Sequence[Variant] | None = None,
    **about: object,
) -> bytes:
    del about
    stages: list[Stage] = [(None, prices)] if isinstance(prices, dict) else list(prices)
    return Model(id, match, stages, list(price_variants or ())).packed()


def ModelPrice(**prices: Decimal | Amount | None) -> Prices:
    return {key: _amount(value) for key, value in prices.items() if value is not None}


def TieredPrices(*, base: Decimal, tiers: Sequence[tuple[int, str]]) -> Amount:
    return str(base), sorted(tiers, key=lambda tier: tier[0])


def Tier(*, start: int, price: Decimal) -> tuple[int, str]:
    return start, str(price)


def ConditionalPrice(constraint: Constraint | None = None, *, prices: Prices) -> Stage:
    return constraint, prices


def PriceVariant(*, when: Mapping[str, str], prices: Prices, constraint: Constraint | None = None) -> Variant:
    return dict(when), constraint, prices


def StartDateConstraint(*, start_date: date) -> Constraint:
    return FROM, start_date.toordinal(), 0


def TimeOfDateConstraint(*, start_time: time, end_time: time) -> Constraint:
    return HOURS, _second(start_time), _second(end_time)


def ClauseStartsWith(*, starts_with: str) -> Match:
    return "starts_with", starts_with.lower()


def ClauseEndsWith(*, ends_with: str) -> Match:
    return "ends_with", ends_with.lower()


def ClauseContains(*, contains: str) -> Match:
    return "contains", contains.lower()


def ClauseRegex(*, regex: str) -> Match:
    return "regex", regex


def ClauseEquals(*, equals: str) -> Match:
    return "equals", equals.lower()


def ClauseOr(*, or_: Sequence[Match]) -> Match:
    return "or", list(or_)


def ClauseAnd(*, and_: Sequence[Match]) -> Match:
    return "and", list(and_)


def _nothing(**about: object) -> None:
    del about


UsageExtractor: Final[Callable[..., None]] = _nothing
UsageExtractorMapping: Final[Callable[..., None]] = _nothing
ArrayMatch: Final[Callable[..., None]] = _nothing


def _amount(value: Decimal | Amount) -> Amount:
    return str(value) if isinstance(value, Decimal) else value


def _second(value: time) -> int:
    """Seconds since midnight, UTC; a time without a zone is UTC."""
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    utc = datetime.combine(date(2000, 1, 2), aware).astimezone(UTC)
    return utc.hour * 3600 + utc.minute * 60 + utc.second
