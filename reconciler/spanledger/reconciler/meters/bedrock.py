"""AWS usage types of Bedrock: ``USE1-Claude4.6Sonnet-cache-read-input-token-count-global`` and its many relatives.

The pattern is region, model, token type, then tier and inference scope; Marketplace-billed models have
``MP:USW2_output_tokens_standard-Units`` and name the model in the service. What fits no table stays unclassified.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class UsageType:
    """What a usage type says; ``""`` and ``None`` for what it does not."""

    region: str = ""
    model: str = ""
    token_class: str = ""
    service_tier: str = ""
    is_batch: bool | None = None
    scope: str = ""
    """``global`` for global cross-region inference, which has its own price."""
    is_marketplace: bool = False


_REGION: Final = re.compile(r"([A-Z]{2,4}\d?)[-_]")

TOKEN_TYPES: Final = (
    (re.compile(r"cache[-_]?write[-_]1[-_]?h(?:our)?[a-z0-9_-]*?(?:tokens?(?:[-_]count)?)?", re.I), "cache_write_1h"),
    (re.compile(r"cache[-_]?write(?:[-_]input)?[-_]tokens?(?:[-_]count)?[-_]1[-_]?h(?:our)?", re.I), "cache_write_1h"),
    (re.compile(r"cache[-_]?write(?:[-_]?input)?[-_]?tokens?(?:[-_]?count)?", re.I), "cache_write_5m"),
    (re.compile(r"cache[-_]?read(?:[-_]?input)?[-_]?tokens?(?:[-_]?count)?", re.I), "cache_read"),
    (re.compile(r"(?:text[-_])?input[-_]?tokens?(?:[-_]?count)?", re.I), "input_uncached"),
    (re.compile(r"(?:text[-_])?output[-_]?tokens?(?:[-_]?count)?", re.I), "output_text"),
    (re.compile(r"provisioned[-_]?throughput[a-z0-9_-]*|modelunits?", re.I), "provisioned_hours"),
    (re.compile(r"guardrail[a-z0-9_-]*", re.I), "guardrails"),
)
"""Token type in the middle of a usage type → class; tried in order. A plain cache write is the 5-minute one."""

_TIERS: Final = ("flex", "priority", "standard", "reserved")


def read_usage_type(said: str) -> UsageType:
    """Take a usage type apart."""
    text = said.strip()
    is_marketplace = "MP:" in text
    if is_marketplace:
        text = text.partition("MP:")[2].removesuffix("-Units")
    region = ""
    if match := _REGION.match(text):
        region, text = match[1], text[match.end() :]
    for pattern, token_class in TOKEN_TYPES:
        found = pattern.search(text)
        if found is None:
            continue
        model = text[: found.start()].strip("-_").removesuffix("-mantle")
        words = re.split(r"[-_]+", text[found.end() :].lower())
        is_batch = "batch" in words or model.lower().endswith("-batch")
        return UsageType(
            region=region,
            model=model.removesuffix("-batch"),
            token_class=token_class,
            service_tier=next((tier for tier in _TIERS if tier in words), ""),
            is_batch=is_batch,
            scope="global" if "global" in words else "",
            is_marketplace=is_marketplace,
        )
    return UsageType(region=region, is_marketplace=is_marketplace)


def service_model(service: str) -> str:
    """The model that a service is named after: ``Claude 4.6 Sonnet (Amazon Bedrock Edition)``."""
    name, edition, _ = service.partition(" (Amazon Bedrock Edition)")
    return name if edition else ""
