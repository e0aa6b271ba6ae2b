"""The ledger: one writer that turns observations into calls, and what readers need.

`Ledger.ingest` has no transaction to lean on. It is crash-safe by the order of its writes: calls, witnesses and tool
calls first, then rollups and counters, evidence last. Evidence in the store is the mark that everything before it is
done; whatever was interrupted is simply ingested again and writes the same rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.query import QueryResult
from numpy.typing import NDArray

from spanledger.ledger import rollups, writing
from spanledger.ledger.client import Lock, StoreTarget, connect, store_errors
from spanledger.ledger.columns import SPAN_LINKS
from spanledger.ledger.counters import Counter
from spanledger.ledger.evidence import EARLIEST_NS, Batch, array, believable_start, table
from spanledger.ledger.gather import Component, Gatherer, SpanLink
from spanledger.ledger.migrate import Migration, migrate
from spanledger.ledger.pricing import Pricer, price
from spanledger.ledger.settlement import Evidence, Rules, SettledCall, Witness, says_money, settle
from spanledger.ledger.sql import query
from spanledger.ledger.tokens import Tokens
from spanledger.semconv.observation import Observation, ToolCall

DEFAULT_ORG: Final = "default"


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one `Ledger.ingest` did.

    Attributes:
        observations: handed in.
        new: not seen before.
        repeated: already in the store, or twice in the batch; they change nothing.
        calls: rows of calls written (new, or settled anew because of new evidence).
        calls_removed: rows taken back because their evidence turned out to witness another call.
        duplicates: new and old pieces of evidence in the settled components that do not bill.
        links: places of other spans handed in.
    """

    observations: int = 0
    new: int = 0
    repeated: int = 0
    calls: int = 0
    calls_removed: int = 0
    duplicates: int = 0
    links: int = 0


@dataclass(slots=True)
class _Work:
    """What one ingest is going to write."""

    version: int
    calls: list[Any] = field(default_factory=list[Any])
    dead: set[tuple[str, int, bytes, int]] = field(default_factory=set[tuple[str, int, bytes, int]])
    witnesses: list[writing.WitnessRow] = field(default_factory=list[writing.WitnessRow])
    tool_calls: list[writing.ToolCallRow] = field(default_factory=list[writing.ToolCallRow])
    touched: set[rollups.Bucket] = field(default_factory=set[rollups.Bucket])
    count: int = 0
    duplicates: int = 0


