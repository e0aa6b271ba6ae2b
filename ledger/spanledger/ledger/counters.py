"""Reading the counters: values that only ever grow, and what is still to be netted."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

REQUESTS: Final = "llm_requests_total"
TOKENS: Final = "llm_tokens_total"
COST: Final = "llm_cost_usd_total"
UNKNOWN_MODEL: Final = "llm_requests_unknown_model_total"


@dataclass(frozen=True, slots=True)
class Counter:
    """One label set's counter.

    Attributes:
        value: what to expose; never goes down.
        pending: a downward correction (late duplicate, repricing) not yet netted against growth; truth = value - pending.
    """

    org_id: str
    metric: str
    provider: str
    model: str
    value: Decimal
    pending: Decimal
