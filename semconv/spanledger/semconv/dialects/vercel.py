"""Vercel's AI SDK 5 to 7 (scopes ``ai`` and, from 7, ``gen_ai``)."""

from __future__ import annotations

from typing import Final

from spanledger.semconv.dialects import conventions, usage_json, values
from spanledger.semconv.dialects.table import Aliases, Dialect, Draft
from spanledger.semconv.observation import Role

_BAGS: Final = ("ai.telemetry.metadata.", "ai.settings.context.")
_TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "provider": (*conventions.TEXTS["provider"], "ai.model.provider"),
    "operation": (*conventions.TEXTS["operation"], "ai.operationId"),
    "request_model": (*conventions.TEXTS["request_model"], "ai.model.id"),
    "response_model": (*conventions.TEXTS["response_model"], "ai.response.model"),
    "response_id": (*conventions.TEXTS["response_id"], "ai.response.id"),
    "feature": (*conventions.TEXTS["feature"], "ai.telemetry.functionId"),
}
_COUNTS: Final[Aliases] = {
    **conventions.COUNTS,
    "input": ("ai.usage.inputTokens", "ai.usage.promptTokens", *conventions.COUNTS["input"], "ai.usage.tokens"),
    "output": ("ai.usage.outputTokens", "ai.usage.completionTokens", *conventions.COUNTS["output"]),
    "cache_read": (
        "ai.usage.inputTokenDetails.cacheReadTokens", *conventions.COUNTS["cache_read"], "ai.usage.cachedInputTokens",
    ),
    "cache_write": ("ai.usage.inputTokenDetails.cacheWriteTokens", *conventions.COUNTS["cache_write"]),
    "reasoning": (
        "ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens", *conventions.COUNTS["reasoning"],
    ),
    "total": ("ai.usage.totalTokens", *conventions.COUNTS["total"]),
}  # fmt: skip
_LEAVES: Final = (("doGenerate", "chat"), ("doStream", "chat"), ("doEmbed", "embeddings"), ("doRerank", "rerank"))


def _role(draft: Draft) -> Role | None:
    operation = draft.get("operation")
    if not operation.startswith("ai."):
        return conventions.role(draft)
    for ending, word in _LEAVES:
        if operation.endswith(ending):
            draft.fields["operation"] = word
            if ending == "doStream":
                draft.fields["is_stream"] = True
            return Role.LEAF
    return Role.DETAIL if operation == "ai.toolCall" else Role.AGGREGATE


def _adjust(draft: Draft) -> None:
    if draft.role is not Role.LEAF:
        return
    written = draft.attributes.get("ai.response.providerMetadata")
    if isinstance(written, str) and '"anthropic"' in written:
        usage = values.mapping(values.mapping(values.mapping(written).get("anthropic")).get("usage"))
        if usage:
            # Version 5 loses the cache, later ones its lifetimes; Anthropic's own object has both.
            usage_json.apply(draft, usage_json.from_mapping(usage))
            draft.input_holds_cache = False
    elif draft.counts and "anthropic" in draft.get("provider") and "ai.usage.promptTokens" in draft.attributes:
        draft.input_holds_cache = False
        draft.notes.append("cache_lost")


DIALECT: Final = Dialect(
    name="vercel_ai",
    scopes=("ai", "gen_ai"),
    markers=("ai.operationId",),
    texts=_TEXTS,
    counts=_COUNTS,
    role=_role,
    adjust=_adjust,
    bags=_BAGS,
    label_bags=_BAGS,
    trust=1,
)
