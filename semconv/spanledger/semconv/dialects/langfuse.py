"""Langfuse's SDK 3 to 5: usage and cost as JSON, no provider, the response's model as the model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from spanledger.semconv.dialects import conventions, ids, usage_json, usage_text, values
from spanledger.semconv.dialects.table import Aliases, Dialect, Draft
from spanledger.semconv.dialects.values import Bad
from spanledger.semconv.observation import Role
from spanledger.semconv.records import SpanRecord

_O: Final = "langfuse.observation."
_TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "operation": (_O + "type",),
    "response_model": (_O + "model.name", *conventions.TEXTS["response_model"]),
    "session_id": ("session.id", "langfuse.session.id", *conventions.TEXTS["session_id"]),
    "user_id": ("user.id", "langfuse.user.id", *conventions.TEXTS["user_id"]),
    "environment": ("langfuse.environment", *conventions.TEXTS["environment"]),
}
_BAGS: Final = ("langfuse.trace.metadata.", "langfuse.observation.metadata.")
_WHO: Final = ("session_id", "user_id", "team_id", "feature")
_LEAVES: Final = {"generation": "chat", "embedding": "embeddings"}


def _role(draft: Draft) -> Role | None:
    kind = draft.get("operation")
    leaf = _LEAVES.get(kind)
    if not values.is_word(kind) and _O + "usage_details" in draft.attributes:
        draft.notes.append("unknown_operation")
        leaf = "chat"
    if leaf is not None:
        draft.fields["operation"] = leaf
        return Role.LEAF
    return Role.DETAIL if kind == "tool" else Role.AGGREGATE


def _adjust(draft: Draft) -> None:
    attributes, fields = draft.attributes, draft.fields
    for field in _WHO:
        if fields.get(field):
            fields[field] = values.unquoted(fields[field])
    if attributes.get(_O + "level") == "ERROR":
        fields["status"] = "error"
    if draft.role is not Role.LEAF:
        return
    usage_json.apply(draft, usage_text.from_json(attributes.get(_O + "usage_details")))
    if _O + "cost_details" in attributes:
        cost = values.amount(values.mapping(attributes[_O + "cost_details"]).get("total"))
        if not isinstance(cost, Bad) and cost:
            fields["claimed_cost_usd"] = cost
    if not fields.get("response_id"):
        named = values.unquoted(attributes.get(_O + "metadata.id"))
        if isinstance(named, str) and named.startswith(("resp_", "chatcmpl-", "msg_")):
            fields["response_id"] = named
        else:
            fields["response_id"] = ids.in_json(attributes.get(_O + "output"))
    if _O + "metadata.service_tier" in attributes and not fields.get("service_tier"):
        tier = values.unquoted(attributes[_O + "metadata.service_tier"])
        if isinstance(tier, str) and len(tier) < 32:
            fields["service_tier"] = tier
    if _O + "completion_start_time" in attributes:
        _first_token(draft)


def _first_token(draft: Draft) -> None:
    written = values.unquoted(draft.attributes.get(_O + "completion_start_time"))
    if not isinstance(written, str) or not isinstance(draft.record, SpanRecord):
        return
    draft.fields["is_stream"] = True
    try:
        at = datetime.fromisoformat(written.replace("Z", "+00:00"))
    except ValueError:
        return
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    waited = int(at.timestamp() * 1_000_000) * 1000 - draft.record.start_ns
    if 0 <= waited <= max(0, draft.record.end_ns - draft.record.start_ns):
        draft.fields["ttft_ns"] = waited


DIALECT: Final = Dialect(
    name="langfuse",
    scopes=("langfuse-sdk", "langfuse*", "@langfuse/*"),
    markers=(_O + "type",),
    texts=_TEXTS,
    counts=conventions.COUNTS,
    role=_role,
    adjust=_adjust,
    bags=_BAGS,
    label_bags=("langfuse.trace.metadata.",),
    trust=1,
)
