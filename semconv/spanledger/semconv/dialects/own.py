"""What Spanledger's own instrumentation writes: disjoint token classes and exact decimal costs, nothing to decide."""

from __future__ import annotations

from typing import Final

from spanledger.semconv import names
from spanledger.semconv.dialects import conventions, values
from spanledger.semconv.dialects.table import Dialect, Draft
from spanledger.semconv.observation import Role


def _role(draft: Draft) -> Role | None:
    return Role.DETAIL if draft.get("operation") == "execute_tool" else Role.LEAF


def _adjust(draft: Draft) -> None:
    attributes, fields = draft.attributes, draft.fields
    if attributes.get(names.COST_STATUS) == "exact" and "claimed_cost_usd" in fields:
        fields["exact_cost_usd"] = fields.pop("claimed_cost_usd")
    if attributes.get(names.IS_BATCH) is True:
        fields["is_batch"] = True
    if names.USAGE_PARTIAL in attributes:
        draft.partial = attributes[names.USAGE_PARTIAL] is True
    if names.USAGE_ESTIMATED in attributes:
        draft.estimated = attributes[names.USAGE_ESTIMATED] is True
    if names.NOTES in attributes:
        written = values.sequence(attributes[names.NOTES])
        draft.notes.extend(note for note in written if isinstance(note, str) and len(note) < 100)


DIALECT: Final = Dialect(
    name="spanledger",
    scopes=(names.SCOPE,),
    texts={**conventions.TEXTS, "provider": (names.PROVIDER, *conventions.TEXTS["provider"])},
    counts=conventions.COUNTS,
    role=_role,
    adjust=_adjust,
    asks=(names.COST_STATUS, names.IS_BATCH, names.USAGE_PARTIAL, names.USAGE_ESTIMATED, names.NOTES),
    trust=3,
)
