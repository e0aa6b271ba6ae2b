"""Finds what belongs together: new evidence, and everything in the store that may speak of the same calls.

Most observations stand alone: nothing else shares their trace, their ids or their usage. They are told apart for a
whole batch at once, by their keys, and never become Python objects of their own. The rest is gathered, together with
the stored evidence it may join, into components that settlement looks at one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from spanledger.ledger import keys
from spanledger.ledger.components import Component, Origin, components
from spanledger.ledger.database import Database
from spanledger.ledger.evidence import DAY_NS, EARLIEST_NS, I64, READ, Batch, Bools, read_rows
from spanledger.ledger.known import Known, many
from spanledger.ledger.settlement import Evidence, Rules
from spanledger.ledger.tree import place_of
from spanledger.semconv.observation import Role

MAX_ROUNDS: Final = 4
"""How often found evidence may lead to more evidence before the search stops."""
LONGEST_CALL_NS: Final = 6 * 3600 * 10**9
"""How long before a call the evidence may have started that is joined with it by usage alone."""
_CHUNK: Final = 3_000
"""Keys per look-up: a parameter must stay below the 128 KiB that a server accepts in one field."""
_DOING: Final = "looking up evidence"
_ALL_TIME: Final = (0, 2**63 - 1)


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
class Gathered:
    """What a batch turns out to consist of.

    Attributes:
        alone: rows of the batch: leaves that nothing else speaks of.
        aggregates: rows of the batch that never bill.
        components: evidence that has to be settled together.
        cut_short: pieces of evidence that were found when the search had to stop (they are settled when more comes).
    """

    alone: I64
    aggregates: I64
    components: list[Component] = field(default_factory=list[Component])
    cut_short: int = 0


@dataclass(slots=True)
class _Frontier:
    """Keys by which the next look-up goes, and the time they are about (ns since the epoch)."""

    traces: set[str] = field(default_factory=set[str])
    ids: set[int] = field(default_factory=set[int])
    usages: dict[str, tuple[set[int], set[int]]] = field(default_factory=dict[str, tuple[set[int], set[int]]])
    first: int = 2**63 - 1
    last: int = 0

    def widen(self, first: int, last: int) -> None:
        self.first, self.last = min(self.first, first), max(self.last, last)


class Gatherer:
    """Looks evidence up. Not thread-safe: its owner serialises."""

    def __init__(self, database: Database, known: Known, rules: Rules) -> None:
        self._database = database
        self._known = known
        self._rules = rules

    def repeated(self, batch: Batch) -> Bools:
        """Which observations of the batch the store holds already."""
        result = np.zeros(len(batch), np.bool_)
        if not len(batch):
            return result
        # Evidence without a believable clock stands under the day of its first receipt, whenever that was.
        odd = np.flatnonzero(batch.odd)
        even = np.flatnonzero(~batch.odd)
        for rows, window in ((odd, _ALL_TIME), (even, _window(batch, even))):
            if len(rows) and window is not _ALL_TIME:
                asked = np.where(batch.trace[rows] != 0, batch.trace[rows], batch.content[rows])
                rows = rows[self._known.may_hold(asked, _days(window))]
            found: set[int] = set()
            for chunk in _chunks(batch.content[rows].tolist()):
                parameters = {"contents": chunk, "low": window[0], "high": window[1]}
                found.update(row[0] for row in self._database.rows("known_content", parameters, _DOING))
            if found:
                result[rows] = np.isin(batch.content[rows], np.fromiter(found, np.uint64, len(found)))
        return result

    def gather(self, batch: Batch, links: Sequence[SpanLink]) -> Gathered:
        """Sort the batch (all of it new) into what stands alone and what has company."""
        stored: dict[tuple[str, int], Evidence] = {}
        frontier = _Frontier()
        self._extend(frontier, batch)
        self._extend_by_links(frontier, batch, links)
        cut_short = 0
        for round_number in range(MAX_ROUNDS + 1):
            fresh = {_identity(e): e for e in self._look_up(frontier) if _identity(e) not in stored}
            if not fresh:
                break
            if round_number == MAX_ROUNDS:
                cut_short = len(fresh)
                break
            stored |= fresh
            frontier = _Frontier()
            self._extend(frontier, Batch([e.observation for e in fresh.values()]))
        return self._sort(batch, list(stored.values()), links, cut_short)

    # -- what to ask for ---------------------------------------------------------------------------------------------

    def _extend(self, frontier: _Frontier, batch: Batch) -> None:
        """Ask for whatever shares a key with this evidence, as far as the store may hold it."""
        if not len(batch):
            return
        window = _window(batch, np.arange(len(batch)))
        days = _days(window)
        for column in (batch.trace, batch.response, batch.request):
            rows = np.flatnonzero(self._known.may_hold(column, days))
            if not len(rows):
                continue
            frontier.widen(int(batch.started[rows].min()), int(batch.ended[rows].max()))
            if column is batch.trace:
                frontier.traces |= {batch.observations[row].trace_id.hex() for row in rows.tolist()}
            else:
                frontier.ids.update(column[rows].tolist())
        if self._rules.usage_join:
            self._extend_by_usage(frontier, batch, days)

    def _extend_by_usage(self, frontier: _Frontier, batch: Batch, days: range) -> None:
        rows = self._known.usage_rows(batch, np.where(batch.role(Role.LEAF), batch.usage, np.uint64(0)), days)
        if not len(rows):
            return
        frontier.widen(int(batch.started[rows].min()), int(batch.ended[rows].max()))
        numbers: list[int] = rows.tolist()
        for row in numbers:
            without_id, with_id = frontier.usages.setdefault(batch.observations[row].scope_name, (set(), set()))
            (with_id if batch.response[row] else without_id).add(int(batch.usage[row]))

    def _extend_by_links(self, frontier: _Frontier, batch: Batch, links: Sequence[SpanLink]) -> None:
        """A link matters when it ties stored leaves of one trace together, or new ones to stored ones."""
        sane = [link for link in links if place_of(link.trace_id, link.span_id) is not None]
        if not sane:
            return
        org_names = sorted({link.org_id for link in sane})
        org_hashes = dict(zip(org_names, keys.hash_texts(org_names).tolist(), strict=True))
        words = keys.fixed_words(b"".join(link.trace_id for link in sane), 16)
        orgs = np.array([org_hashes[link.org_id] for link in sane], np.uint64)
        traces = keys.trace_keys(orgs, words)
        started = np.array([max(min(link.started_ns, 2**62), 0) for link in sane], np.int64)
        believed = started >= EARLIEST_NS
        if not believed.any():
            return
        first, last = int(started[believed].min()), int(started[believed].max())
        rows = np.flatnonzero(self._known.may_hold(many(traces), _days((first - DAY_NS, last + DAY_NS))))
        if len(rows):
            frontier.widen(first, last)
            frontier.traces |= {sane[row].trace_id.hex() for row in rows.tolist()}

    # -- asking ------------------------------------------------------------------------------------------------------

    def _look_up(self, frontier: _Frontier) -> list[Evidence]:
        if not frontier.last:
            return []
        window = {"low": max(frontier.first - DAY_NS, 0), "high": frontier.last + DAY_NS}
        found: list[Evidence] = []
        for chunk in _chunks(sorted(frontier.traces)):
            found += self._evidence("evidence_by_trace", {"traces": chunk, **window})
        for chunk in _chunks(sorted(frontier.ids)):
            found += self._evidence("evidence_by_id", {"ids": chunk, **window})
        near = {
            "low": max(frontier.first - LONGEST_CALL_NS, 0),
            "high": frontier.last + self._rules.tolerance_ns,
            "ended": max(frontier.first - self._rules.tolerance_ns, 0),
        }
        for scope, (without_id, with_id) in sorted(frontier.usages.items()):
            for without, having in _paired_chunks(sorted(without_id), sorted(with_id)):
                asked = {"scope": scope, "without_id": without, "with_id": having, **near}
                found += self._evidence("evidence_by_usage", asked)
        return found

    def _evidence(self, name: str, parameters: dict[str, Any]) -> list[Evidence]:
        rows = self._database.rows(name, parameters, _DOING, read=READ)
        return [Evidence(content, observation) for content, observation in read_rows(rows)]

    def _stored_links(self, traces: Iterable[bytes]) -> dict[tuple[str, bytes, bytes], bytes]:
        found: dict[tuple[str, bytes, bytes], bytes] = {}
        for chunk in _chunks(sorted(trace.hex() for trace in traces)):
            for org, trace, span, parent in self._database.rows("links_by_trace", {"traces": chunk}, _DOING):
                found[org, bytes(trace), bytes(span)] = bytes(parent) if any(parent) else b""
        return found

    # -- sorting -----------------------------------------------------------------------------------------------------

    def _sort(self, batch: Batch, stored: list[Evidence], links: Sequence[SpanLink], cut_short: int) -> Gathered:
        leaf, aggregate = batch.role(Role.LEAF), batch.role(Role.AGGREGATE)
        company = self._company(batch, stored)
        gathered = Gathered(np.flatnonzero(leaf & ~company), np.flatnonzero(aggregate), cut_short=cut_short)
        members = [
            (Evidence(int(batch.content[row]), batch.observations[row]), Origin(row))
            for row in np.flatnonzero(company).tolist()
        ]
        members += [(evidence, Origin(None)) for evidence in stored]
        if not members:
            return gathered
        traces = {e.observation.trace_id for e, _ in members if e.place is not None}
        parents = self._stored_links(traces) if len(members) > 1 else {}
        parents |= {(link.org_id, link.trace_id, link.span_id): link.parent_span_id for link in links}
        lone: list[int] = []
        for component in components(members, parents, self._rules):
            rows = component.rows
            if len(component.members) == 1 and not component.around:
                lone += rows if component.members[0].observation.role is Role.LEAF else []
            elif component.is_news or links:
                gathered.components.append(component)
        if lone:
            gathered.alone = np.sort(np.concatenate([gathered.alone, np.array(lone, np.int64)]))
        return gathered

    def _company(self, batch: Batch, stored: Sequence[Evidence]) -> Bools:
        """Which rows share a trace, a span, an id or a usage with anything else at hand."""
        others = Batch([e.observation for e in stored]) if stored else None
        company = np.zeros(len(batch), np.bool_)
        company |= _shared(batch.trace, others.trace if others else None)
        # What is a request's id to one may be the answer's id to another.
        ids = np.concatenate([batch.response, batch.request])
        shared = _shared(ids, np.concatenate([others.response, others.request]) if others else None)
        company |= shared[: len(batch)] | shared[len(batch) :]
        if self._rules.usage_join and (others or len(batch.columns["scope_name"].dictionary) > 1):
            company |= _shared(batch.usage, others.usage if others else None)
        return company


def _identity(evidence: Evidence) -> tuple[str, int]:
    return evidence.observation.org_id, evidence.content


def _shared(mine: keys.U64, others: keys.U64 | None) -> Bools:
    """Which of `mine` (0 = none) occur more than once among mine and others."""
    values, inverse, counts = np.unique(mine, return_inverse=True, return_counts=True)
    shared = counts > 1
    if others is not None:
        shared |= np.isin(values, others)
    shared &= values != 0
    result: Bools = shared[inverse]
    return result


def _window(batch: Batch, rows: I64) -> tuple[int, int]:
    """A day before and after these rows, ns since the epoch."""
    if not len(rows):
        return 0, 0
    return max(int(batch.started[rows].min()) - DAY_NS, 0), int(batch.ended[rows].max()) + DAY_NS


def _days(window: tuple[int, int]) -> range:
    return range(window[0] // DAY_NS, window[1] // DAY_NS + 1)


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _paired_chunks(one: Sequence[int], other: Sequence[int]) -> Iterable[tuple[Sequence[int], Sequence[int]]]:
    for start in range(0, max(len(one), len(other)), _CHUNK):
        yield one[start : start + _CHUNK], other[start : start + _CHUNK]


__all__ = ["Component", "Gathered", "Gatherer", "SpanLink"]
