"""Cuts evidence into components: what settlement has to look at together, and nothing more.

Two pieces of evidence share a component when any rule of settlement could join them, directly or through others. Rather
too much than too little: settlement decides, this only keeps it from looking at strangers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spanledger.ledger.matching import may_join_by_usage
from spanledger.ledger.settlement import Evidence, Rules, tool_keys
from spanledger.ledger.tree import MAX_DEPTH, SpanPlace
from spanledger.semconv.observation import Observation, Role

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
        members: leaves and details.
        around: aggregates above them that say who a call is for where they do not.
        parents: of every known span in the traces of the members.
        rows: rows of the batch among the members; the others were settled before.
        is_news: whether anything in it, or around it, is new.
    """

    org_id: str
    members: list[Evidence]
    around: list[Evidence]
    parents: dict[SpanPlace, bytes]
    rows: list[int]
    is_news: bool


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
            place = o.org_id, o.trace_id, o.span_id
            parents[place] = max(parents.get(place, b""), o.parent_span_id)
    usable = [member for member in members if member[0].observation.role in (Role.LEAF, Role.DETAIL)]
    union = Union(len(usable))
    _tie_equals(usable, union)
    _tie_ancestors(usable, parents, union)
    if rules.usage_join:
        _tie_usage(usable, rules, union)
    groups: dict[int, list[tuple[Evidence, Origin]]] = defaultdict(list)
    for number, member in enumerate(usable):
        groups[union.find(number)].append(member)
    sayings = _Sayings([m for m in members if m[0].observation.role is Role.AGGREGATE], parents)
    by_trace: dict[tuple[str, bytes], dict[SpanPlace, bytes]] = defaultdict(dict)
    if len(groups) < len(usable) or sayings:
        for (org, trace, span), parent in parents.items():
            by_trace[org, trace][trace, span] = parent
    for group in groups.values():
        found = [evidence for evidence, _ in group]
        org = found[0].observation.org_id
        around = sayings.about(found)
        places: dict[SpanPlace, bytes] = {}
        if len(group) > 1 or around:
            for trace in {evidence.observation.trace_id for evidence in found}:
                places |= by_trace.get((org, trace), {})
        rows = [origin.row for _, origin in group if origin.row is not None]
        is_news = bool(rows) or any(origin.row is not None for _, origin in around)
        yield Component(org, found, [evidence for evidence, _ in around], places, rows, is_news)


_WHO: Final = ("session_id", "user_id", "team_id", "feature", "organization", "labels")
_NAMED: Final = ("request_model", "response_model")


class _Sayings:
    """The aggregates that say who the calls below them are for."""

    def __init__(self, aggregates: Sequence[tuple[Evidence, Origin]], parents: Mapping[OrgPlace, bytes]) -> None:
        self._parents = parents
        self._at: dict[OrgPlace, list[tuple[Evidence, Origin]]] = defaultdict(list)
        for evidence, origin in aggregates:
            o = evidence.observation
            if evidence.place is not None and any(getattr(o, name) for name in (*_WHO, "request_model")):
                self._at[o.org_id, o.trace_id, o.span_id].append((evidence, origin))
        self._above: dict[OrgPlace, tuple[tuple[Evidence, Origin], ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._at)

    def about(self, members: Sequence[Evidence]) -> list[tuple[Evidence, Origin]]:
        """Those above these leaves that say something which not all of them say themselves."""
        if not self._at:
            return []
        found: dict[int, tuple[Evidence, Origin]] = {}
        for evidence in members:
            o = evidence.observation
            if evidence.place is None or o.role is not Role.LEAF:
                continue
            for saying in self._look_up((o.org_id, o.trace_id, o.span_id)):
                if _adds(saying[0].observation, o):
                    found[saying[0].content] = saying
        return list(found.values())

    def _look_up(self, place: OrgPlace) -> tuple[tuple[Evidence, Origin], ...]:
        org, trace, span = place
        way: list[OrgPlace] = []
        above: tuple[tuple[Evidence, Origin], ...] = ()
        for _ in range(MAX_DEPTH):
            here = (org, trace, span)
            if here in self._above:
                above = self._above[here]
                break
            way.append(here)
            parent = self._parents.get(here, b"")
            if not parent or parent in (span, place[2]):
                break
            span = parent
        for step in reversed(way):
            parent = self._parents.get(step, b"")
            above = (*self._at.get((org, trace, parent), ()), *above)
            self._above[step] = above
        return above


def _adds(aggregate: Observation, leaf: Observation) -> bool:
    if not any(getattr(leaf, name) for name in _NAMED) and aggregate.request_model:
        return True
    return any(getattr(aggregate, name) and not getattr(leaf, name) for name in _WHO) or bool(
        aggregate.labels.keys() - leaf.labels.keys()
    )


def _tie_equals(usable: Sequence[tuple[Evidence, Origin]], union: Union) -> None:
    first: dict[tuple[str, str, Any], int] = {}
    for number, (evidence, _) in enumerate(usable):
        o = evidence.observation
        # What is a request's id to one may be the answer's id to another.
        for kind, value in (("span", evidence.place), ("id", o.response_id), ("id", o.request_id)):
            if value:
                union.join(first.setdefault((kind, o.org_id, value), number), number)
        for key in tool_keys(o, "use" if o.role is Role.LEAF else "result"):
            union.join(first.setdefault(("tool", o.org_id, key), number), number)


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
