"""Settlement: from evidence to calls, each call once. Pure: no store, no clock, no order.

`settle` takes all evidence that may belong together (one org) and says which calls it witnesses. Its result depends on
the set of its members alone: members are sorted by content first, and every choice has a total order behind it. So
evidence may arrive late, twice, in any order and split in any way; settling again with all of it gives the same calls.

What joins evidence, strongest first (each join keeps its reason):

    same_span      one trace id and span id, from two exporters or from a span and its log record
    response_id    the provider's id of the answer
    request_id     the provider's id of the request
    gateway_id     the id that a gateway gave its client as the answer's, and that it keeps as the request's
    ancestor       one leaf span around another, and both can describe one model request
    usage_join     no id on one side: same service, model, equal usage, overlapping time, different emitters
    detail         a detail joins the call that asked for the tool whose result it is, else that of its span, of its
                   nearest leaf ancestor, or of its ids

An aggregate never bills; a leaf whose usage is the sum of the calls inside it is an aggregate in disguise. Aggregates
around a call still say who it is for where the call itself does not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spanledger.ledger.matching import (
    encloses,
    equally_measured,
    failed,
    ids_agree,
    may_join_by_usage,
    models_compatible,
    overlap,
    providers_compatible,
    sums_up,
    usage_compatible,
)
from spanledger.ledger.merging import merge, merge_usage, richness
from spanledger.ledger.tree import LeafTree, Parents, SpanPlace, place_of
from spanledger.semconv.observation import Observation, Role

ToolKey = tuple[bytes, str]
"""(trace id, tool call id)"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An observation with its content hash, which is its identity among equals."""

    content: int
    observation: Observation

    @property
    def place(self) -> SpanPlace | None:
        """Its span; ``None`` when it has none (log records outside any trace)."""
        return place_of(self.observation.trace_id, self.observation.span_id)


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
    """One piece of evidence of a call: ``winner``, ``duplicate`` or ``detail``, and what joined it.

    ``aggregate`` is evidence of no call: it would have been counted double.
    """

    evidence: Evidence
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class SettledCall:
    """One call.

    Attributes:
        merged: what all its evidence says together.
        anchor: the leaf that gives the call its key when the provider gave no id.
        witnesses: winner first.
        by_place: the key must be the anchor's place although an id is known: another call holds that id.
    """

    merged: Observation
    anchor: Evidence
    witnesses: tuple[Witness, ...]
    by_place: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """Calls, and the aggregates in disguise that carry usage or cost."""

    calls: tuple[SettledCall, ...]
    suppressed: tuple[Witness, ...]


def settle(members: Sequence[Evidence], parents: Parents, rules: Rules | None = None) -> Settlement:
    """Say which calls `members` witness.

    Args:
        members: all evidence of one org that may belong together; repeats and any order are fine.
        parents: the parent of every known span in the traces of `members`.
        rules: defaults to `Rules()`.
    """
    unique = {_order(evidence): evidence for evidence in members}
    return _Settling([unique[key] for key in sorted(unique)], parents, rules or Rules()).run()


def _order(evidence: Evidence) -> tuple[bytes, bytes, str, int]:
    observation = evidence.observation
    return observation.trace_id, observation.span_id, observation.signal, evidence.content


