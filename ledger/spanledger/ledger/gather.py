"""Finds what belongs together: new evidence, and everything in the store that may speak of the same calls.

Most observations stand alone: nothing else shares their trace, their ids or their usage. They are told apart for a
whole batch at once, by their keys, and never become Python objects of their own. The rest is gathered, together with
the stored evidence it may join, into components that settlement looks at one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from clickhouse_connect.driver.client import Client
from numpy.typing import NDArray

from spanledger.ledger import keys
from spanledger.ledger.client import store_errors
from spanledger.ledger.evidence import DAY_NS, EARLIEST_NS, READ, Batch, read_rows
from spanledger.ledger.settlement import MAX_DEPTH, Evidence, Rules, SpanPlace, may_join_by_usage
from spanledger.ledger.sql import query
from spanledger.semconv.observation import Observation, Role

MAX_ROUNDS: Final = 4
"""How often found evidence may lead to more evidence before the search stops."""
_CHUNK: Final = 5_000
"""Keys per look-up: keeps one query's parameters well below the store's limits."""


@dataclass(frozen=True, slots=True)
class SpanLink:
    """The place of a span that is not about a model call.

    Ids are raw bytes, `started_ns` is ns since the epoch.
    """

    org_id: str
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    started_ns: int


@dataclass(slots=True)
class Component:
    """Evidence that may belong together, all of one org."""

    org_id: str
    members: list[Evidence]
    parents: dict[SpanPlace, bytes]
    has_stored: bool
    """Whether some of it was settled before."""


@dataclass(slots=True)
class Gathered:
    """What a batch turns out to consist of.

    Attributes:
        alone: indices into the batch of leaves that nothing else speaks of.
        alone_aggregates: indices of aggregates.
        components: everything that has to be settled together.
    """

    alone: NDArray[np.int64]
    components: list[Component] = field(default_factory=list[Component])
    aggregates: list[int] = field(default_factory=list[int])
    cut_short: int = 0
    """Searches that were still finding more when they hit `MAX_ROUNDS`."""


class Gatherer:
    def __init__(self, client: Client, rules: Rules) -> None:
        self._client = client
        self._rules = rules

    def known(self, batch: Batch) -> NDArray[np.bool_]:
        """Which observations of the batch the store holds already."""
        found: set[int] = set()
        low, high = _window(batch.started, DAY_NS)
        for chunk in _chunks(batch.content.tolist()):
            found.update(
                row[0] for row in self._rows("known_content", {"contents": chunk, "low": low, "high": high})[1]
            )
        if not found:
            return np.zeros(len(batch), np.bool_)
        return np.isin(batch.content, np.fromiter(found, np.uint64, len(found)))

    def gather(self, batch: Batch, links: Sequence[SpanLink]) -> Gathered:
        """Sort the batch (all of it new) into what stands alone and what has company."""
        search = _Search(batch, links, self._rules)
        stored = search.stored
        frontier = _Frontier.of_batch(batch, links)
        cut_short = 0
        for round_number in range(MAX_ROUNDS + 1):
            fresh = [e for e in self._look_up(frontier, batch) if (e.content, e.observation.org_id) not in stored]
            if not fresh:
                break
            if round_number == MAX_ROUNDS:
                cut_short = len(fresh)
                break
            for evidence in fresh:
                stored[evidence.content, evidence.observation.org_id] = evidence
            frontier = _Frontier.of_stored(fresh)
        gathered = search.sort(self._parents)
        gathered.cut_short = cut_short
        return gathered

    def _look_up(self, frontier: _Frontier, batch: Batch) -> list[Evidence]:
        if not frontier.times:
            return []
        low, high = min(frontier.times) - DAY_NS, max(frontier.times) + DAY_NS
        window = {"low": max(low, 0), "high": high}
        found: list[Evidence] = []
        for chunk in _chunks(sorted(frontier.traces)):
            found += self._evidence("evidence_by_trace", {"traces": chunk, **window})
        if frontier.responses or frontier.requests:
            for responses, requests in _paired_chunks(sorted(frontier.responses), sorted(frontier.requests)):
                found += self._evidence("evidence_by_key", {"responses": responses, "requests": requests, **window})
        if self._rules.usage_join:
            near = {
                "low": max(min(frontier.times) - 6 * 3600 * 10**9, 0),
                "high": max(frontier.ends) + self._rules.tolerance_ns,
            }
            for scope, (without_id, with_id) in sorted(frontier.usages.items()):
                for without, having in _paired_chunks(sorted(without_id), sorted(with_id)):
                    found += self._evidence(
                        "evidence_by_usage", {"scope": scope, "without_id": without, "with_id": having, **near}
                    )
        return found

    def _evidence(self, name: str, parameters: dict[str, Any]) -> list[Evidence]:
        names, rows = self._rows(name, parameters)
        return [Evidence(content, observation) for content, observation in read_rows(names, rows)]

    def _rows(self, name: str, parameters: dict[str, Any]) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        with store_errors("looking up evidence"):
            result = self._client.query(query(name).replace("{{read}}", READ), parameters=parameters)
            return result.column_names, result.result_rows

    def _parents(self, traces: Iterable[bytes]) -> dict[tuple[str, bytes, bytes], bytes]:
        found: dict[tuple[str, bytes, bytes], bytes] = {}
        for chunk in _chunks(sorted(trace.hex() for trace in traces)):
            for org, trace, span, parent in self._rows("links_by_trace", {"traces": chunk})[1]:
                found[org, trace, span] = parent if any(parent) else b""
        return found


@dataclass(slots=True)
class _Frontier:
    """Keys by which the next look-up goes."""

    traces: set[str] = field(default_factory=set[str])
    responses: set[int] = field(default_factory=set[int])
    requests: set[int] = field(default_factory=set[int])
    usages: dict[str, tuple[set[int], set[int]]] = field(default_factory=dict[str, tuple[set[int], set[int]]])
    times: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])

    @classmethod
    def of_batch(cls, batch: Batch, links: Sequence[SpanLink]) -> _Frontier:
        frontier = cls()
        frontier._take(batch)
        frontier.traces |= {link.trace_id.hex() for link in links if len(link.trace_id) == 16}
        if links:
            sane = [link.started_ns for link in links if link.started_ns >= EARLIEST_NS]
            frontier.times += [min(sane), max(sane)] if sane else []
            frontier.ends += [max(sane)] if sane else []
        return frontier

    @classmethod
    def of_stored(cls, evidence: Sequence[Evidence]) -> _Frontier:
        frontier = cls()
        frontier._take(Batch([e.observation for e in evidence]))
        return frontier

    def _take(self, batch: Batch) -> None:
        if not len(batch):
            return
        self.traces |= {o.trace_id.hex() for o in batch.observations if len(o.trace_id) == 16}
        self.responses |= set(batch.response.tolist()) - {0}
        self.requests |= set(batch.request.tolist()) - {0}
        for usage, response, o in zip(batch.usage.tolist(), batch.response.tolist(), batch.observations, strict=True):
            if usage and o.role is Role.LEAF and o.scope_name:
                self.usages.setdefault(o.scope_name, (set(), set()))[1 if response else 0].add(usage)
        self.times += [int(batch.started.min()), int(batch.started.max())]
        ended = max(min(o.ended_ns, o.received_ns + DAY_NS) for o in batch.observations)
        self.ends.append(max(ended, int(batch.started.max())))


class _Search:
    """All evidence at hand (the batch's and what the store gave), and how it hangs together."""

    def __init__(self, batch: Batch, links: Sequence[SpanLink], rules: Rules) -> None:
        self.batch = batch
        self.links = links
        self.rules = rules
        self.stored: dict[tuple[int, str], Evidence] = {}

    def sort(self, parents_of: Any) -> Gathered:
        batch = self.batch
        company = self._company()
        roles = batch.columns["role"]
        leaf = _equals(roles, Role.LEAF)
        alone = np.flatnonzero(leaf & ~company)
        gathered = Gathered(alone)
        gathered.aggregates = np.flatnonzero(_equals(roles, Role.AGGREGATE)).tolist()
        together = np.flatnonzero(company & ~_equals(roles, Role.AGGREGATE))
        members = [(Evidence(int(batch.content[i]), batch.observations[i]), int(i)) for i in together]
        members += [(evidence, -1) for evidence in self.stored.values()]
        if not members:
            return gathered
        lone: list[int] = []
        for component, indices in self._components(members, parents_of):
            if len(component.members) == 1:
                if indices and component.members[0].observation.role is Role.LEAF:
                    lone.append(indices[0])
            elif indices or self.links:
                gathered.components.append(component)
        if lone:
            gathered.alone = np.sort(np.concatenate([alone, np.array(lone, np.int64)]))
        return gathered

    def _company(self) -> NDArray[np.bool_]:
        """Which rows share a trace, a span, an id or a usage with anything else at hand."""
        batch = self.batch
        stored = Batch([e.observation for e in self.stored.values()]) if self.stored else None
        company = np.zeros(len(batch), np.bool_)
        for name in ("trace", "span", "response", "request"):
            company |= _shared(getattr(batch, name), getattr(stored, name) if stored else None)
        if self.rules.usage_join:
            scopes = len(batch.columns["scope_name"].dictionary) + (1 if stored else 0)
            if scopes > 1:
                company |= _shared(batch.usage, stored.usage if stored else None)
        return company

    def _components(
        self, members: list[tuple[Evidence, int]], parents_of: Any
    ) -> Iterable[tuple[Component, list[int]]]:
        members.sort(key=lambda member: (member[0].observation.org_id, member[0].content))
        traces = {e.observation.trace_id for e, _ in members if e.place is not None}
        parents: dict[tuple[str, bytes, bytes], bytes] = parents_of(traces) if len(members) > 1 else {}
        for link in self.links:
            parents[link.org_id, link.trace_id, link.span_id] = link.parent_span_id
        everything = [e.observation for e, _ in members] + [
            self.batch.observations[i] for i in np.flatnonzero(_equals(self.batch.columns["role"], Role.AGGREGATE))
        ]
        for o in everything:
            if o.trace_id and o.span_id and o.signal == "span":
                parents[o.org_id, o.trace_id, o.span_id] = o.parent_span_id
        usable = [(e, index) for e, index in members if e.observation.role in (Role.LEAF, Role.DETAIL)]
        union = _Union(len(usable))
        self._tie(usable, parents, union)
        groups: dict[int, list[int]] = defaultdict(list)
        for number in range(len(usable)):
            groups[union.find(number)].append(number)
        by_trace: dict[tuple[str, bytes], dict[SpanPlace, bytes]] = defaultdict(dict)
        for (org, trace, span), parent in parents.items():
            by_trace[org, trace][trace, span] = parent
        for numbers in groups.values():
            evidence = [usable[number][0] for number in numbers]
            indices = [usable[number][1] for number in numbers if usable[number][1] >= 0]
            org = evidence[0].observation.org_id
            places: dict[SpanPlace, bytes] = {}
            if len(evidence) > 1:
                for trace in {e.observation.trace_id for e in evidence}:
                    places |= by_trace.get((org, trace), {})
            yield Component(org, evidence, places, len(indices) < len(evidence)), indices

    def _tie(
        self,
        usable: list[tuple[Evidence, int]],
        parents: dict[tuple[str, bytes, bytes], bytes],
        union: _Union,
    ) -> None:
        """Union whatever settlement might join: rather too much than too little."""
        leaves_at: dict[tuple[str, bytes, bytes], int] = {}
        first: dict[tuple[str, str, Any], int] = {}
        for number, (e, _) in enumerate(usable):
            o = e.observation
            for kind, value in (("response", o.response_id), ("request", o.request_id)):
                if value:
                    union.join(first.setdefault((kind, o.org_id, value), number), number)
            if e.place is not None:
                union.join(first.setdefault(("span", o.org_id, e.place), number), number)
                if o.role is Role.LEAF:
                    leaves_at.setdefault((o.org_id, o.trace_id, o.span_id), number)
        for number, (e, _) in enumerate(usable):
            if e.place is None:
                continue
            org, trace, span = e.observation.org_id, *e.place
            for _ in range(MAX_DEPTH):
                parent = parents.get((org, trace, span), b"")
                if not parent or parent == span:
                    break
                leaf = leaves_at.get((org, trace, parent))
                if leaf is not None:
                    union.join(leaf, number)
                    break
                span = parent
        if self.rules.usage_join:
            self._tie_usage(usable, union)

    def _tie_usage(self, usable: list[tuple[Evidence, int]], union: _Union) -> None:
        alike: dict[tuple[str, str, int, int | None], list[int]] = defaultdict(list)
        for number, (e, _) in enumerate(usable):
            o = e.observation
            if o.role is Role.LEAF and o.usage.input_tokens and o.scope_name:
                alike[o.org_id, o.service_name, o.usage.input_tokens, o.usage.output_tokens].append(number)
        for numbers in alike.values():
            numbers.sort(key=lambda number: usable[number][0].observation.started_ns)
            for position, number in enumerate(numbers):
                one: Observation = usable[number][0].observation
                latest = max(one.started_ns, one.ended_ns) + self.rules.tolerance_ns
                for later in numbers[position + 1 :]:
                    other = usable[later][0].observation
                    if other.started_ns > latest:
                        break
                    if may_join_by_usage(one, other, self.rules):
                        union.join(number, later)


class _Union:
    def __init__(self, size: int) -> None:
        self._root = list(range(size))

    def find(self, item: int) -> int:
        root = self._root
        while root[item] != item:
            root[item] = root[root[item]]
            item = root[item]
        return item

    def join(self, one: int, other: int) -> None:
        first, second = self.find(one), self.find(other)
        if first != second:
            self._root[max(first, second)] = min(first, second)


def _equals(column: Any, role: Role) -> NDArray[np.bool_]:
    values = column.dictionary.to_pylist()
    wanted = np.array([value == role.value for value in values], np.bool_)
    indices = column.indices.to_numpy(zero_copy_only=False)
    result: NDArray[np.bool_] = wanted[indices]
    return result


def _shared(mine: keys.U64, others: keys.U64 | None) -> NDArray[np.bool_]:
    """Which of `mine` (0 = none) occur more than once among mine and others."""
    values, inverse, counts = np.unique(mine, return_inverse=True, return_counts=True)
    shared = counts > 1
    if others is not None:
        shared |= np.isin(values, others)
    shared &= values != 0
    result: NDArray[np.bool_] = shared[inverse]
    return result


def _window(started: NDArray[np.int64], margin: int) -> tuple[int, int]:
    return max(int(started.min()) - margin, 0), int(started.max()) + margin


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _paired_chunks(one: Sequence[int], other: Sequence[int]) -> Iterable[tuple[Sequence[int], Sequence[int]]]:
    for start in range(0, max(len(one), len(other)), _CHUNK):
        yield one[start : start + _CHUNK], other[start : start + _CHUNK]


__all__ = ["Component", "Gathered", "Gatherer", "SpanLink"]
