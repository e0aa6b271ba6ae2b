"""OpenLIT 1.45: the conventions' names, with provider-dependent meaning and guesses where a stream sent no usage."""

from __future__ import annotations

from typing import Final

from spanledger.semconv.dialects import conventions
from spanledger.semconv.dialects.table import Dialect, Draft
from spanledger.semconv.observation import Role
from spanledger.semconv.records import LogEntry

_BESIDE_CACHE: Final = ("anthropic", "aws.bedrock")
_BESIDE_REASONING: Final = ("gemini", "gcp", "vertex", "google")


def _role(draft: Draft) -> Role | None:
    role = conventions.role(draft)
    if role is Role.LEAF and isinstance(draft.record, LogEntry):
        # Its log repeats the span (for streams without saying which), but not what tells guesses from measurements.
        draft.counts.clear()
        return Role.DETAIL
    return role


def _adjust(draft: Draft) -> None:
    provider = draft.get("provider").lower()
    if provider.startswith(_BESIDE_CACHE):
        draft.input_holds_cache = False
    elif provider.startswith(_BESIDE_REASONING):
        draft.output_holds_reasoning = False
    if draft.counts and draft.fields.get("is_stream") and "cache_read" not in draft.counts and _is_chat(draft):
        # Without a usage chunk it counts words; only then no cache attribute is written.
        draft.counts.clear()
        draft.fields.pop("claimed_cost_usd", None)
        draft.notes.append("guessed_usage")


def _is_chat(draft: Draft) -> bool:
    return draft.get("operation") == "chat" and "gen_ai.server.time_to_first_token" in draft.attributes


DIALECT: Final = Dialect(
    name="openlit",
    scopes=("openlit.*",),
    texts=conventions.TEXTS,
    counts=conventions.COUNTS,
    role=_role,
    adjust=_adjust,
)
