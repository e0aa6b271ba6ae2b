"""What one call cost, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

_NO_CLASSES: Final[Mapping[str, Decimal]] = MappingProxyType({})


class CostStatus(StrEnum):
    """How a cost came about. An unknown price is never 0: it is ``UNPRICED`` with a NULL cost."""

    EXACT = "exact"
    """The provider said so in its answer."""
    LIST = "list"
    """Usage times the price book."""
    CLAIMED = "claimed"
    """Only the span's own cost attribute was available."""
    BOUNDED = "bounded"
    """Usage partly unknown: ``low`` and ``high`` enclose the truth, ``total`` is the known part."""
    UNPRICED = "unpriced"
    """No price or no usage known; ``reason`` says which."""


class Cost(NamedTuple):
    """A call's cost in US dollars. A tuple because a ledger makes millions: it is made in a tenth of the time.

    Attributes:
        status: how sure it is.
        total: the cost; ``None`` exactly when ``status`` is ``UNPRICED``.
        low: lower bound (equal to ``total`` unless bounded); ``None`` when unpriced.
        high: upper bound; ``None`` when unpriced, or when bounded and no upper limit is known.
        by_class: the exact share of each token class or count; sums to ``total`` for ``LIST`` and ``BOUNDED``.
        price_id: which rate snapshot priced it; ``""`` when none did.
        reason: why it is unpriced or bounded, in a few fixed words; ``""`` otherwise.
    """

    status: CostStatus
    total: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    by_class: Mapping[str, Decimal] = _NO_CLASSES
    price_id: str = ""
    reason: str = ""
