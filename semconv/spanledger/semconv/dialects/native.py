"""SDKs that trace themselves: Anthropic's (2.x), Mistral's (1.x, 3.x) and xAI's."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from spanledger.semconv.dialects import conventions, values
from spanledger.semconv.dialects.official import note_broken_stream
from spanledger.semconv.dialects.table import Dialect, Draft
from spanledger.semconv.observation import Role

ANTHROPIC: Final = Dialect(
    name="anthropic_sdk",
    scopes=("com.anthropic.sdk.*",),
    texts=conventions.TEXTS,
    counts=conventions.COUNTS,
    role=conventions.role,
    adjust=note_broken_stream,
    asks=(),
    trust=3,
)

_MISTRAL_OPERATIONS: Final = (("embeddings", "embeddings"), ("fim", "text_completion"), ("completion", "chat"))


def _mistral(draft: Draft) -> None:
    url = draft.attributes.get("http.url")
    if isinstance(url, str) and url.endswith("#stream"):
        draft.fields["is_stream"] = True
    if not draft.get("response_id") and draft.get("operation") == "embeddings" and draft.counts.get("output") == 0:
        del draft.counts["output"]


def _mistral_role(draft: Draft) -> Role | None:
    if not draft.get("operation"):
        # Version 1 names the HTTP operation only: chat_completion_v1_chat_completions_post.
        operation = str(draft.attributes.get("mistral_ai.operation.id", ""))
        for word, name in _MISTRAL_OPERATIONS:
            if word in operation:
                draft.fields["operation"] = name
                break
    return conventions.role(draft)


MISTRAL: Final = Dialect(
    name="mistral_sdk",
    scopes=("mistralai_sdk_tracer",),
    texts=conventions.TEXTS,
    counts={**conventions.COUNTS, "total": ("gen_ai.usage.total_tokens", "mistral_ai.request.total_tokens")},
    role=_mistral_role,
    adjust=_mistral,
    trust=3,
)

_TICKS: Final = "gen_ai.usage.cost_in_usd_ticks"
_TICKS_PER_USD: Final = Decimal(10) ** 10
_XAI_OPERATIONS: Final = {
    "generate_image": "image_generation",
    "generate_video": "video_generation",
    "extend_video": "video_generation",
}


def _xai_role(draft: Draft) -> Role | None:
    """Uploads, collections and tokenizing have spans of the same scopes; they ask no model."""
    operation = _XAI_OPERATIONS.get(draft.get("operation"))
    if operation is not None:
        draft.fields["operation"] = operation
        return Role.LEAF
    return conventions.role(draft) if draft.get("request_model") or draft.get("response_id") else None


def _xai(draft: Draft) -> None:
    """What xAI charges for a call (docs.x.ai, cost tracking): 1e-10 USD, discounts and tool fees included."""
    ticks = values.count(draft.attributes.get(_TICKS))
    if isinstance(ticks, int):
        draft.fields["exact_cost_usd"] = Decimal(ticks) / _TICKS_PER_USD


XAI: Final = Dialect(
    name="xai_sdk",
    scopes=("xai_sdk.*",),
    texts=conventions.TEXTS,
    counts={
        **conventions.COUNTS,
        "cache_read": ("gen_ai.usage.cached_prompt_text_tokens",),
        "input_image": ("gen_ai.usage.prompt_image_tokens",),
    },
    # Its completion tokens are the visible ones: prompt + completion + reasoning is the total.
    output_holds_reasoning=False,
    role=_xai_role,
    adjust=_xai,
    trust=3,
)
