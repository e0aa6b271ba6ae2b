"""What the fake provider charges: its own published-rate table, independent of the price book.

The figures are the providers' public list prices in US dollars per million tokens, as printed on
https://platform.openai.com/docs/pricing and https://docs.claude.com/en/docs/about-claude/pricing. They are typed in
here a second time on purpose: the demo and the tests compare the ledger's sums with an account that shares no code and
no data with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

MILLION: Final = Decimal(1_000_000)
PER_SEARCH: Final = Decimal("0.01")
"""Both providers ask $10 per 1,000 web searches."""


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars per million tokens. A rate of ``None`` means that the provider does not sell that class."""

    snapshot: str
    """The dated model name that answers carry."""
    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasons: bool = False
    """Whether the model spends hidden reasoning tokens (billed as output)."""


def _openai(snapshot: str, input_: str, cached: str, output: str, *, reasons: bool = False) -> Rate:
    return Rate(snapshot, Decimal(input_), Decimal(output), cache_read=Decimal(cached), reasons=reasons)


def _claude(snapshot: str, input_: str, output: str) -> Rate:
    base = Decimal(input_)
    return Rate(
        snapshot,
        base,
        Decimal(output),
        cache_read=base * Decimal("0.1"),
        cache_write_5m=base * Decimal("1.25"),
        cache_write_1h=base * 2,
    )


OPENAI: Final[Mapping[str, Rate]] = {
    "gpt-4o": _openai("gpt-4o-2024-08-06", "2.50", "1.25", "10.00"),
    "gpt-4o-mini": _openai("gpt-4o-mini-2024-07-18", "0.15", "0.075", "0.60"),
    "gpt-4.1-mini": _openai("gpt-4.1-mini-2025-04-14", "0.40", "0.10", "1.60"),
    "gpt-5": _openai("gpt-5-2025-08-07", "1.25", "0.125", "10.00", reasons=True),
    "gpt-5-mini": _openai("gpt-5-mini-2025-08-07", "0.25", "0.025", "2.00", reasons=True),
    "o4-mini": _openai("o4-mini-2025-04-16", "1.10", "0.275", "4.40", reasons=True),
    "text-embedding-3-small": Rate("text-embedding-3-small", Decimal("0.02"), Decimal(0)),
}

OPENAI_TIERS: Final[Mapping[tuple[str, str], Rate]] = {
    ("gpt-4o", "priority"): _openai("gpt-4o-2024-08-06", "4.25", "2.125", "17.00"),
    ("gpt-5", "priority"): _openai("gpt-5-2025-08-07", "2.50", "0.25", "20.00", reasons=True),
    ("gpt-5", "flex"): _openai("gpt-5-2025-08-07", "0.625", "0.0625", "5.00", reasons=True),
    ("gpt-5-mini", "flex"): _openai("gpt-5-mini-2025-08-07", "0.125", "0.0125", "1.00", reasons=True),
    ("o4-mini", "flex"): _openai("o4-mini-2025-04-16", "0.55", "0.138", "2.20", reasons=True),
}

ANTHROPIC: Final[Mapping[str, Rate]] = {
    "claude-sonnet-5": _claude("claude-sonnet-5", "2.00", "10.00"),
    "claude-sonnet-4-6": _claude("claude-sonnet-4-6", "3.00", "15.00"),
    "claude-sonnet-4-5": _claude("claude-sonnet-4-5-20250929", "3.00", "15.00"),
    "claude-haiku-4-5": _claude("claude-haiku-4-5-20251001", "1.00", "5.00"),
    "claude-opus-4-5": _claude("claude-opus-4-5-20251101", "5.00", "25.00"),
}


def _no_tokens() -> dict[str, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Charge:
    """Disjoint quantities of one billed call, by class; ``reasoning`` is charged at the output rate."""

    tokens: Mapping[str, int] = field(default_factory=_no_tokens)
    web_searches: int = 0


def by_class(rate: Rate, charge: Charge) -> dict[str, Decimal]:
    """The exact price of each part of a call in US dollars; the parts add up to its price.

    Raises:
        ValueError: a class was used that this model does not sell.
    """
    per_million = {
        "input_uncached": rate.input,
        "cache_read": rate.cache_read,
        "cache_write_5m": rate.cache_write_5m,
        "cache_write_1h": rate.cache_write_1h,
        "output_text": rate.output,
        "reasoning": rate.output,
    }
    parts: dict[str, Decimal] = {}
    for token_class, count in charge.tokens.items():
        price = per_million.get(token_class)
        if price is not None:
            parts[token_class] = count * price / MILLION
        elif count:
            raise ValueError(f"{rate.snapshot} does not sell {token_class}")
    if charge.web_searches:
        parts["web_searches"] = charge.web_searches * PER_SEARCH
    return parts
