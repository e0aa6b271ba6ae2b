"""The sync engine: which days, in which slices, with what outcome."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.errors import ConfigError, State, SyncError, TruncatedError
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.history import completed_days, cursor_of, lines_per_day, silent_day
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.planning import FIRST_DAYS, Depth, clip, scheduled_range, slices
from spanledger.reconciler.slices import GoOn, SlicePuller, always
from spanledger.reconciler.store import BillStore, Place, RunRecord
from spanledger.reconciler.streams import Policy, Stream
from spanledger.reconciler.takeover import Outcome
from spanledger.reconciler.windows import Window

SKEW_SECONDS: Final = 300
"""A clock difference between the provider and this machine that is worth a remark."""

_UNREADABLE: Final = ("without_amount", "unreadable")
"""Notes that make a stream `State.DEGRADED`: money is missing from the lines."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a sync stands: ``done`` of ``total`` slices of one stream; ``window`` is the slice just completed."""

    connection: str
    stream: str
    done: int
    total: int
    lines: int
    window: Window | None = None


ProgressCallback = Callable[[Progress], None]


def no_progress(progress: Progress) -> None:
    """For callers that do not show progress."""
    del progress


@dataclass(slots=True, kw_only=True)
class StreamReport:
    """How the pull of one stream went."""

    stream: str
    since: date
    until: date
    state: State = State.OK
    detail: str = ""
    lines: int = 0
    slots_changed: int = 0
    slots_unchanged: int = 0
    requests: int = 0
    retries: int = 0
    response_bytes: int = 0
    resumed_slices: int = 0
    is_complete: bool = False
    """Whether the pull ran to its end."""
    notes: Counter[str] = field(default_factory=Counter[str])

    def add(self, outcome: Outcome) -> None:
        self.lines += outcome.lines
        self.slots_changed += outcome.slots_changed
        self.slots_unchanged += outcome.slots_unchanged
        self.notes.update(outcome.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An opened connection: what the engine pulls from."""

    org_id: str
    connection: str
    api: Api
    streams: Sequence[Stream]


@dataclass(frozen=True, slots=True)
class _Run:
    """One pull of one stream."""

    place: Place
    run_id: str
    since: date
    until: date
    started: datetime
    lines_per_day: float


class Engine:
    """Pulls sources into a store. One engine may serve many threads, one source at a time each.

    ``go_on`` is asked before each slice is taken over, see `SlicePuller`.
    """

    def __init__(self, store: BillStore, clock: Clock, *, fx: FxRates | None = None, go_on: GoOn = always) -> None:
        self._store = store
        self._clock = clock
        self._fx = fx or FxRates()
        self._go_on = go_on

    def sync(
        self,
        source: Source,
        *,
        since: date | None = None,
        until: date | None = None,
        depth: Depth = Depth.FULL,
        streams: frozenset[str] | None = None,
        progress: ProgressCallback = no_progress,
    ) -> list[StreamReport]:
        """Pull every stream of a source, or those named.

        Args:
            source: the opened connection.
            since: first day; without it and ``until`` the history decides (re-pull window; `FIRST_DAYS` at first).
            until: first day no longer asked for; ``None`` means today included.
            depth: how far back a scheduled pull goes; ignored when a range is given.
            streams: names of the streams to pull; ``None`` means all.
            progress: told after every slice.

        Returns:
            One report per stream. Provider failures are states of a report, never exceptions.

        Raises:
            StoreError: the ledger's store failed.
            ConfigError: no stream has such a name.
        """
        wanted = [stream for stream in source.streams if streams is None or stream.name in streams]
        if not wanted:
            names = ", ".join(stream.name for stream in source.streams)
            raise ConfigError(f"connection {source.connection} has no such stream; it has {names}")
        if since is None and until is None and depth is Depth.HOT:
            wanted = [stream for stream in wanted if stream.policy.hourly]
        reports: list[StreamReport] = []
        refused: StreamReport | None = None
        for stream in wanted:
            report = self._sync_stream(source, stream, since, until, depth, progress, refused)
            reports.append(report)
            if report.state is State.AUTH_FAILED:
                # The key is wrong for one stream, so it is wrong for all: do not hammer.
                refused = report
        return reports

    def _sync_stream(
        self,
        source: Source,
        stream: Stream,
        since: date | None,
        until: date | None,
        depth: Depth,
        progress: ProgressCallback,
        refused: StreamReport | None,
    ) -> StreamReport:
        started = self._clock.now()
        place = Place(source.org_id, source.connection, stream.name)
        try:
            committed = self._store.slot_names(place)
            first, end = self._range(committed, stream.policy, started, since, until, depth)
        except ConfigError as error:
            day = started.date()
            return StreamReport(stream=stream.name, since=since or day, until=until or day, detail=str(error))
        report = StreamReport(stream=stream.name, since=first, until=end)
        if refused is not None:
            report.state, report.detail = refused.state, refused.detail
            return report
        run_id, done = completed_days(self._store, place, first, end, started)
        weight = lines_per_day(committed, stream.policy)
        run = _Run(place, run_id or uuid.uuid4().hex, first, end, started, weight)
        puller = SlicePuller(
            store=self._store,
            clock=self._clock,
            fx=self._fx,
            api=source.api,
            stream=stream,
            place=place,
            run_id=run.run_id,
            go_on=self._go_on,
        )
        before = source.api.traffic.snapshot()
        try:
            self._slices(puller, source.api, run, done, report, progress)
        except SyncError as error:
            report.state, report.detail = error.state, str(error)
            _log.info("sync of %s, %s: %s: %s", place.connection, place.stream, error.state.value, error)
        else:
            report.is_complete = True
            self._judge(source.api, stream, place, report)
        traffic = source.api.traffic.since(before)
        report.requests, report.retries, report.response_bytes = traffic.requests, traffic.retries, traffic.bytes
        self._store.record([self._record(run, "run", first, end, report, started)])
        return report

    def _range(
        self,
        committed: Mapping[str, int],
        policy: Policy,
        now: datetime,
        since: date | None,
        until: date | None,
        depth: Depth,
    ) -> tuple[date, date]:
        if since is None and until is None:
            return scheduled_range(policy, now, cursor_of(committed, policy, now.date()), depth)
        end = until or now.date() + timedelta(days=1)
        return clip(policy, now, since or end - timedelta(days=FIRST_DAYS), end)

    def _slices(
        self,
        puller: SlicePuller,
        api: Api,
        run: _Run,
        done: frozenset[date],
        report: StreamReport,
        progress: ProgressCallback,
    ) -> None:
        windows = slices(puller.stream.policy, run.since, run.until, lines_per_day=run.lines_per_day)
        for index, window in enumerate(windows, start=1):
            if all(window.since + timedelta(days=offset) in done for offset in range(window.days)):
                report.resumed_slices += 1
            else:
                self._slice(puller, api, run, window, report)
            progress(
                Progress(
                    connection=run.place.connection,
                    stream=run.place.stream,
                    done=index,
                    total=len(windows),
                    lines=report.lines,
                    window=window,
                )
            )

    def _slice(self, puller: SlicePuller, api: Api, run: _Run, window: Window, report: StreamReport) -> None:
        """Pull one slice; a truncated answer is asked for again in halves. Raises `SyncError`."""
        started = self._clock.now()
        before = api.traffic.snapshot()
        try:
            outcome = puller.pull(window)
        except TruncatedError as error:
            halves = window.halves()
            if halves is None:
                raise TruncatedError(f"{window.since}: {error}") from error
            for half in halves:
                self._slice(puller, api, run, half, report)
            return
        report.add(outcome)
        step = StreamReport(stream=report.stream, since=window.since, until=window.until)
        step.add(outcome)
        step.is_complete = True
        traffic = api.traffic.since(before)
        step.requests, step.retries, step.response_bytes = traffic.requests, traffic.retries, traffic.bytes
        if outcome.delayed_until is not None:
            report.state = State.DELAYED_BY_PROVIDER
            report.detail = f"the provider's data reaches {outcome.delayed_until:%Y-%m-%d %H:%M} UTC only"
        self._store.record([self._record(run, "slice", window.since, window.until, step, started)])

    def _judge(self, api: Api, stream: Stream, place: Place, report: StreamReport) -> None:
        """The state of a pull that ran to its end."""
        remarks = [f"{count} lines {kind.replace('_', ' ')}" for kind, count in sorted(report.notes.items())]
        if any(report.notes[kind] for kind in _UNREADABLE):
            report.state = State.DEGRADED
        if report.state is State.OK and (
            late := silent_day(self._store.slot_names(place), stream.policy, self._clock.now())
        ):
            report.state = State.DELAYED_BY_PROVIDER
            remarks.append(f"no lines for {late} yet, although every day of the week before has some")
        skew = api.traffic.clock_skew_seconds
        if abs(skew) > SKEW_SECONDS:
            where = "behind" if skew > 0 else "ahead of"
            remarks.append(f"this machine's clock is {abs(skew):.0f} s {where} the provider's")
        report.detail = "; ".join([report.detail, *remarks] if report.detail else remarks)

    def _record(
        self, run: _Run, step: str, since: date, until: date, report: StreamReport, started: datetime
    ) -> RunRecord:
        return RunRecord(
            place=run.place,
            run_id=run.run_id,
            step=step,
            since=since,
            until=until,
            run_since=run.since,
            run_until=run.until,
            state=report.state,
            is_complete=report.is_complete,
            detail=report.detail,
            started_at=started,
            finished_at=self._clock.now(),
            requests=report.requests,
            retries=report.retries,
            response_bytes=report.response_bytes,
            lines=report.lines,
            slots_changed=report.slots_changed,
            slots_unchanged=report.slots_unchanged,
            notes=dict(report.notes),
        )
