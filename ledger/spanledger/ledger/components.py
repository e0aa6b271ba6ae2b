"""Cuts evidence into components: what settlement has to look at together, and nothing more.

Two pieces of evidence share a component when any rule of settlement could join them, directly or through others. Rather
too much than too little: settlement decides, this only keeps it from looking at strangers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spanledger.ledger.matching import may_join_by_usage
from spanledger.ledger.settlement import Evidence, Rules
from spanledger.ledger.tree import MAX_DEPTH, SpanPlace
from spanledger.semconv.observation import Role

OrgPlace = tuple[str, bytes, bytes]
"""(org, trace id, span id)"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a member comes from: a row of the batch, or (``None``) the store."""

    row: int | None


@dataclass(slots=True)
class Component:
    """Evidence that may belong together, all of one org.

    Attributes:
        parents: of every known span in the traces of the members.
        rows: rows of the batch among the members; the others were settled before.
    """

    org_id: str
    members: list[Evidence]
    parents: dict[SpanPlace, bytes]
    rows: list[int]


class Union:
    """Disjoint sets of the numbers below `size`."""

    def __init__(self, size: int) -> None:
        self._root = list(range(size))

    def find(self, item: int) -> int:
        """The smallest number of the item's set."""
        root = self._root
        while root[item] != item:
            root[item] = root[root[item]]
            item = root[item]
        return item

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        first, second = self.find(one), self.find(other)
        if first != second:
            self._root[max(first, second)] = min(first, second)


def components(
    members: Sequence[tuple[Evidence, Origin]], links: Mapping[OrgPlace, bytes], rules: Rules
) -> Iterable[Component]:
    """Cut `members` (leaves, details and aggregates of any org) into components of leaves and details.

    Args:
        members: evidence and its origin.
        links: parents of the spans that are not about a model call.
        rules: as for settlement.
    """
    parents = dict(links)
    for evidence, _ in members:
        o = evidence.observation
        if evidence.place is not None and o.signal == "span":
            parents[o.org_id, o.trace_id, o.span_id] = o.parent_span_id
    usable = [member for member in members if member[0].observation.role in (Role.LEAF, Role.DETAIL)]
    union = Union(len(usable))
    _tie_equals(usable, union)
    _tie_ancestors(usable, parents, union)
    if rules.usage_join:
        _tie_usage(usable, rules, union)
    groups: dict[int, list[tuple[Evidence, Origin]]] = defaultdict(list)
    for number, member in enumerate(usable):
        groups[union.find(number)].append(member)
    by_trace: dict[tuple[str, bytes], dict[SpanPlace, bytes]] = defaultdict(dict)
    if len(groups) < len(usable):
        for (org, trace, span), parent in parents.items():
            by_trace[org, trace][trace, span] = parent
    for group in groups.values():
        found = [evidence for evidence, _ in group]
        org = found[0].observation.org_id
        places: dict[SpanPlace, bytes] = {}
        if len(group) > 1:
            for trace in {evidence.observation.trace_id for evidence in found}:
                places |= by_trace.get((org, trace), {})
        yield Component(org, found, places, [origin.row for _, origin in group if origin.row is not None])


def _tie_equals(usable: Sequence[tuple[Evidence, Origin]], union: Union) -> None:
    first: dict[tuple[str, str, Any], int] = {}
    for number, (evidence, _) in enumerate(usable):
        o = evidence.observation
        for kind, value in (("span", evidence.place), ("response", o.response_id), ("request", o.request_id)):
            if value:
                union.join(first.setdefault((kind, o.org_id, value), number), number)


def _tie_ancestors(usable: Sequence[tuple[Evidence, Origin]], parents: Mapping[OrgPlace, bytes], union: Union) -> None:
    leaf_at: dict[OrgPlace, int] = {}
    for number, (evidence, _) in enumerate(usable):
        o = evidence.observation
        if o.role is Role.LEAF and evidence.place is not None:
            leaf_at.setdefault((o.org_id, o.trace_id, o.span_id), number)
    for number, (evidence, _) in enumerate(usable):
        if evidence.place is None:
            continue
        org, (trace, span) = evidence.observation.org_id, evidence.place
        for _ in range(MAX_DEPTH):
            parent = parents.get((org, trace, span), b"")
            if not parent or parent == span:
                break
            leaf = leaf_at.get((org, trace, parent))
            if leaf is not None:
                union.join(leaf, number)
                break
            span = parent


def _tie_usage(usable: Sequence[tuple[Evidence, Origin]], rules: Rules, union: Union) -> None:
    alike: dict[tuple[str, str, int, int | None], list[int]] = defaultdict(list)
    for number, (evidence, _) in enumerate(usable):
        o = evidence.observation
        if o.role is Role.LEAF and o.usage.input_tokens and o.scope_name:
            alike[o.org_id, o.service_name, o.usage.input_tokens, o.usage.output_tokens].append(number)
    for numbers in alike.values():
        if len({usable[number][0].observation.scope_name for number in numbers}) < 2:
            continue
        numbers.sort(key=lambda number: usable[number][0].observation.started_ns)
        for position, number in enumerate(numbers):
            one = usable[number][0].observation
            latest = max(one.started_ns, one.ended_ns) + rules.tolerance_ns
            for later in numbers[position + 1 :]:
                other = usable[later][0].observation
                if other.started_ns > latest:
                    break
                if may_join_by_usage(one, other, rules.tolerance_ns):
                    union.join(number, later)
