"""MLflow 3.17 tracing: every value is JSON, usage in one object whose input includes the cache."""

from __future__ import annotations

from typing import Final

from spanledger.semconv.dialects import conventions, ids, usage_json, usage_text, values
from spanledger.semconv.dialects.table import Aliases, Dialect, Draft
from spanledger.semconv.dialects.values import Bad
from spanledger.semconv.observation import Role

_TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "provider": ("mlflow.llm.provider", *conventions.TEXTS["provider"]),
    "operation": ("mlflow.spanType", *conventions.TEXTS["operation"]),
    "response_model": ("mlflow.llm.model", *conventions.TEXTS["response_model"]),
    "session_id": ("mlflow.trace.session", *conventions.TEXTS["session_id"]),
    "user_id": ("mlflow.trace.user", *conventions.TEXTS["user_id"]),
}
_KINDS: Final = {"CHAT_MODEL": "chat", "LLM": "text_completion", "EMBEDDING": "embeddings", "RERANKER": "rerank"}


def _role(draft: Draft) -> Role | None:
    fields = draft.fields
    for field in ("provider", "operation", "response_model", "request_model", "session_id", "user_id"):
        if draft.get(field):
            fields[field] = values.unquoted(fields[field])
    kind = draft.get("operation")
    operation = _KINDS.get(kind)
    if not values.is_word(kind) and "mlflow.chat.tokenUsage" in draft.attributes:
        draft.notes.append("unknown_operation")
        operation = "chat"
    if operation is not None:
        fields["operation"] = operation
        return Role.LEAF
    return Role.DETAIL if kind == "TOOL" else Role.AGGREGATE


def _adjust(draft: Draft) -> None:
    attributes, fields = draft.attributes, draft.fields
    if draft.role is not Role.LEAF:
        return
    found = usage_text.from_json(attributes.get("mlflow.chat.tokenUsage"))
    if found is not None:
        found.input_holds_cache = True
        usage_json.apply(draft, found)
    cost = values.mapping(attributes.get("mlflow.llm.cost"))
    if cost:
        dollars = values.amount(cost.get("total_cost"))
        if not isinstance(dollars, Bad) and dollars:
            fields["claimed_cost_usd"] = dollars
    if not draft.get("response_id"):
        fields["response_id"] = ids.in_json(attributes.get("mlflow.spanOutputs"))
    if not draft.get("request_model"):
        asked = values.mapping(attributes.get("mlflow.spanInputs")).get("model")
        if isinstance(asked, str) and len(asked) <= values.MAX_TEXT:
            fields["request_model"] = asked


DIALECT: Final = Dialect(
    name="mlflow",
    scopes=("mlflow", "mlflow.*"),
    markers=("mlflow.spanType",),
    texts=_TEXTS,
    counts=conventions.COUNTS,
    role=_role,
    adjust=_adjust,
    trust=1,
)
