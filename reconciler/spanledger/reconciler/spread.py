"""Divide an amount so that the parts add up to it exactly (largest remainder method)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Final, TypeVar

from spanledger.semconv.money import CONTEXT, LEDGER_SCALE

_QUANTUM: Final = Decimal(1).scaleb(-LEDGER_SCALE)

Key = TypeVar("Key")


def spread(amount: Decimal, weights: Mapping[Key, Decimal], *, quantum: Decimal = _QUANTUM) -> dict[Key, Decimal]:
    """Give each key its share of ``amount`` by weight, in multiples of ``quantum``; the shares sum to ``amount``.

    What rounding leaves over goes, one quantum each, to the largest remainders; ties go to the larger weight, then to
    the smaller key, so that the result does not depend on the order of ``weights``. A part of ``amount`` finer than
    ``quantum`` goes to the largest weight.

    Raises:
        ValueError: a weight is negative, or all are zero.
    """
    total = sum(weights.values(), Decimal(0))
    if total <= 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("weights must not be negative, and not all zero")
    ranked: list[tuple[Decimal, Decimal, Any]] = []
    shares: dict[Key, Decimal] = {}
    for key, weight in weights.items():
        exact = CONTEXT.divide(CONTEXT.multiply(amount, weight), total)
        shares[key] = CONTEXT.multiply((exact / quantum).to_integral_value(ROUND_FLOOR), quantum)
        ranked.append((-(exact - shares[key]), -weight, key))
    ranked.sort()
    left = amount - sum(shares.values(), Decimal(0))
    for _, _, key in ranked:
        if left < quantum:
            break
        shares[key] += quantum
        left -= quantum
    if left:
        shares[min(ranked, key=lambda rank: rank[1:])[2]] += left
    return shares
