"""Logfire 5: spans for OpenAI, Anthropic and the OpenAI Agents SDK, with the provider's usage object as JSON."""

from __future__ import annotations

from typing import Final

from spanledger.semconv.dialects import conventions, openinference, usage_json, usage_text, values
from spanledger.semconv.dialects.official import note_broken_stream
from spanledger.semconv.dialects.table import Aliases, Dialect, Draft
from spanledger.semconv.observation import Role

_TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "response_id": (*conventions.TEXTS["response_id"], "response_id"),
    "session_id": (*conventions.TEXTS["session_id"], "group_id"),
}


def _role(draft: Draft) -> Role | None:
    attributes = draft.attributes
    if "sdk_span_type" in attributes:  # Task and Turn repeat the sum of their calls
        return Role.AGGREGATE
    if draft.get("session_id") == "null":
        draft.fields["session_id"] = ""
    is_log = attributes.get("logfire.span_type") == "log"
    operation = draft.get("operation")
    if operation in conventions.MODEL_OPERATIONS:
        if (
            not is_log
            and not draft.has_usage
            and not draft.get("response_id")
            and draft.fields.get("status") != "error"
        ):
            # The request side of a stream: its usage comes in a log-like span of its own, in another trace.
            return Role.DETAIL
        return Role.LEAF
    if draft.has_usage and draft.get("request_model"):
        return Role.LEAF
    return conventions.role(draft) if operation else (Role.AGGREGATE if "group_id" in attributes else None)


def _adjust(draft: Draft) -> None:
    attributes, fields = draft.attributes, draft.fields
    openinference.metadata(draft)
    if draft.role is not Role.LEAF:
        return
    found = usage_text.from_json(attributes.get("gen_ai.usage.raw")) or usage_text.from_json(attributes.get("usage"))
    if found is not None:
        usage_json.apply(draft, found)
        if found.cost is not None:
            fields["exact_cost_usd"] = found.cost
    if attributes.get("logfire.span_type") == "log":
        fields["is_stream"] = True
        # A log-like span stands at the stream's end; its duration attribute (seconds) reaches back to the beginning.
        took = values.duration_ns(attributes.get("duration"), 1_000_000_000)
        if isinstance(took, int):
            fields["started_ns"] = max(0, getattr(draft.record, "end_ns", 0) - took)
        fields["response_model"] = ""  # it is the request's model
        if draft.counts.get("output", 0) == 1:
            note_broken_stream(draft)


DIALECT: Final = Dialect(
    name="logfire",
    scopes=("logfire", "logfire.*"),
    markers=("logfire.msg_template",),
    texts=_TEXTS,
    counts=conventions.COUNTS,
    role=_role,
    adjust=_adjust,
)
