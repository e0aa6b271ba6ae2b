"""Exact evidence about single calls that a provider hands out: batch results, generation records.

Unlike bill lines these are observations of the ledger's own kind: they go through settlement like any span, join the
call with the same response id, and change nothing when they come twice.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Protocol

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.engine import StreamReport
from spanledger.reconciler.errors import State, SyncError
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.store import BillStore, Place, RunRecord
from spanledger.semconv.observation import Observation

BATCH: Final = 2_000
"""Observations handed to the ledger at once."""

Ingest = Callable[[Sequence[Observation]], object]
"""Takes observations into the ledger: durable and idempotent on return."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unit:
    """What is read in one piece and never again: one batch."""

    id: str
    ended_at: datetime


class ObservationStream(Protocol):
    """A source of observations."""

    @property
    def name(self) -> str: ...
    @property
    def permission(self) -> str: ...

    def check(self, api: Api) -> None:
        """Whether the key may read it: one small request. Raises `SyncError`."""
        ...

    def units(self, api: Api, since: datetime, unsettled: Unsettled) -> Iterator[Unit]:
        """Finished units since an instant. Raises `SyncError`."""
        ...

    def observations(self, api: Api, unit: Unit) -> Iterator[Observation]:
        """The observations of a unit, without org and received time. Raises `SyncError`."""
        ...


class Unsettled(Protocol):
    """Asks the ledger for calls whose exact cost is not known."""

    def __call__(self, provider: str, since: datetime, limit: int, /) -> Sequence[tuple[str, datetime]]:
        """(response id, started at) of a provider's calls without an exact cost, newest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvester:
    """Reads units that were not read before and hands their observations to the ledger."""

    store: BillStore
    clock: Clock
    ingest: Ingest
    org_id: str
    connection: str

    def harvest(self, api: Api, stream: ObservationStream, *, since: datetime | None = None) -> StreamReport:
        """Read what is new.

        A unit is remembered after its observations are in the ledger: a crash in between reads it again, which changes
        nothing.

        Raises:
            StoreError: the store failed.
        """
        now = self.clock.now()
        begin = since or now - timedelta(days=35)
        place = Place(self.org_id, self.connection, stream.name)
        report = StreamReport(stream=stream.name, since=begin.date(), until=now.date() + timedelta(days=1))
        run_id = uuid.uuid4().hex
        try:
            done = self._done(place)
            for unit in stream.units(api, begin, self._unsettled):
                if unit.id in done:
                    report.slots_unchanged += 1
                    continue
                started = self.clock.now()
                count = self._take(api, stream, unit)
                report.lines += count
                report.slots_changed += 1
                self.store.record([self._record(place, run_id, "unit", unit.id, State.OK, count, started, report)])
        except SyncError as error:
            report.state, report.detail = error.state, str(error)
            _log.info("%s, %s: %s: %s", place.connection, place.stream, error.state.value, error)
        self.store.record([self._record(place, run_id, "run", report.detail, report.state, report.lines, now, report)])
        return report

    def _take(self, api: Api, stream: ObservationStream, unit: Unit) -> int:
        observations = stream.observations(api, unit)
        count = 0
        while batch := list(islice(observations, BATCH)):
            received = int(self.clock.now().timestamp() * 1_000_000_000)
            for observation in batch:
                observation.org_id = self.org_id
                observation.received_ns = received
            self.ingest(batch)
            count += len(batch)
        return count

    def _done(self, place: Place) -> frozenset[str]:
        found = self.store.rows(
            "SELECT DISTINCT detail FROM spanledger.sync_runs WHERE org_id = {org:String} "
            "AND connection = {name:String} AND stream = {stream:String} AND step = 'unit'",
            {"org": place.org_id, "name": place.connection, "stream": place.stream},
            "looking for what was read before",
        )
        return frozenset(str(row[0]) for row in found)

    def _unsettled(self, provider: str, since: datetime, limit: int, /) -> Sequence[tuple[str, datetime]]:
        found = self.store.rows(
            "SELECT response_id, started_at FROM spanledger.calls WHERE org_id = {org:String} "
            "AND provider = {provider:String} AND cost_status != 'exact' AND response_id != '' "
            "AND started_at >= {since:DateTime64(3)} ORDER BY started_at DESC LIMIT {limit:UInt32}",
            {"org": self.org_id, "provider": provider, "since": since, "limit": limit},
            "looking for calls without an exact cost",
        )
        return [(str(response_id), started) for response_id, started in found]

    def _record(
        self,
        place: Place,
        run_id: str,
        step: str,
        detail: str,
        state: State,
        lines: int,
        started: datetime,
        report: StreamReport,
    ) -> RunRecord:
        return RunRecord(
            place=place,
            run_id=run_id,
            step=step,
            since=report.since,
            until=report.until,
            run_since=report.since,
            run_until=report.until,
            state=state,
            is_complete=state is State.OK,
            detail=detail,
            started_at=started,
            finished_at=self.clock.now(),
            lines=lines,
            slots_changed=report.slots_changed if step == "run" else 0,
            slots_unchanged=report.slots_unchanged if step == "run" else 0,
        )