class _Settling:
    """One run.

    Nodes are indices into `self.nodes` (the leaves, in canonical order); a cluster is called by its smallest node.
    """

    def __init__(self, members: list[Evidence], parents: Parents, rules: Rules) -> None:
        self.rules = rules
        self.nodes = [e for e in members if e.observation.role is Role.LEAF]
        self.details = [e for e in members if e.observation.role is Role.DETAIL]
        self.aggregates: dict[SpanPlace, list[Observation]] = defaultdict(list)
        for evidence in members:
            if evidence.place is not None and evidence.observation.role is Role.AGGREGATE:
                self.aggregates[evidence.place].append(evidence.observation)
        self.at: dict[SpanPlace, list[int]] = defaultdict(list)
        known = dict(parents)
        for evidence in members:
            if evidence.place is not None and evidence.observation.signal == "span":
                # Two exporters may disagree about a span's parent: any order must choose the same.
                known[evidence.place] = max(known.get(evidence.place, b""), evidence.observation.parent_span_id)
        for node, evidence in enumerate(self.nodes):
            if evidence.place is not None:
                self.at[evidence.place].append(node)
        self.tree = LeafTree(self.at, known)
        self.root = list(range(len(self.nodes)))
        self.clusters = {node: [node] for node in self.root}
        self.reason = [""] * len(self.nodes)
        self.disguised: dict[int, str] = {}
        self.homes = [self._home(detail) for detail in self.details]

    def run(self) -> Settlement:
        self._join_spans()
        self._unmask_aggregates()
        self._join_ids([node for node in range(len(self.nodes)) if node not in self.disguised])
        self._join_ancestors()
        if self.rules.usage_join:
            self._join_usage()
        return self._result()

    # -- clusters -----------------------------------------------------------------------------------------------------

    def _join(self, one: int, other: int, reason: str) -> None:
        first, second = sorted((self.root[one], self.root[other]))
        if first == second:
            return
        for node in self.clusters[second]:
            self.root[node] = first
        self.clusters[first] += self.clusters.pop(second)
        for node in (one, other):
            self.reason[node] = self.reason[node] or reason

    def _observations(self, root: int) -> list[Observation]:
        """What a cluster says, richest first."""
        return sorted((self.nodes[node].observation for node in self.clusters[root]), key=richness)

    def _inner(self, place: SpanPlace) -> list[int]:
        """Clusters of the leaves directly below a span."""
        nodes = (node for below in self.tree.below(place) for node in self.at[below])
        return sorted({self.root[node] for node in nodes if node not in self.disguised})

    def _home(self, detail: Evidence) -> int | None:
        """The leaf that a detail adds to, by place: its own span's, else the nearest leaf's above."""
        place = detail.place
        if place is None:
            return None
        here = place if self.at.get(place) else self.tree.nearest_above(place)
        candidates = self.at.get(here, []) if here is not None else []
        return next((n for n in candidates if ids_agree(self.nodes[n].observation, detail.observation)), None)

    # -- joins --------------------------------------------------------------------------------------------------------

    def _join_spans(self) -> None:
        for nodes in self.at.values():
            for position, node in enumerate(nodes):
                for earlier in nodes[:position]:
                    if self._same_span(self.nodes[earlier].observation, self.nodes[node].observation):
                        self._join(earlier, node, "same_span")

    def _same_span(self, one: Observation, other: Observation) -> bool:
        if one.signal == other.signal == "span":
            return True
        # Agents write the log records of many calls under one session span: only what fits is the same call.
        if not ids_agree(one, other) or not models_compatible(one, other):
            return False
        if one.signal == other.signal:
            return False  # two records of one signal are one call only by their ids
        if not usage_compatible(one.usage, other.usage):
            return False
        # Equal numbers on both sides say more than clocks: a log record may be stamped when it is written.
        return equally_measured(one.usage, other.usage) or overlap(one, other, self.rules.tolerance_ns)

    def _join_ids(self, nodes: Sequence[int]) -> None:
        for field in ("response_id", "request_id"):
            by_id: dict[str, list[int]] = defaultdict(list)
            for node in nodes:
                for value in self._ids(node, field):
                    by_id[value].append(node)
            for value in sorted(by_id):
                same = by_id[value]
                for position, node in enumerate(same):
                    fitting = (earlier for earlier in same[:position] if self._same_id(earlier, node, field))
                    earlier = next(fitting, None)
                    if earlier is not None:
                        self._join(earlier, node, field)
        answers = {value: node for node in reversed(nodes) for value in self._ids(node, "response_id")}
        for node in nodes:
            for value in sorted(self._ids(node, "request_id") & answers.keys()):
                self._join(answers[value], node, "gateway_id")

    def _same_id(self, one: int, other: int, field: str) -> bool:
        first, second = self.nodes[one].observation, self.nodes[other].observation
        return providers_compatible(first.provider, second.provider) and (
            field == "response_id" or ids_agree(first, second)
        )

    def _ids(self, node: int, field: str) -> set[str]:
        found = {getattr(self.nodes[node].observation, field)}
        found |= {
            getattr(detail.observation, field)
            for detail, home in zip(self.details, self.homes, strict=True)
            if home == node
        }
        return found - {""}

    def _unmask_aggregates(self) -> None:
        """Leaves that carry the sum of the calls inside them, or that carry nothing around several calls."""
        places = [place for place in self.tree.deepest_first() if self.tree.below(place)]
        inner_nodes = [node for place in self.at if not self.tree.below(place) for node in self.at[place]]
        if places:
            self._join_ids(inner_nodes)
        for place in places:
            billable = [
                observations
                for observations in map(self._observations, self._inner(place))
                if not all(map(failed, observations))
            ]
            if len(billable) < 2:
                continue
            usages = [merge_usage([o.usage for o in observations]) for observations in billable]
            for node in self.at[place]:
                around = self.nodes[node].observation
                alike = [b for b in billable if any(models_compatible(around, o) for o in b)]
                if around.usage.is_known and sums_up(around.usage, usages):
                    self.disguised[node] = "sum_of_calls"
                elif not around.usage.is_known and len(alike) > 1:
                    self.disguised[node] = "no_usage_around_calls"
            if all(node in self.disguised for node in self.at[place]):
                self.tree.remove(place)

    def _join_ancestors(self) -> None:
        for place in self.tree.deepest_first():
            for node in self.at[place]:
                if node in self.disguised:
                    continue
                inner = [root for root in self._inner(place) if root != self.root[node]]
                fitting = [root for root in inner if self._fits_around(node, root)]
                if fitting:
                    self._join(min(fitting, key=lambda root: self._preference(node, root)), node, "ancestor")

    def _fits_around(self, outer: int, inner: int) -> bool:
        around, theirs = self.nodes[outer].observation, self._observations(inner)
        ours = _without_gateway_clients(self._observations(self.root[outer]))
        if not all(ids_agree(one, other) for one in ours for other in theirs):
            return False
        if not any(models_compatible(around, other) for other in theirs):
            return False
        if all(map(failed, theirs)) and not failed(around):
            return False  # a failed attempt inside a span that has an answer: the answer came from another attempt
        within = merge_usage([other.usage for other in theirs])
        if not usage_compatible(around.usage, within):
            return False
        measured = around.usage.input_tokens is not None and within.input_tokens is not None
        # Clocks of two hosts may differ; equal numbers do not come about by chance around one another.
        return measured or any(encloses(around, other, self.rules.tolerance_ns) for other in theirs)

    def _preference(self, outer: int, inner: int) -> tuple[bool, int, int]:
        usage, theirs = self.nodes[outer].observation.usage, self._observations(inner)
        within = merge_usage([other.usage for other in theirs])
        exact = within.input_tokens == usage.input_tokens and within.output_tokens == usage.output_tokens
        # A span around several attempts reports the last one.
        return not exact, -max(max(o.started_ns, o.ended_ns) for o in theirs), inner

    def _join_usage(self) -> None:
        alike: dict[tuple[str, int, int | None], list[int]] = defaultdict(list)
        for node, evidence in enumerate(self.nodes):
            o = evidence.observation
            if node not in self.disguised and o.usage.input_tokens and o.scope_name:
                alike[o.service_name, o.usage.input_tokens, o.usage.output_tokens].append(node)
        pairs = sorted(pair for nodes in alike.values() for pair in self._overlapping(nodes))
        for _, one, other in pairs:
            first, second = self.root[one], self.root[other]
            if first != second and self._may_join(first, second):
                self._join(one, other, "usage_join")

    def _overlapping(self, nodes: list[int]) -> list[tuple[int, int, int]]:
        """Pairs that may be one call, each with how far their times are apart."""
        found: list[tuple[int, int, int]] = []
        nodes = sorted(nodes, key=lambda node: (self.nodes[node].observation.started_ns, node))
        for position, node in enumerate(nodes):
            one = self.nodes[node].observation
            latest = max(one.started_ns, one.ended_ns) + self.rules.tolerance_ns
            for later in nodes[position + 1 :]:
                other = self.nodes[later].observation
                if other.started_ns > latest:
                    break
                if may_join_by_usage(one, other, self.rules.tolerance_ns):
                    apart = abs(one.started_ns - other.started_ns) + abs(one.ended_ns - other.ended_ns)
                    found.append((apart, min(node, later), max(node, later)))
        return found

    def _may_join(self, one: int, other: int) -> bool:
        ours, theirs = self._observations(one), self._observations(other)
        return (
            # An emitter writes one leaf per call: two leaves of one emitter are two calls.
            {o.scope_name for o in ours}.isdisjoint(o.scope_name for o in theirs)
            and not (any(o.response_id for o in ours) and any(o.response_id for o in theirs))
            and all(ids_agree(a, b) and models_compatible(a, b) for a in ours for b in theirs)
        )

    # -- result -------------------------------------------------------------------------------------------------------

    def _result(self) -> Settlement:
        details: dict[int, list[Evidence]] = defaultdict(list)
        roots = sorted(root for root in self.clusters if root not in self.disguised)
        asked = self._asked_for() if self.details else {}
        for detail, home in zip(self.details, self.homes, strict=True):
            root = self._detail_cluster(detail, home, roots, asked)
            if root is not None:
                details[root].append(detail)
        taken: set[str] = set()
        calls: list[SettledCall] = []
        for root in roots:
            call = self._call(root, details[root], taken)
            taken.add(call.merged.response_id or call.merged.request_id)
            calls.append(call)
        suppressed = [
            Witness(self.nodes[node], "aggregate", reason)
            for node, reason in sorted(self.disguised.items())
            if says_money(self.nodes[node].observation)
        ]
        return Settlement(tuple(calls), tuple(suppressed))

    def _asked_for(self) -> dict[ToolKey, int]:
        """The leaf that asked for each tool call, the first one where later requests repeat it."""
        asked: dict[ToolKey, int] = {}
        nodes = [node for node in range(len(self.nodes)) if node not in self.disguised]
        for node in sorted(nodes, key=lambda node: (self.nodes[node].observation.started_ns, node)):
            for key in tool_keys(self.nodes[node].observation, "use"):
                asked.setdefault(key, node)
        return asked

    def _detail_cluster(
        self, detail: Evidence, home: int | None, roots: Sequence[int], asked: Mapping[ToolKey, int]
    ) -> int | None:
        if asked and not detail.observation.usage.is_known:
            # A tool runs beside the call that asked for it, not inside.
            asking = [asked[key] for key in tool_keys(detail.observation, "result") if key in asked]
            if asking:
                return self.root[asking[0]]
        if home is not None and home not in self.disguised:
            return self.root[home]
        for field in ("response_id", "request_id"):
            value = getattr(detail.observation, field)
            if value:
                for root in roots:
                    if any(getattr(o, field) == value for o in self._observations(root)):
                        return root
        return None

    def _call(self, root: int, details: list[Evidence], taken: set[str]) -> SettledCall:
        ranked = sorted(self.clusters[root], key=lambda node: (richness(self.nodes[node].observation), node))
        inner_first = sorted(ranked, key=lambda node: -self.tree.depth(self.nodes[node].place))
        merged = merge(
            [self.nodes[node].observation for node in ranked],
            [detail.observation for detail in details],
            [self.nodes[node].observation for node in inner_first],
            self._around(inner_first[0]),
        )
        witnesses = [Witness(self.nodes[ranked[0]], "winner", "")]
        witnesses += [Witness(self.nodes[node], "duplicate", self.reason[node] or "joined") for node in ranked[1:]]
        witnesses += [Witness(detail, "detail", "detail") for detail in details]
        key = merged.response_id or merged.request_id
        # A place outlives what a log record without one says.
        anchor = self.nodes[min(self.clusters[root], key=lambda node: (self.nodes[node].place is None, node))]
        return SettledCall(merged, anchor, tuple(witnesses), by_place=bool(key) and key in taken)

    def _around(self, node: int) -> list[Observation]:
        """The aggregates above a leaf, the nearest first: they do not bill, but often say who the call is for."""
        place = self.nodes[node].place
        if place is None:
            return []
        found: list[Observation] = []
        for above in self.tree.ancestors(place):
            found += self.aggregates.get(above, ())
            found += [self.nodes[other].observation for other in self.at.get(above, ()) if other in self.disguised]
        return found


def _without_gateway_clients(observations: Sequence[Observation]) -> list[Observation]:
    """Without those that know the answer by the gateway's own id only: it contradicts no provider's id."""
    given = {o.request_id for o in observations if o.request_id and not o.response_id}
    return [o for o in observations if o.response_id not in given]


def tool_keys(observation: Observation, kind: str) -> list[ToolKey]:
    """The tool calls of an observation in a trace that were asked for (``use``) or answered (``result``)."""
    if not observation.tool_calls or not observation.trace_id:
        return []
    return [(observation.trace_id, call.id) for call in observation.tool_calls if call.kind == kind and call.id]


def says_money(observation: Observation) -> bool:
    """Whether counting this observation would have added usage or cost."""
    return (
        observation.usage.is_known or observation.exact_cost_usd is not None or observation.claimed_cost_usd is not None
    )
