"""SDKs that trace themselves: Anthropic's (2.x) and Mistral's (1.x, 3.x)."""

from __future__ import annotations

from typing import Final

from spanledger.semconv.dialects import conventions
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
