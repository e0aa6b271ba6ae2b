"""The connectors, one module per provider."""

from __future__ import annotations

from typing import Final

from spanledger.reconciler.connector import Connector
from spanledger.reconciler.connectors.anthropic import Anthropic
from spanledger.reconciler.connectors.aws_bedrock import AwsBedrock
from spanledger.reconciler.connectors.azure_openai import AzureOpenAI
from spanledger.reconciler.connectors.files import Files
from spanledger.reconciler.connectors.google import Google
from spanledger.reconciler.connectors.groq import Groq
from spanledger.reconciler.connectors.mistral import Mistral
from spanledger.reconciler.connectors.openai import OpenAI
from spanledger.reconciler.connectors.openrouter import OpenRouter
from spanledger.reconciler.connectors.xai import XAI
from spanledger.reconciler.errors import ConfigError

CONNECTORS: Final[tuple[Connector, ...]] = (
    OpenAI(),
    Anthropic(),
    XAI(),
    AzureOpenAI(),
    AwsBedrock(),
    Google(),
    OpenRouter(),
    Mistral(),
    Groq(),
    Files(),
)
"""Every connector; they hold no state."""


def connector(name: str) -> Connector:
    """The connector with this name or alias. Raises `ConfigError`, naming those that exist."""
    wanted = name.strip().lower().replace("-", "_")
    for candidate in CONNECTORS:
        if wanted == candidate.spec.name or wanted in candidate.spec.aliases:
            return candidate
    known = ", ".join(candidate.spec.name for candidate in CONNECTORS)
    raise ConfigError(f"no connector is called {name!r}; there are {known}")
