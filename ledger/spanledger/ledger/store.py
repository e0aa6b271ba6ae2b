"""The ledger: one writer that turns observations into calls, and what readers need.

`Ledger.ingest` has no transaction to lean on. It is crash-safe by the order of its writes: first a note of what will
be touched, then calls, witnesses and tool calls, then the evidence itself, then rollups and counters. Evidence in the
store is the mark that its calls are settled; a note without an end is the mark that rollups are not. Whatever was
interrupted is simply done again, and writes the same rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.query import QueryResult

from spanledger.ledger import counters, writing
from spanledger.ledger.client import Lock, StoreTarget, connect, store_errors
from spanledger.ledger.counters import Counter
from spanledger.ledger.database import Database
from spanledger.ledger.evidence import Batch
from spanledger.ledger.gather import Gatherer, SpanLink
from spanledger.ledger.keeper import Keeper
from spanledger.ledger.known import Known
from spanledger.ledger.migrate import Migration, migrate
from spanledger.ledger.price_archive import ArchivingPricer, PriceArchive
from spanledger.ledger.pricing import Pricer
from spanledger.ledger.reprice import Changes, Repriced, Repricer
from spanledger.ledger.reprice import write as write_changes
from spanledger.ledger.retention import Dropped, Retention
from spanledger.ledger.rollups import Rollups
from spanledger.ledger.settle import Settler, Work
from spanledger.ledger.settlement import Rules
from spanledger.ledger.spreading import Spreader, months
from spanledger.ledger.tokens import Tokens
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.overrides import Overrides
from spanledger.semconv.sheet import columns


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one `Ledger.ingest` did.

    Attributes:
        observations: handed in.
        new: not seen before.
        repeated: already in the store, or twice in the batch; they change nothing.
        calls: rows of calls written (new, or settled anew because of new evidence).
        calls_removed: rows taken back because their evidence turned out to witness another call.
        duplicates: pieces of evidence in what was settled that do not bill.
        links: places of other spans handed in.
        too_old: refused, because calls of their month were dropped (see `Ledger.retain`).
        cut_short: pieces of evidence left for a later ingest, because one component had no end.
    """

    observations: int = 0
    new: int = 0
    repeated: int = 0
    calls: int = 0
    calls_removed: int = 0
    duplicates: int = 0
    links: int = 0
    too_old: int = 0
    cut_short: int = 0


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
        cluster: str = "",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """
        Args:
            client: on a migrated store; used for writing.
            prices: prices what is settled.
            reader: for `query` and the readers; the writing client when not given.
            lock: released by `close`.
            rules: what settlement may join.
            cluster: name of the cluster that holds the store; ``""`` for none.
            clock: ns since the epoch, UTC.
        """
        self.client = client
        """The writing client: fine for administration, not for long reads."""
        self.tokens = Tokens(client, clock=clock)
        self._clock = clock
        self._prices = prices
        self._database = Database(client)
        self._reader = Database(reader or client)
        self._store_lock = lock
        self._known = Known(self._database)
        self._retention = Retention(self._database, cluster)
        rules = rules or Rules()
        self._gatherer = Gatherer(self._database, self._known, rules)
        self._settler = Settler(self._database, self._gatherer, prices, rules)
        self._rollups = Rollups(self._database)
        self._rollups.kept_from = self._retention.kept_from
        self._writing = threading.RLock()
        self._reading = threading.RLock()
        self._version = self._last_version()
        self._rollups.recover()
        self._roll_up(wait=False)
        self._keeper: Keeper | None = None

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
            if isinstance(prices, PriceBook):
                prices = ArchivingPricer(prices, PriceArchive(client))
            reader = connect(target)
            ledger = cls(client, prices, reader=reader, lock=lock, rules=rules, cluster=target.cluster, clock=clock)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        ledger._keeper = Keeper(lambda: ledger._roll_up(wait=True))
        return ledger

    def close(self) -> None:
        """Finish the rollups, close the store and give its lock back. Waits for a running `ingest`."""
        if self._keeper is not None:
            self._keeper.stop()
        with self._writing, self._reading:
            try:
                self._rollups.run(self._next_version())
                self._rollups.finish(self._next_version())
            finally:
                for client in {id(d.client): d.client for d in (self._reader, self._database)}.values():
                    client.close()
                if self._store_lock is not None:
                    self._store_lock.release()
                    self._store_lock = None

    def migrate(self, *, cluster: str = "", dry_run: bool = False) -> tuple[Migration, ...]:
        """See `spanledger.ledger.migrate.migrate`."""
        return migrate(self.client, cluster=cluster, dry_run=dry_run)

    # -- writing ------------------------------------------------------------------------------------------------------

    def ingest(self, observations: Sequence[Observation], links: Sequence[SpanLink] = ()) -> IngestReport:
        """Settle new evidence into calls. On return it is durable, and calls can be queried.

        Rollups and counters are brought up to date at once when the last time was a while ago, else within about a
        second; `query` and `counters` always see everything that was ingested before them.

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
            try:
                batch, too_old = self._new_evidence(observations)
                work = Work(self._next_version())
                if len(batch) or links:
                    work = self._settler.work(batch, links, work.version)
                    self._write(batch, links, work)
            except BaseException:
                # Nobody knows what got into the store: ask it again.
                self._known.forget()
                raise
            self._roll_up(wait=True)
            if self._rollups.dirty and self._keeper is not None:
                self._keeper.wake(self._rollups.due_in)
        return IngestReport(
            observations=len(observations),
            new=len(batch),
            repeated=len(observations) - len(batch) - too_old,
            calls=work.count,
            calls_removed=len(work.dead),
            duplicates=work.duplicates,
            links=len(links),
            too_old=too_old,
            cut_short=work.cut_short,
        )

    def _new_evidence(self, observations: Sequence[Observation]) -> tuple[Batch, int]:
        """What is neither known nor too old, and how many are too old."""
        now = self._clock()
        if 0 in columns(observations, ("received_ns",))[0]:
            observations = [o if o.received_ns else replace(o, received_ns=now) for o in observations]
        batch = Batch(observations)
        if not len(batch):
            return batch, 0
        # Of repeats within the batch, the earliest receipt stays.
        order = np.argsort(batch.received, kind="stable")
        _, first = np.unique(batch.content[order], return_index=True)
        new = np.zeros(len(batch), np.bool_)
        new[order[first]] = True
        old = batch.started < self._retention.kept_from * 10**9
        new &= ~old & ~self._gatherer.repeated(batch)
        return batch if new.all() else batch.take(np.flatnonzero(new)), int(np.count_nonzero(old))

    def retain(self, keep_days: int, *, dry_run: bool = False) -> list[Dropped]:
        """Drop single calls, evidence and minutes of months that ended more than `keep_days` days ago.

        Hours, days and counters stay: no total goes down. Evidence for what was dropped is refused from then on
        (`IngestReport.too_old`).

        Raises:
            PermanentStoreError: fewer than `spanledger.ledger.retention.LEAST_DAYS` days.
            RetryableStoreError: run it again.
        """
        with self._writing:
            now = datetime.fromtimestamp(self._clock() / 10**9, UTC)
            kept_from, partitions = self._retention.plan(keep_days, now)
            if partitions and not dry_run:
                self._roll_up(wait=False)
                self._rollups.kept_from = int(kept_from.timestamp())
                self._retention.drop(kept_from, partitions, self._next_version())
                self._known.forget()
            return partitions

    def reprice(
        self, since: date, until: date, *, org_id: str = "", dry_run: bool = False, prices: Pricer | None = None
    ) -> Iterator[Repriced]:
        """Price the calls of ``[since, until)`` (UTC days) anew and write new versions of those that change.

        Args:
            since: first day.
            until: day after the last.
            org_id: only this organisation's; ``""`` for all.
            dry_run: change nothing.
            prices: the price book to use; the ledger's own when not given.

        Yields:
            What changes, by day and model, as each day is done.

        Raises:
            RetryableStoreError, PermanentStoreError: days yielded before are done.
        """
        repricer = Repricer(self._database, prices or self._prices)
        with self._writing:
            days = repricer.days(since, until, org_id)
        for day in days:
            with self._writing:
                version = self._next_version()
                changes = repricer.changes(day, org_id, version)
                if changes is None:
                    continue
                if not dry_run:
                    self._replace(changes, version)
            yield from changes.summary
        self._roll_up(wait=False)

    def spread(self, overrides: Overrides, since: date, until: date, *, dry_run: bool = False) -> Iterator[Repriced]:
        """Give the calls that a monthly commitment covers their shares of it, for the months in ``[since, until)``.

        See `spanledger.ledger.shares` for the rule. Run again, it changes nothing. Late calls get theirs, and change
        those of their day, at the next run.

        Args:
            overrides: the user's commitments.
            since, until: first UTC day, and the day after the last; their whole months are looked at.
            dry_run: change nothing.

        Yields:
            What changes, by day and model, as each day is done.

        Raises:
            MissingRateError: no exchange rate for a commitment's currency.
            RetryableStoreError, PermanentStoreError: days yielded before are done.
        """
        spreader = Spreader(self._database, overrides, datetime.fromtimestamp(self._clock() / 10**9, UTC).date())
        with self._writing:
            pools = spreader.pools() if overrides.commitments else {}
        for month in months(since, until) if pools else ():
            for pool, price_ids in pools.items():
                with self._writing:
                    due = spreader.due(pool, price_ids, month)
                for day, share in due.items():
                    with self._writing:
                        version = self._next_version()
                        changes = spreader.changes(price_ids, day, share, version)
                        if changes is not None and not dry_run:
                            self._replace(changes, version)
                    yield from changes.summary if changes is not None else ()
        self._roll_up(wait=False)

    def _replace(self, changes: Changes, version: int) -> None:
        self._rollups.begin(version, changes.minutes)
        self._rollups.touch(changes.minutes, restated=True)
        write_changes(self._database, changes)

    def _write(self, batch: Batch, links: Sequence[SpanLink], work: Work) -> None:
        touched = work.added | work.restated
        if touched:
            self._rollups.begin(work.version, touched)
            # Before the writes: if one of them fails although the store has it, nobody will write it again.
            self._rollups.touch(work.added, restated=False)
            self._rollups.touch(work.restated, restated=True)
        if work.dead:
            work.calls.append(writing.tombstones(work.dead, work.version))
        for rows in work.calls:
            self._database.insert("calls_settled", rows, "writing calls")
        if work.witnesses:
            rows = writing.witnesses_table(work.witnesses, work.version)
            self._database.insert("witnesses_settled", rows, "writing witnesses")
            rows = writing.suppressed_table(work.witnesses, work.version)
            self._database.insert("suppressed_settled", rows, "writing duplicates")
        if work.tool_calls:
            rows = writing.tool_calls_table(work.tool_calls, work.version)
            self._database.insert("tool_calls_settled", rows, "writing tool calls")
        if links:
            self._database.insert("span_links", writing.links_table(links, self._clock()), "writing span links")
        if len(batch):
            self._database.insert("observations", batch.table(), "writing evidence")
            self._known.add(batch)

    def _next_version(self) -> int:
        self._version = max(self._clock(), self._version + 1)
        return self._version

    def _last_version(self) -> int:
        rows = self._database.rows("last_version", {}, "reading the last version")
        return int(rows[0][0])

    def _roll_up(self, *, wait: bool) -> None:
        """Bring rollups up to date; with `wait` only when they are due."""
        with self._writing:
            if self._rollups.dirty and not (wait and self._rollups.due_in > 0):
                self._rollups.run(self._next_version())

    # -- reading ------------------------------------------------------------------------------------------------------

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> QueryResult:
        """Run read-only SQL; times come back as aware datetimes, money as Decimal.

        Sees everything that was ingested before, rollups included.

        Raises:
            RetryableStoreError, PermanentStoreError: the message starts with what was being done.
        """
        self._roll_up(wait=False)
        with self._reading, store_errors("running a query"):
            return self._reader.client.query(  # pyright: ignore[reportUnknownMemberType]
                sql, parameters=dict(parameters or {}), settings={"readonly": 2}
            )

    def counters(self, org_id: str | None = None) -> list[Counter]:
        """All counters, or those of one org; see `spanledger.ledger.counters` for their names."""
        self._roll_up(wait=False)
        with self._reading:
            return counters.read(self._reader, org_id or "")
