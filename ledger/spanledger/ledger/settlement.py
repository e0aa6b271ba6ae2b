"""Settlement: from evidence to calls, each call once. Pure: no store, no clock, no order.

`settle` takes all evidence that may belong together (one org) and says which calls it witnesses. Its result depends on
the set of its members alone: members are sorted by content first, and every choice has a total order behind it. So
evidence may arrive late, twice, in any order and split in any way; settling again with all of it gives the same calls.

What joins evidence, strongest first (each join keeps its reason):

    same_span      one trace id and span id, from two exporters or from a span and its log record
    response_id    the provider's id of the answer
    request_id     the provider's id of the request
    ancestor       one leaf span around another, and both can describe one model request
    usage_join     no id on one side: same service, model, equal usage, overlapping time, different emitters
    detail         a detail joins the call of its span, of its nearest leaf ancestor, or of its ids

An aggregate never bills; a leaf whose usage is the sum of the calls inside it is an aggregate in disguise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from spanledger.ledger.matching import (
    encloses,
    failed,
    models_compatible,
    overlap,
    providers_compatible,
    sums_up,
    usage_compatible,
)
from spanledger.ledger.merging import merge, merge_usage, richness
from spanledger.semconv.observation import Observation, Role

SpanPlace = tuple[bytes, bytes]
"""(trace id, span id)"""
Parents = Mapping[SpanPlace, bytes]
"""Parent span id of each known span; spans that are not there are unknown."""

MAX_DEPTH: Final = 512
"""Longest way up a trace that is followed (a cycle in the parent ids ends there too)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An observation with its content hash, which is its identity among equals."""

    content: int
    observation: Observation

    @property
    def place(self) -> SpanPlace | None:
        """Its span; ``None`` when it has none (log records outside any trace)."""
        observation = self.observation
        if not observation.trace_id or not observation.span_id:
            return None
        return observation.trace_id, observation.span_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may join, and how loosely.

    Attributes:
        usage_join: join evidence without ids by equal usage and overlapping time.
        tolerance_ns: how far two clocks or rounded times may be apart.
    """

    usage_join: bool = True
    tolerance_ns: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Witness:
    """One piece of evidence of a call: ``winner``, ``duplicate`` or ``detail``, and what joined it."""

    evidence: Evidence
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class SettledCall:
    """One call.

    Attributes:
        merged: what all its evidence says together.
        anchor: the leaf that gives the call its place, and its key when the provider gave no id.
        witnesses: winner first.
    """

    merged: Observation
    anchor: Evidence
    witnesses: tuple[Witness, ...]
    by_place: bool = False
    """Whether the key must be the anchor's place although an id is known: another call holds that id."""


@dataclass(frozen=True, slots=True)
class Settlement:
    calls: tuple[SettledCall, ...]
    suppressed: tuple[Witness, ...]
    """Aggregates that carry usage or cost: they witness no call, and would have been counted double."""


def settle(members: Sequence[Evidence], parents: Parents, rules: Rules | None = None) -> Settlement:
    """Say which calls `members` witness.

    Args:
        members: all evidence of one org that may belong together; repeats and any order are fine.
        parents: the parent of every known span in the traces of `members`.
        rules: defaults to `Rules()`.
    """
    unique = {(e.content, _order(e)): e for e in members}
    return _Settling([unique[key] for key in sorted(unique, key=lambda key: key[1])], parents, rules or Rules()).run()


def _order(evidence: Evidence) -> tuple[bytes, bytes, str, int]:
    observation = evidence.observation
    return observation.trace_id, observation.span_id, observation.signal, evidence.content


