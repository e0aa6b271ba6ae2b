"""From new evidence to the rows that the ledger will write: gather, settle, price. Reads the store, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spanledger.ledger import keys, writing
from spanledger.ledger.components import Component
from spanledger.ledger.costs import booked, of_costs
from spanledger.ledger.database import Database
from spanledger.ledger.evidence import Batch, believable_start
from spanledger.ledger.gather import Gatherer, SpanLink
from spanledger.ledger.pricing import Pricer, price
from spanledger.ledger.rollups import Bucket
from spanledger.ledger.settlement import Evidence, Rules, SettledCall, Witness, says_money, settle
from spanledger.semconv.observation import ToolCall
from spanledger.semconv.sheet import columns

CallPlace = tuple[str, int, bytes]
"""(org, start of the minute in seconds, call id): where a call's row stands."""
_CHUNK: Final = 3_000
_LOOKING: Final = "looking up calls"


@dataclass(slots=True)
class Work:
    """What one ingest is going to write, all of it under one version.

    Attributes:
        calls: Arrow tables for ``calls_settled``.
        dead: rows that are no call's any more, with their start (ns since the epoch).
        added: minutes that only get new rows.
        restated: minutes where rows may also change or go.
    """

    version: int
    calls: list[Any] = field(default_factory=list[Any])
    dead: dict[CallPlace, int] = field(default_factory=dict[CallPlace, int])
    witnesses: list[writing.WitnessRow] = field(default_factory=list[writing.WitnessRow])
    tool_calls: list[writing.ToolCallRow] = field(default_factory=list[writing.ToolCallRow])
    added: set[Bucket] = field(default_factory=set[Bucket])
    restated: set[Bucket] = field(default_factory=set[Bucket])
    count: int = 0
    duplicates: int = 0
    cut_short: int = 0