class Ledger:
    """Open with `Ledger.open`. Thread-safe: writes are serialised, reads have their own client."""

    def __init__(
        self,
        client: Client,
        prices: Pricer,
        *,
        reader: Client | None = None,
        lock: Lock | None = None,
        rules: Rules | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """
        Args:
            client: on a migrated store; used for writing.
            prices: prices what is settled.
            reader: for `query` and the readers; the writing client when not given.
            lock: released by `close`.
            rules: what settlement may join.
            clock: ns since the epoch, UTC.
        """
        self.client = client
        self.tokens = Tokens(client, clock=clock)
        self._prices = prices
        self._reader = reader or client
        self._store_lock = lock
        self._rules = rules or Rules()
        self._clock = clock
        self._gatherer = Gatherer(client, self._rules)
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        with store_errors("reading the last version"):
            last: int = client.query("SELECT max(version) FROM spanledger.calls_settled").first_row[0]
        self._version = last

    @classmethod
    def open(
        cls,
        target: StoreTarget,
        prices: Pricer,
        *,
        rules: Rules | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> Ledger:
        """Take the store, bring its schema up to date, and open it for writing.

        Raises:
            StoreInUseError: another process owns the embedded store.
            PermanentStoreError: not our store, not writable, or migrated by a newer version.
            RetryableStoreError: the server does not answer.
        """
        lock = Lock(target.path) if target.path is not None else None
        try:
            client = connect(target)
            migrate(client, cluster=target.cluster)
            return cls(client, prices, reader=connect(target), lock=lock, rules=rules, clock=clock)
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    def close(self) -> None:
        """Close the store and give its lock back. Waits for a running `ingest`."""
        with self._writing:
            for client in {id(self._reader): self._reader, id(self.client): self.client}.values():
                client.close()
            if self._store_lock is not None:
                self._store_lock.release()
                self._store_lock = None

    def migrate(self, *, cluster: str = "", dry_run: bool = False) -> tuple[Migration, ...]:
        """See `spanledger.ledger.migrate.migrate`."""
        return migrate(self.client, cluster=cluster, dry_run=dry_run)

    # -- writing ------------------------------------------------------------------------------------------------------

    def ingest(self, observations: Sequence[Observation], links: Sequence[SpanLink] = ()) -> IngestReport:
        """Settle new evidence into calls, roll up, count. On return everything is durable and can be queried.

        The same evidence again, in any order or split, changes nothing. An exception leaves nothing half done that
        calling again with the same evidence would not complete.

        Args:
            observations: with ``org_id`` filled in; ``received_ns`` 0 means now.
            links: places of the spans in between that are not about a model call.

        Raises:
            RetryableStoreError: nothing is lost; call again with the same evidence.
            PermanentStoreError: the store refuses this.
        """
        with self._writing:
            return self._ingest(observations, links)

    def _ingest(self, observations: Sequence[Observation], links: Sequence[SpanLink]) -> IngestReport:
        now = self._clock()
        self._version = max(now, self._version + 1)
        work = _Work(self._version)
        batch = self._new_evidence(observations, now)
        if len(batch) or links:
            self._settle(batch, links, work)
        self._write(work)
        rollups.refresh(self.client, work.touched, work.version)
        self._commit(batch, links, now)
        return IngestReport(
            observations=len(observations),
            new=len(batch),
            repeated=len(observations) - len(batch),
            calls=work.count,
            calls_removed=len(work.dead),
            duplicates=work.duplicates,
            links=len(links),
        )

    def _new_evidence(self, observations: Sequence[Observation], now: int) -> Batch:
        stamped = [o if o.received_ns else replace(o, received_ns=now) for o in observations]
        batch = Batch(stamped)
        if not stamped:
            return batch
        # Of repeats within the batch, the earliest receipt stays.
        order = np.argsort(batch.received, kind="stable")
        _, first = np.unique(batch.content[order], return_index=True)
        keep = np.zeros(len(batch), np.bool_)
        keep[order[first]] = True
        keep &= ~self._gatherer.known(batch)
        if keep.all():
            return batch
        return Batch([o for o, wanted in zip(stamped, keep.tolist(), strict=True) if wanted])

    def _settle(self, batch: Batch, links: Sequence[SpanLink], work: _Work) -> None:
        gathered = self._gatherer.gather(batch, links)
        self._settle_alone(batch, gathered.alone, work)
        self._settle_components(gathered.components, work)
        aggregates = [Evidence(int(batch.content[index]), batch.observations[index]) for index in gathered.aggregates]
        self._suppress([Witness(e, "aggregate", "aggregate") for e in aggregates if says_money(e.observation)], work)

    def _settle_alone(self, batch: Batch, alone: NDArray[np.int64], work: _Work) -> None:
        if not len(alone):
            return
        chosen = batch if len(alone) == len(batch) else Batch([batch.observations[i] for i in alone.tolist()])
        costs = price(self._prices, chosen.observations)
        ids = writing.call_keys(chosen).own()
        work.calls.append(writing.calls_table(chosen, ids, costs, None, work.version))
        work.count += len(chosen)
        self._touch(chosen, work)
        for row, o in enumerate(chosen.observations):
            if o.tool_calls:
                started = int(chosen.started[row])
                work.tool_calls += _tool_rows(o.org_id, started, ids[row].astype("<u8").tobytes(), o.tool_calls)

    def _settle_components(self, components: Sequence[Component], work: _Work) -> None:
        if not components:
            return
        settled = [settle(component.members, component.parents, self._rules) for component in components]
        calls = [call for settlement in settled for call in settlement.calls]
        if calls:
            self._settled_calls(calls, components, work)
        self._suppress([w for settlement in settled for w in settlement.suppressed], work)

    def _settled_calls(self, calls: Sequence[SettledCall], components: Sequence[Component], work: _Work) -> None:
        merged = Batch([call.merged for call in calls])
        own = writing.call_keys(merged)
        anchors = writing.call_keys(Batch([call.anchor.observation for call in calls]))
        by_place = np.array([call.by_place for call in calls], np.bool_)
        ids = np.where(
            ((own.response != 0).any(axis=1) & ~by_place)[:, None],
            own.response,
            np.where(((own.request != 0).any(axis=1) & ~by_place)[:, None], own.request, _place(anchors)),
        )
        costs = price(self._prices, merged.observations)
        work.calls.append(
            writing.calls_table(merged, ids, costs, [len(call.witnesses) for call in calls], work.version)
        )
        work.count += len(calls)
        self._touch(merged, work)
        raw = [row.astype("<u8").tobytes() for row in ids]
        written = {
            (call.merged.org_id, int(minute), call_id)
            for call, minute, call_id in zip(calls, writing.minutes(merged.started), raw, strict=True)
        }
        self._bury(components, written, work)
        self._witness(calls, raw, merged, work)

    def _bury(self, components: Sequence[Component], written: set[tuple[str, int, bytes]], work: _Work) -> None:
        """Take back rows that earlier evidence (or an interrupted ingest) left under keys that are no call's now."""
        candidates: set[bytes] = set()
        times: set[int] = set()
        for component in components:
            batch = Batch([e.observation for e in component.members])
            found = writing.call_keys(batch)
            for kind in (found.response, found.request, found.place, found.content):
                candidates |= {row.astype("<u8").tobytes() for row in kind if row.any()}
            minutes = writing.minutes(batch.started).tolist()
            times |= set(minutes)
            work.touched |= {(component.org_id, minute) for minute in minutes}
        for chunk in _chunked(sorted(candidates)):
            with store_errors("looking up calls"):
                rows = self.client.query(
                    query("existing_calls"),
                    parameters={"minutes": sorted(times), "calls": [call_id.hex() for call_id in chunk]},
                ).result_rows
            for org, minute, call_id, started in rows:
                if (org, minute, bytes(call_id)) not in written:
                    work.dead.add((org, minute, bytes(call_id), started))
                    work.touched.add((org, minute))

    def _witness(self, calls: Sequence[SettledCall], ids: Sequence[bytes], merged: Batch, work: _Work) -> None:
        duplicates = [w.evidence.observation for call in calls for w in call.witnesses if w.role == "duplicate"]
        would_be = iter(price(self._prices, duplicates))
        for row, (call, call_id) in enumerate(zip(calls, ids, strict=True)):
            started = int(merged.started[row])
            work.tool_calls += _tool_rows(call.merged.org_id, started, call_id, call.merged.tool_calls)
            for witness in call.witnesses:
                o = witness.evidence.observation
                cost = next(would_be).total if witness.role == "duplicate" else None
                role = witness.role if len(call.witnesses) > 1 else ""
                work.duplicates += role == "duplicate"
                work.witnesses.append(
                    writing.WitnessRow(
                        witness.evidence.content, o, _started(o), call_id if role else b"", role, witness.reason, cost
                    )
                )

    def _suppress(self, witnesses: Sequence[Witness], work: _Work) -> None:
        costs = price(self._prices, [w.evidence.observation for w in witnesses])
        for witness, cost in zip(witnesses, costs, strict=True):
            o = witness.evidence.observation
            work.duplicates += 1
            work.witnesses.append(
                writing.WitnessRow(
                    witness.evidence.content, o, _started(o), b"", witness.role, witness.reason, cost.total
                )
            )

    @staticmethod
    def _touch(batch: Batch, work: _Work) -> None:
        orgs = [o.org_id for o in batch.observations]
        work.touched |= set(zip(orgs, writing.minutes(batch.started).tolist(), strict=True))

    def _write(self, work: _Work) -> None:
        with store_errors("writing calls"):
            if work.dead:
                work.calls.append(writing.tombstones(sorted(work.dead), work.version))
            for rows in work.calls:
                self.client.insert_arrow("spanledger.calls_settled", rows)
        with store_errors("writing witnesses"):
            if work.witnesses:
                self.client.insert_arrow(
                    "spanledger.witnesses_settled", writing.witnesses_table(work.witnesses, work.version)
                )
        with store_errors("writing tool calls"):
            if work.tool_calls:
                self.client.insert_arrow(
                    "spanledger.tool_calls_settled", writing.tool_calls_table(work.tool_calls, work.version)
                )

    def _commit(self, batch: Batch, links: Sequence[SpanLink], now: int) -> None:
        with store_errors("writing evidence"):
            if links:
                self.client.insert_arrow("spanledger.span_links", _links_table(links, now))
            if len(batch):
                self.client.insert_arrow("spanledger.observations", batch.table())

    # -- reading ------------------------------------------------------------------------------------------------------

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> QueryResult:
        """Run read-only SQL; times come back as aware datetimes, money as Decimal.

        Raises:
            RetryableStoreError, PermanentStoreError: the message starts with what was being done.
        """
        with self._reading, store_errors("running a query"):
            return self._reader.query(sql, parameters=dict(parameters or {}), settings={"readonly": 2})

    def counters(self, org_id: str | None = None) -> list[Counter]:
        """All counters, or those of one org; see `spanledger.ledger.counters` for their names."""
        rows = self.query(query("counters"), {"org": org_id or ""}).result_rows
        return [Counter(*row) for row in rows]


def _place(found: writing.CallKeys) -> NDArray[np.uint64]:
    return np.where((found.place != 0).any(axis=1)[:, None], found.place, found.content)


def _started(observation: Observation) -> int:
    return believable_start(observation.started_ns, observation.ended_ns, observation.received_ns)


def _tool_rows(org_id: str, started_ns: int, call_id: bytes, calls: Sequence[ToolCall]) -> list[writing.ToolCallRow]:
    return [
        writing.ToolCallRow(
            org_id,
            started_ns,
            call_id,
            position,
            {
                "tool_name": call.name,
                "tool_call_id": call.id,
                "kind": call.kind,
                "is_error": call.is_error,
                "input_bytes": call.input_bytes,
                "output_bytes": call.output_bytes,
                "input": call.input,
                "output": call.output,
            },
        )
        for position, call in enumerate(calls)
    ]


def _links_table(links: Sequence[SpanLink], now: int) -> Any:
    columns: dict[str, list[Any]] = {
        "org_id": [link.org_id for link in links],
        "trace_id": [link.trace_id for link in links],
        "span_id": [link.span_id for link in links],
        "parent_span_id": [link.parent_span_id for link in links],
        "started_at": [
            link.started_ns if EARLIEST_NS <= link.started_ns <= now + 86_400 * 10**9 else now for link in links
        ],
    }
    return table(SPAN_LINKS, {c.name: array(c.kind, columns[c.name]) for c in SPAN_LINKS})


def _chunked(values: Sequence[bytes], size: int = 5_000) -> list[Sequence[bytes]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
