"""From the names on spans to the names of the price book: whose prices, and which spellings of a model to try."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# The ledger's word → the base data's provider id, where they differ.
BASE_PROVIDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "azure_openai": "azure",
        "aws_bedrock": "aws",
        "google_vertex": "google",
        "xai": "x-ai",
        "moonshot": "moonshotai",
        "github": "github-copilot",
        "voyage": "voyageai",
        "zhipu": "zhipuai",
        "huggingface_fireworks_ai": "huggingface_fireworks-ai",
    }
)

# Vendor prefixes of Bedrock ids; some instrumentations cut them off.
_BEDROCK_VENDORS: Final = (
    "anthropic",
    "amazon",
    "meta",
    "mistral",
    "cohere",
    "openai",
    "qwen",
    "deepseek",
    "ai21",
    "google",
)
_BEDROCK_OPAQUE: Final = re.compile(
    r":(?:application-inference-profile|provisioned-model|custom-model|custom-model-deployment|imported-model|prompt|"
    r"prompt-router|default-prompt-router|endpoint|marketplace/model-endpoint)/"
)
_GOOGLE_PATH: Final = re.compile(r"(?:^|/)(?:models|publishers/[^/]+/models)/([^/]+)$")
_GOOGLE_REVISION: Final = re.compile(r"-\d{3}$")

DEFAULT_TIERS: Final = frozenset(
    {"", "default", "standard", "auto", "on_demand", "standard_only", "unspecified", "regular"}
)
"""Spellings of "no special tier". ``auto`` is a wish, not a tier: what was served is the default unless it says so."""
BATCH_TIERS: Final = frozenset({"batch"})
CHEAPER_TIERS: Final = frozenset(
    {"flex", "batch", "scale", "provisioned_throughput", "provisioned", "ptu", "reserved", "slow", "economy"}
)
"""Served at or below the standard rate (``scale`` and provisioned capacity are paid beforehand)."""
DEARER_TIERS: Final = frozenset({"priority", "fast", "performance", "premium", "turbo"})


def base_provider(provider: str) -> str:
    """The base data's id of a provider's word (``aws_bedrock`` → ``aws``); itself where both agree."""
    return BASE_PROVIDERS.get(provider, provider)


def tier(service_tier: str) -> str:
    """One spelling per tier: ``""`` is the standard one, else ``flex``, ``priority``, ``fast``, ``batch``, ..."""
    word = re.sub(r"[^a-z0-9]+", "_", service_tier.strip().lower()).removeprefix("service_tier_")
    if word in DEFAULT_TIERS:
        return ""
    return word.removeprefix("on_demand_")


def spoken(provider: str, model: str, request_model: str) -> tuple[str, ...]:
    """The names of a call's model, the one that decides the price first.

    The model that answered says most, except where the request's name is the product that is billed: a Bedrock profile
    (``us.`` and ``global.`` have different prices, the answer says neither) and OpenRouter's variants (``...:free``).
    """
    model, request_model = model.strip(), request_model.strip()
    is_product = provider == "aws_bedrock" or (provider == "openrouter" and request_model.startswith(f"{model}:"))
    names = (request_model, model) if is_product else (model, request_model)
    return tuple(dict.fromkeys(name for name in names if name))


def candidates(provider: str, model: str) -> tuple[str, ...]:
    """Spellings of a model to look up, most literal first; empty when the name cannot be a model's.

    Bedrock ids keep their ``us.``/``eu./``global.`` prefix (the profiles have different prices); an ARN gives the id
    behind its last slash, unless it names a profile, provisioned or custom model, which only the user can explain.
    """
    name = model.strip().lower()
    if not name:
        return ()
    found = [name]
    if provider == "aws_bedrock":
        return tuple(dict.fromkeys(_bedrock(name)))
    if provider in ("google", "google_vertex"):
        path = _GOOGLE_PATH.search(name)
        if path:
            found.append(path[1])
        found.append(_GOOGLE_REVISION.sub("", found[-1]))
    head, slash, tail = name.partition("/")
    if slash and head in _prefixes(provider):
        found.append(tail)
        if provider in ("google", "google_vertex"):
            found.append(_GOOGLE_REVISION.sub("", tail))
    return tuple(dict.fromkeys(found))


def is_opaque(provider: str, model: str) -> bool:
    """Whether a name says nothing about the model behind it (a Bedrock application profile, a custom model's ARN)."""
    return provider == "aws_bedrock" and bool(_BEDROCK_OPAQUE.search(model.lower()))


def _prefixes(provider: str) -> frozenset[str]:
    """Prefixes that routers put before a model to say where it goes (``openai/gpt-4o``)."""
    also = {
        "azure_openai": ("azure", "azure_ai"),
        "google": ("gemini", "google", "models"),
        "google_vertex": ("vertex_ai", "vertex", "google"),
        "xai": ("xai", "x-ai"),
        "mistral": ("mistral", "mistralai"),
        "together": ("together_ai", "together"),
        "fireworks": ("fireworks_ai", "fireworks"),
        "moonshot": ("moonshot", "moonshotai"),
        "github": ("github_copilot", "github"),
    }
    return frozenset((provider, *also.get(provider, ())))


def _bedrock(name: str) -> list[str]:
    if _BEDROCK_OPAQUE.search(name):
        return []
    name = name.removeprefix("bedrock/").removeprefix("converse/").removeprefix("invoke/")
    found = [name.rsplit("/", 1)[-1] if name.startswith("arn:") else name]
    bare = found[0]
    vendor = bare.split(".", 1)[0]
    if vendor not in _BEDROCK_VENDORS:
        found.extend(f"{prefix}.{bare}" for prefix in _BEDROCK_VENDORS)
    return found
