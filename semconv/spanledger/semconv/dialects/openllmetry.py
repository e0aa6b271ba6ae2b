"""OpenLLMetry (Traceloop), Python and JavaScript; read from 0.62.4 and ``@traceloop`` 0.27."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanledger.semconv.dialects import conventions
from spanledger.semconv.dialects.table import Aliases, Dialect, Draft
from spanledger.semconv.observation import Role

_BAG: Final = ("traceloop.association.properties.",)
_TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "provider": (*conventions.TEXTS["provider"], "llm.vendor"),
    "request_model": (*conventions.TEXTS["request_model"], "llm.request.model"),
    "response_model": (*conventions.TEXTS["response_model"], "llm.response.model"),
}
_COUNTS: Final[Aliases] = {
    **conventions.COUNTS,
    "input": (*conventions.COUNTS["input"], "llm.usage.prompt_tokens"),
    "output": (*conventions.COUNTS["output"], "llm.usage.completion_tokens"),
}
_OUTPUT: Final = _COUNTS["output"]
_P: Final = "opentelemetry.instrumentation."


def _role(draft: Draft) -> Role | None:
    kind = draft.attributes.get("traceloop.span.kind")
    if kind in ("workflow", "task", "agent", "handoff", "session"):
        return Role.AGGREGATE
    return conventions.role(draft)


OPENLLMETRY: Final = Dialect(
    name="openllmetry",
    scopes=(
        *(_P + library for library in (
            "openai.v0", "openai.v1", "openai_agents", "langchain", "llamaindex", "google_generativeai", "cohere",
            "mistralai", "groq", "together", "replicate", "ollama", "watsonx", "alephalpha", "transformers", "writer",
            "crewai", "haystack", "agno", "mcp", "voyageai",
        )),
        "traceloop.*",
        "@traceloop/*",
    ),
    markers=("traceloop.span.kind", "traceloop.entity.path"),
    texts=_TEXTS,
    counts=_COUNTS,
    role=_role,
    bags=_BAG,
    label_bags=_BAG,
    asks=("traceloop.span.kind",),
)  # fmt: skip


def _anthropic(draft: Draft) -> None:
    output = draft.counts.get("output")
    if "is_stream" not in draft.fields and _wrote_as_stream(draft.attributes):
        draft.fields["is_stream"] = True
    if draft.fields.get("is_stream") and output and _before(draft.record.source.scope_version, (0, 63)):
        # It adds message_start's first token to message_delta's cumulative count.
        draft.counts["output"] = output - 1
        draft.counts.pop("total", None)
        draft.notes.append("output_less_message_start")


def _wrote_as_stream(attributes: Mapping[str, Any]) -> bool:
    """``messages.stream()`` sets no flag, but like every stream it writes the usage before the response's model."""
    if "gen_ai.response.model" not in attributes:
        return False
    first = next((name for name in attributes if name == "gen_ai.response.model" or name in _OUTPUT), "")
    return first in _OUTPUT


def _before(version: str, limit: tuple[int, int]) -> bool:
    parts = version.split(".")
    try:
        return (int(parts[0]), int(parts[1])) < limit
    except (ValueError, IndexError):
        return False


ANTHROPIC: Final = Dialect(
    name="openllmetry_anthropic",
    scopes=(_P + "anthropic",),
    texts=_TEXTS,
    counts=_COUNTS,
    role=_role,
    adjust=_anthropic,
    bags=_BAG,
    label_bags=_BAG,
)


def _bedrock(draft: Draft) -> None:
    if "embed" in draft.get("request_model") and draft.get("operation") == "text_completion":
        draft.fields["operation"] = "embeddings"
        draft.counts.pop("output", None)


BEDROCK: Final = Dialect(
    name="openllmetry_bedrock",
    scopes=(_P + "bedrock", _P + "sagemaker", "@traceloop/instrumentation-bedrock"),
    texts=_TEXTS,
    counts=_COUNTS,
    role=_role,
    adjust=_bedrock,
    bags=_BAG,
    label_bags=_BAG,
    input_holds_cache=False,
)


JS_ANTHROPIC: Final = Dialect(
    name="openllmetry_js_anthropic",
    scopes=("@traceloop/instrumentation-anthropic",),
    texts=_TEXTS,
    counts=_COUNTS,
    role=_role,
    bags=_BAG,
    label_bags=_BAG,
    input_holds_cache=False,
    asks=("traceloop.span.kind",),
)