class _Settling:
    """One run. Nodes are indices into `self.nodes` (the leaves, in canonical order)."""

    def __init__(self, members: list[Evidence], parents: Parents, rules: Rules) -> None:
        self.rules = rules
        self.parents = dict(parents)
        for evidence in members:
            place = evidence.place
            if place is not None and evidence.observation.signal == "span":
                self.parents[place] = evidence.observation.parent_span_id
        self.nodes = [e for e in members if e.observation.role is Role.LEAF]
        self.details = [e for e in members if e.observation.role is Role.DETAIL]
        self.aggregates = [e for e in members if e.observation.role is Role.AGGREGATE]
        self.root = list(range(len(self.nodes)))
        self.reason = [""] * len(self.nodes)
        self.disguised: dict[int, str] = {}
        self.at: dict[SpanPlace, list[int]] = defaultdict(list)
        for node, evidence in enumerate(self.nodes):
            place = evidence.place
            if place is not None:
                self.at[place].append(node)
        self.detail_home = {index: self._home(detail) for index, detail in enumerate(self.details)}

    def run(self) -> Settlement:
        self._join_spans()
        self._join_ids(tuple(range(len(self.nodes))), commit=False)
        self._unmask_aggregates()
        self._join_ids(tuple(node for node in range(len(self.nodes)) if node not in self.disguised), commit=True)
        self._join_ancestors()
        if self.rules.usage_join:
            self._join_usage()
        return self._result()

    # -- union-find -------------------------------------------------------------------------------------------------

    def _find(self, node: int) -> int:
        while self.root[node] != node:
            self.root[node] = self.root[self.root[node]]
            node = self.root[node]
        return node

    def _join(self, one: int, other: int, reason: str) -> None:
        first, second = sorted((self._find(one), self._find(other)))
        if first == second:
            return
        self.root[second] = first
        for node in (one, other):
            self.reason[node] = self.reason[node] or reason

    def _clusters(self) -> dict[int, list[int]]:
        clusters: dict[int, list[int]] = defaultdict(list)
        for node in range(len(self.nodes)):
            if node not in self.disguised:
                clusters[self._find(node)].append(node)
        return clusters

    def _observations(self, cluster: Sequence[int]) -> list[Observation]:
        return sorted((self.nodes[node].observation for node in cluster), key=richness)

    # -- places -----------------------------------------------------------------------------------------------------

    def _leaf_above(self, place: SpanPlace) -> SpanPlace | None:
        """The nearest span above `place` that holds a leaf which is not an aggregate in disguise."""
        trace, span = place
        for _ in range(MAX_DEPTH):
            parent = self.parents.get((trace, span), b"")
            if not parent or parent == span:
                return None
            above = (trace, parent)
            if any(node not in self.disguised for node in self.at.get(above, ())):
                return above
            span = parent
        return None

    def _depth(self, place: SpanPlace | None) -> int:
        depth = 0
        while place is not None and depth < MAX_DEPTH:
            place = self._leaf_above(place)
            depth += 1
        return depth

    def _home(self, detail: Evidence) -> int | None:
        """The leaf that a detail adds to, by place: its own span's, else the nearest leaf's above."""
        place = detail.place
        if place is None:
            return None
        here: SpanPlace | None = place if self.at.get(place) else self._leaf_above(place)
        if here is None:
            return None
        candidates = self.at[here]
        return next((n for n in candidates if _ids_agree(self.nodes[n].observation, detail.observation)), None)

    # -- joins ------------------------------------------------------------------------------------------------------

    def _join_spans(self) -> None:
        for nodes in self.at.values():
            for position, node in enumerate(nodes):
                for earlier in nodes[:position]:
                    if self._same_span(earlier, node):
                        self._join(earlier, node, "same_span")

    def _same_span(self, one: int, other: int) -> bool:
        first, second = self.nodes[one].observation, self.nodes[other].observation
        if first.signal == second.signal == "span":
            return True
        # Agents write the log records of many calls under one session span: only what fits is the same call.
        if not _ids_agree(first, second) or not models_compatible(first, second):
            return False
        if first.signal == second.signal:
            same_id = (first.response_id and first.response_id == second.response_id) or (
                first.request_id and first.request_id == second.request_id
            )
            return bool(same_id)
        return usage_compatible(first.usage, second.usage) and overlap(first, second, self.rules.tolerance_ns)

    def _join_ids(self, nodes: Sequence[int], *, commit: bool) -> None:
        """Join equal ids. Without `commit` only among nodes that enclose no other leaf (to look for sums)."""
        if not commit:
            outer = {node for place in self.at for node in self.at.get(self._leaf_above(place) or (b"", b""), ())}
            nodes = [node for node in nodes if node not in outer]
        for reason in ("response_id", "request_id"):
            by_id: dict[str, list[int]] = defaultdict(list)
            for node in nodes:
                for value in self._ids(node, reason):
                    by_id[value].append(node)
            for value in sorted(by_id):
                same = by_id[value]
                for position, node in enumerate(same):
                    for earlier in same[:position]:
                        one, other = self.nodes[earlier].observation, self.nodes[node].observation
                        if providers_compatible(one.provider, other.provider) and (
                            reason == "response_id" or _ids_agree(one, other)
                        ):
                            self._join(earlier, node, reason)
                            break

    def _ids(self, node: int, field: str) -> set[str]:
        found = {getattr(self.nodes[node].observation, field)}
        found |= {
            getattr(self.details[index].observation, field) for index, home in self.detail_home.items() if home == node
        }
        return found - {""}

    def _inner(self, place: SpanPlace) -> list[int]:
        """Leaves whose nearest leaf span above is `place`."""
        return [node for below in self.at if self._leaf_above(below) == place for node in self.at[below]]

    def _unmask_aggregates(self) -> None:
        for place in sorted(self.at, key=lambda place: (-self._depth(place), place)):
            inner = [node for node in self._inner(place) if node not in self.disguised]
            clusters = {self._find(node): [] for node in inner}
            for node in inner:
                clusters[self._find(node)].append(node)
            billable = [
                observations
                for observations in map(self._observations, clusters.values())
                if not all(failed(observation) for observation in observations)
            ]
            if len(billable) < 2:
                continue
            usages = [merge_usage([observation.usage for observation in observations]) for observations in billable]
            for node in self.at[place]:
                usage = self.nodes[node].observation.usage
                if not usage.is_known:
                    self.disguised[node] = "no_usage_around_calls"
                elif sums_up(usage, usages):
                    self.disguised[node] = "sum_of_calls"

    def _join_ancestors(self) -> None:
        for place in sorted(self.at, key=lambda place: (-self._depth(place), place)):
            for node in self.at[place]:
                if node in self.disguised:
                    continue
                inner = {self._find(n) for n in self._inner(place) if n not in self.disguised} - {self._find(node)}
                fitting = [root for root in sorted(inner) if self._fits_around(node, root)]
                if fitting:
                    self._join(self._best_inner(node, fitting), node, "ancestor")

    def _fits_around(self, outer: int, inner_root: int) -> bool:
        around = self.nodes[outer].observation
        mine = self._observations([n for n in range(len(self.nodes)) if self._find(n) == self._find(outer)])
        theirs = self._observations([n for n in range(len(self.nodes)) if self._find(n) == inner_root])
        if not all(_ids_agree(one, other) for one in mine for other in theirs):
            return False
        within = merge_usage([observation.usage for observation in theirs])
        return (
            any(models_compatible(around, other) for other in theirs)
            and failed(around) >= all(failed(other) for other in theirs)
            and usage_compatible(around.usage, within)
            and any(encloses(around, other, self.rules.tolerance_ns) for other in theirs)
        )

    def _best_inner(self, outer: int, roots: Sequence[int]) -> int:
        usage = self.nodes[outer].observation.usage

        def preference(root: int) -> tuple[bool, int, int]:
            theirs = self._observations([n for n in range(len(self.nodes)) if self._find(n) == root])
            within = merge_usage([observation.usage for observation in theirs])
            exact = within.input_tokens == usage.input_tokens and within.output_tokens == usage.output_tokens
            # A span around several attempts reports the last one.
            return not exact, -max(max(o.started_ns, o.ended_ns) for o in theirs), root

        return min(roots, key=preference)

    def _join_usage(self) -> None:
        alike: dict[tuple[str, int, int | None], list[int]] = defaultdict(list)
        for node, evidence in enumerate(self.nodes):
            o = evidence.observation
            if node not in self.disguised and o.usage.input_tokens and o.scope_name:
                alike[o.service_name, o.usage.input_tokens, o.usage.output_tokens].append(node)
        pairs: list[tuple[int, int, int]] = []
        for nodes in alike.values():
            nodes.sort(key=lambda node: (self.nodes[node].observation.started_ns, node))
            for position, node in enumerate(nodes):
                one = self.nodes[node].observation
                latest = max(one.started_ns, one.ended_ns) + self.rules.tolerance_ns
                for later in nodes[position + 1 :]:
                    other = self.nodes[later].observation
                    if other.started_ns > latest:
                        break
                    if may_join_by_usage(one, other, self.rules):
                        apart = abs(one.started_ns - other.started_ns) + abs(one.ended_ns - other.ended_ns)
                        pairs.append((apart, *sorted((node, later))))
        members = self._clusters()
        for _, one, other in sorted(pairs):
            first, second = sorted((self._find(one), self._find(other)))
            if first != second and self._may_join_clusters(members[first], members[second]):
                self._join(one, other, "usage_join")
                members[first] = members[first] + members.pop(second)

    def _may_join_clusters(self, one: Sequence[int], other: Sequence[int]) -> bool:
        ours, theirs = self._observations(one), self._observations(other)
        return (
            # An emitter writes one leaf per call: two leaves of one emitter are two calls.
            {o.scope_name for o in ours}.isdisjoint(o.scope_name for o in theirs)
            and not (any(o.response_id for o in ours) and any(o.response_id for o in theirs))
            and all(_ids_agree(a, b) for a in ours for b in theirs)
            and all(models_compatible(a, b) for a in ours for b in theirs)
        )

    # -- result -----------------------------------------------------------------------------------------------------

    def _result(self) -> Settlement:
        clusters = self._clusters()
        details: dict[int, list[Evidence]] = defaultdict(list)
        for index, detail in enumerate(self.details):
            home = self._detail_cluster(index, detail, clusters)
            if home is not None:
                details[home].append(detail)
        taken: set[str] = set()
        calls: list[SettledCall] = []
        for root in sorted(clusters):
            call = self._call(clusters[root], details[root])
            key = call.merged.response_id or call.merged.request_id
            calls.append(call if key not in taken or not key else _by_place(call))
            taken.add(key)
        suppressed = [
            Witness(self.nodes[node], "aggregate", reason)
            for node, reason in sorted(self.disguised.items())
            if says_money(self.nodes[node].observation)
        ] + [Witness(e, "aggregate", "aggregate") for e in self.aggregates if says_money(e.observation)]
        return Settlement(tuple(calls), tuple(suppressed))

    def _detail_cluster(self, index: int, detail: Evidence, clusters: Mapping[int, list[int]]) -> int | None:
        home = self.detail_home[index]
        if home is not None and home not in self.disguised:
            return self._find(home)
        for field in ("response_id", "request_id"):
            value = getattr(detail.observation, field)
            if value:
                for root in sorted(clusters):
                    if any(getattr(self.nodes[node].observation, field) == value for node in clusters[root]):
                        return root
        return None

    def _call(self, cluster: list[int], details: list[Evidence]) -> SettledCall:
        ranked = sorted(cluster, key=lambda node: (richness(self.nodes[node].observation), node))
        inner_first = sorted(ranked, key=lambda node: -self._depth(self.nodes[node].place))
        merged = merge(
            [self.nodes[node].observation for node in ranked],
            [detail.observation for detail in details],
            [self.nodes[node].observation for node in inner_first],
        )
        witnesses = [Witness(self.nodes[ranked[0]], "winner", "")]
        witnesses += [Witness(self.nodes[node], "duplicate", self.reason[node] or "joined") for node in ranked[1:]]
        witnesses += [Witness(detail, "detail", "detail") for detail in details]
        return SettledCall(merged, self.nodes[min(cluster)], tuple(witnesses))


def _by_place(call: SettledCall) -> SettledCall:
    return SettledCall(call.merged, call.anchor, call.witnesses, by_place=True)


def may_join_by_usage(one: Observation, other: Observation, rules: Rules) -> bool:
    """Whether two leaves of one service with equal usage can be one call although no id says so."""
    return (
        one.scope_name != other.scope_name
        and not (one.response_id and other.response_id)
        and _ids_agree(one, other)
        and models_compatible(one, other)
        and providers_compatible(one.provider, other.provider)
        and overlap(one, other, rules.tolerance_ns)
    )


def _ids_agree(one: Observation, other: Observation) -> bool:
    """Whether no id contradicts that both are one call."""
    if one.response_id and other.response_id:
        return one.response_id == other.response_id
    return not one.request_id or not other.request_id or one.request_id == other.request_id


def says_money(observation: Observation) -> bool:
    """Whether counting this observation would have added usage or cost."""
    return (
        observation.usage.is_known or observation.exact_cost_usd is not None or observation.claimed_cost_usd is not None
    )
