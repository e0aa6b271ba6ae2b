"""Agent frameworks with their own spans: the conventions' names and meaning, the framework's name as provider.

Pydantic AI 2, Strands 1.62, Google ADK 2.13, Microsoft Agent Framework 1.23, Semantic Kernel 1.45, AutoGen.
"""

from __future__ import annotations

from typing import Final

from spanledger.semconv.dialects import conventions, openinference
from spanledger.semconv.dialects.table import Dialect, Draft


def _adjust(draft: Draft) -> None:
    openinference.metadata(draft)


PYDANTIC_AI: Final = Dialect(
    name="pydantic_ai",
    scopes=("pydantic-ai", "pydantic_ai", "pydantic_ai.*"),
    texts=conventions.TEXTS,
    counts=conventions.COUNTS,
    role=conventions.role,
    adjust=_adjust,
    trust=1,
)

FRAMEWORKS: Final = Dialect(
    name="framework",
    scopes=(
        "strands.*",
        "strands-agents",
        "gcp.vertex.agent",
        "agent_framework",
        "agent_framework.*",
        "semantic_kernel",
        "semantic_kernel.*",
        "Microsoft.SemanticKernel*",
        "Microsoft.Agents.*",
        "Experimental.Microsoft.Agents.*",
        "Experimental.Microsoft.Extensions.AI",
        "Microsoft.Extensions.AI",
        "autogen*",
        "crewai.*",
        "haystack.*",
        "smolagents*",
    ),
    texts=conventions.TEXTS,
    counts=conventions.COUNTS,
    role=conventions.role,
    asks=(),
    trust=1,
)