class Settler:
    """Not thread-safe: its owner serialises."""

    def __init__(self, database: Database, gatherer: Gatherer, prices: Pricer, rules: Rules) -> None:
        self._database = database
        self._gatherer = gatherer
        self._prices = prices
        self._rules = rules

    def work(self, batch: Batch, links: Sequence[SpanLink], version: int) -> Work:
        """What to write for a batch of new evidence."""
        work = Work(version)
        gathered = self._gatherer.gather(batch, links)
        work.cut_short = gathered.cut_short
        if len(gathered.alone):
            self._alone(batch if len(gathered.alone) == len(batch) else batch.take(gathered.alone), work)
        settled = [settle([*c.members, *c.around], c.parents, self._rules) for c in gathered.components]
        calls = [call for settlement in settled for call in settlement.calls]
        if calls:
            self._together(calls, gathered.components, work)
        suppressed = [witness for settlement in settled for witness in settlement.suppressed]
        rows: list[int] = gathered.aggregates.tolist()
        for row in rows:
            if says_money(batch.observations[row]):
                evidence = Evidence(int(batch.content[row]), batch.observations[row])
                suppressed.append(Witness(evidence, "aggregate", "aggregate"))
        if suppressed:
            self._suppress(suppressed, work)
        return work

    def _alone(self, batch: Batch, work: Work) -> None:
        """Calls with one witness: the usual case, done for all at once."""
        ids = writing.call_keys(batch).own()
        work.calls.append(writing.calls_table(batch, ids, booked(self._prices, batch), None, work.version))
        work.count += len(batch)
        work.added |= _minutes_of(batch)
        if not batch.has_tool_calls:
            return
        for row, (org_id, calls) in enumerate(zip(*columns(batch.observations, ("org_id", "tool_calls")), strict=True)):
            if calls:
                work.tool_calls += _tool_rows(org_id, int(batch.started[row]), _id_bytes(ids[row]), calls)

    def _together(self, calls: Sequence[SettledCall], components: Sequence[Component], work: Work) -> None:
        merged = Batch([call.merged for call in calls])
        ids = _call_ids(calls, merged)
        costs = of_costs(price(self._prices, merged.observations))
        counts = [len(call.witnesses) for call in calls]
        work.calls.append(writing.calls_table(merged, ids, costs, counts, work.version))
        work.count += len(calls)
        work.restated |= _minutes_of(merged)
        raw = [_id_bytes(row) for row in ids]
        places = zip(calls, writing.minutes(merged.started).tolist(), raw, strict=True)
        written = {(call.merged.org_id, minute, call_id) for call, minute, call_id in places}
        self._witness(calls, raw, merged, work)
        self._bury(components, written, work)

    def _bury(self, components: Sequence[Component], written: set[CallPlace], work: Work) -> None:
        """Take back rows that earlier evidence (or an interrupted ingest) left under keys that are no call's now.

        A call can only ever have stood under a key of one of its members, in the minute of one of its members.
        """
        members = Batch([e.observation for component in components for e in component.members])
        found = writing.call_keys(members)
        candidates = {
            _id_bytes(row)
            for kind in (found.response, found.request, found.place, found.content)
            for row in kind[keys.nonzero_rows(kind)]
        }
        work.restated |= _minutes_of(members)
        orgs = sorted({component.org_id for component in components})
        ids = sorted(call_id.hex() for call_id in candidates)
        for some_ids in _chunks(ids):
            for minutes in _chunks(sorted({minute for _, minute in work.restated})):
                parameters = {"orgs": orgs, "minutes": minutes, "calls": some_ids}
                for org, minute, call_id, started in self._database.rows("existing_calls", parameters, _LOOKING):
                    if (org, minute, bytes(call_id)) not in written:
                        work.dead[org, minute, bytes(call_id)] = started
        work.restated |= {(org, minute) for org, minute, _ in work.dead}
        if any(o.tool_calls for o in members.observations):
            self._bury_tool_calls(orgs, ids, work)

    def _bury_tool_calls(self, orgs: Sequence[str], ids: Sequence[str], work: Work) -> None:
        written = {(row.org_id, row.call_id, row.position) for row in work.tool_calls}
        for some_ids in _chunks(ids):
            parameters = {"orgs": orgs, "calls": some_ids}
            for org, started, call_id, position in self._database.rows("existing_tool_calls", parameters, _LOOKING):
                if (org, bytes(call_id), position) not in written:
                    work.tool_calls.append(writing.ToolCallRow(org, started, bytes(call_id), position, None))

    def _witness(self, calls: Sequence[SettledCall], ids: Sequence[bytes], merged: Batch, work: Work) -> None:
        duplicates = [w.evidence.observation for call in calls for w in call.witnesses if w.role == "duplicate"]
        would_be = iter(price(self._prices, duplicates))
        for row, (call, call_id) in enumerate(zip(calls, ids, strict=True)):
            work.tool_calls += _tool_rows(call.merged.org_id, int(merged.started[row]), call_id, call.merged.tool_calls)
            for witness in call.witnesses:
                cost = next(would_be).total if witness.role == "duplicate" else None
                # A call with one witness has no rows here: an earlier one is taken back.
                role = witness.role if len(call.witnesses) > 1 else ""
                work.duplicates += role == "duplicate"
                work.witnesses.append(_witness_row(witness, call_id if role else b"", role, cost))

    def _suppress(self, witnesses: Sequence[Witness], work: Work) -> None:
        costs = price(self._prices, [witness.evidence.observation for witness in witnesses])
        for witness, cost in zip(witnesses, costs, strict=True):
            work.duplicates += 1
            row = _witness_row(witness, b"", witness.role, cost.total)
            work.witnesses.append(row)
            work.restated.add((row.observation.org_id, row.started_ns // 10**9 // 60 * 60))


def _call_ids(calls: Sequence[SettledCall], merged: Batch) -> NDArray[np.uint64]:
    own = writing.call_keys(merged)
    anchors = writing.call_keys(Batch([call.anchor.observation for call in calls]))
    ids = np.where(keys.nonzero_rows(anchors.place)[:, None], anchors.place, anchors.content)
    by_id = ~np.array([call.by_place for call in calls], np.bool_)
    for better in (own.request, own.response):
        ids = np.where((by_id & keys.nonzero_rows(better))[:, None], better, ids)
    return ids


def _id_bytes(row: keys.U64) -> bytes:
    return row.astype("<u8").tobytes()


def _minutes_of(batch: Batch) -> set[Bucket]:
    minutes, orgs = writing.minutes(batch.started), batch.columns["org_id"].dictionary.to_pylist()
    if len(orgs) == 1:
        return {(orgs[0], minute) for minute in np.unique(minutes).tolist()}
    return set(zip(batch.columns["org_id"].to_pylist(), minutes.tolist(), strict=True))


def _witness_row(witness: Witness, call_id: bytes, role: str, cost: Any) -> writing.WitnessRow:
    o = witness.evidence.observation
    started = believable_start(o.started_ns, o.ended_ns, o.received_ns)
    return writing.WitnessRow(witness.evidence.content, o, started, call_id, role, witness.reason, cost)


def _tool_rows(
    org_id: str, started_ns: int, call_id: bytes, calls: Sequence[ToolCall]
) -> Iterable[writing.ToolCallRow]:
    for position, call in enumerate(calls):
        yield writing.ToolCallRow(org_id, started_ns, call_id, position, call)


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
