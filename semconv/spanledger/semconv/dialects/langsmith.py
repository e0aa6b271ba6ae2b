"""LangSmith's OTel export (0.14): the conventions' totals, the details as JSON."""

from __future__ import annotations

from typing import Final

from spanledger.semconv.dialects import conventions, ids, usage_json, usage_text
from spanledger.semconv.dialects.table import Aliases, Dialect, Draft
from spanledger.semconv.observation import Role

_M: Final = "langsmith.metadata."
_TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "provider": (_M + "ls_provider", *conventions.TEXTS["provider"]),
    "request_model": (*conventions.TEXTS["request_model"], _M + "ls_model_name"),
}

_KINDS: Final = frozenset(("llm", "embedding", "tool", "chain", "agent", "retriever", "prompt", "parser"))


def _role(draft: Draft) -> Role | None:
    kind = draft.attributes.get("langsmith.span.kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        return conventions.role(draft) or Role.AGGREGATE
    if kind in ("llm", "embedding"):
        return Role.LEAF
    return Role.DETAIL if kind == "tool" else Role.AGGREGATE


def _adjust(draft: Draft) -> None:
    attributes = draft.attributes
    if draft.role is not Role.LEAF:
        draft.counts.clear()
        return
    found = usage_text.from_json(attributes.get(_M + "usage_metadata"))
    if found is not None:
        found.input_holds_cache = found.output_holds_reasoning = True
        usage_json.apply(draft, found)
    if not draft.get("response_id"):
        draft.fields["response_id"] = ids.in_json(attributes.get("gen_ai.completion"))


DIALECT: Final = Dialect(
    name="langsmith",
    scopes=("langsmith", "langsmith.*"),
    markers=("langsmith.span.kind",),
    texts=_TEXTS,
    counts=conventions.COUNTS,
    role=_role,
    adjust=_adjust,
    bags=(_M,),
    trust=1,
)
