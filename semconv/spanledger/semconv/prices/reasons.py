"""Why a cost is unpriced or bounded: the fixed words of ``Cost.reason`` (several are joined by a comma)."""

from __future__ import annotations

from typing import Final

NO_USAGE: Final = "no_usage"
"""No token class and no count was reported."""
UNKNOWN_MODEL: Final = "unknown_model"
"""The price book does not know the model of this provider (or the name is an alias that only the user can explain)."""
UNKNOWN_PROVIDER: Final = "unknown_provider"
"""The price book has no prices of this provider at all."""
SELF_HOSTED: Final = "self_hosted"
"""Nobody bills per token; give the model a price of its own in the overrides file."""
NO_RATE: Final = "no_rate"
"""Something was used that the price book has no rate for."""
PROVISIONED: Final = "provisioned"
"""Paid by the month, not by the token: the call adds nothing to the bill, the commitment is spread elsewhere."""
PARTIAL_USAGE: Final = "partial_usage"
"""The stream broke off: what is known is a lower bound."""
ESTIMATED_USAGE: Final = "estimated_usage"
"""The emitter guessed the token counts."""
INPUT_UNKNOWN: Final = "input_unknown"
OUTPUT_UNKNOWN: Final = "output_unknown"
CACHE_LIFETIME: Final = "cache_lifetime"
"""Tokens were written to a cache of unknown lifetime and the lifetimes have different rates."""
SERVICE_TIER: Final = "service_tier"
"""No rate is known for the tier that served the call: priced at the standard rate."""
BATCH: Final = "batch"
"""No batch rate is known: priced at the standard rate."""

OTHER_MODEL: Final = "other_model"
"""Some of the tokens are another model's, at rates of its own: nobody says how many."""
INFERENCE_GEO: Final = "inference_geo"
"""It is not known whether keeping inference to a place costs extra here: priced without."""


def join(*reasons: str) -> str:
    """One text of the reasons that are not empty, in the given order, each once."""
    return ",".join(dict.fromkeys(reason for reason in reasons if reason))
