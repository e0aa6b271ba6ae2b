"""Journal → decode → dialects → ledger → checkpoint, on one thread.

The pipeline reads frames in order and gathers what they say into batches, bounded by records, bytes and age. The
checkpoint moves only after the ledger has a batch, and the ledger tolerates replay, so a crash at any point costs
nothing but work done twice.

Errors: while the store fails for now, the pipeline backs off and `ready` is false; requests go on being accepted into
the journal. What will never succeed is put aside (`deadletter`), with its reason, and the rest goes on.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from spanledger.collector.ancestry import Ancestry, Place
from spanledger.collector.deadletter import DeadLetters
from spanledger.collector.decode import Decoder
from spanledger.collector.decode_json import JsonDecoder
from spanledger.collector.errors import MalformedError
from spanledger.collector.journal import Journal
from spanledger.collector.ports import LedgerWriter, RecordReader
from spanledger.collector.segment import Frame, Position
from spanledger.collector.signals import Encoding, Signal
from spanledger.collector.stats import Stats
from spanledger.ledger.errors import PermanentStoreError
from spanledger.ledger.gather import SpanLink
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import LogEntry, SpanRecord

_log = logging.getLogger(__name__)

_DATA_ERRORS: Final = (PermanentStoreError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What a batch raises when its content is at fault, and would be again. Everything else is the store's or the
machine's trouble and is tried again."""

_POISON_MAX: Final = 64
"""More refused records than this in one batch of which nothing succeeds: the store is at fault, not the records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """Bounds of one batch and of the waiting.

    Attributes:
        batch_records: observations and links handed to the ledger at once.
        batch_bytes: journal bytes read at once.
        batch_age: seconds that a lone frame waits for company.
        backoff_min, backoff_max: seconds between tries while the store fails.
        alone_tries: tries for records of which the store refuses every one, before they count as poison.
        keep_all_spans: remember the place of every span in its trace, not only in traces that hold model calls.
    """

    batch_records: int = 50_000
    batch_bytes: int = 32 << 20
    batch_age: float = 0.25
    backoff_min: float = 0.5
    backoff_max: float = 30.0
    alone_tries: int = 10
    keep_all_spans: bool = False


class StoppedError(Exception):
    """The pipeline was told to stop while it waited for the store; the journal keeps the batch."""


@dataclass(slots=True)
class _Batch:
    """What frames say, on its way to the ledger."""

    frames: list[Frame] = field(default_factory=list[Frame])
    """The frames that the observations come from, and for each the index of its first one."""
    starts: list[int] = field(default_factory=list[int])
    observations: list[Observation] = field(default_factory=list[Observation])
    places: list[Place] = field(default_factory=list[Place])

    def begin(self, frame: Frame) -> None:
        """What comes next comes from this frame."""
        self.frames.append(frame)
        self.starts.append(len(self.observations))

    def frame_of(self, index: int) -> Frame:
        """The frame that an observation comes from."""
        return self.frames[bisect_right(self.starts, index) - 1]

    def clear(self) -> None:
        """Forget all evidence; what comes next still comes from the last frame."""
        del self.frames[:-1]
        self.starts[:] = [0] * len(self.frames)
        self.observations.clear()
        self.places.clear()


class Pipeline:
    """Owns the reading side of a journal. `start` once, `stop` once; the other methods are thread-safe."""

    def __init__(
        self,
        journal: Journal,
        reader: RecordReader,
        ledger: LedgerWriter,
        dead_letters: DeadLetters,
        *,
        stats: Stats,
        settings: PipelineSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._reader = reader
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._stats = stats
        self._settings = settings or PipelineSettings()
        self._clock = clock
        self._ancestry = Ancestry()
        self._decoders: dict[Encoding, Decoder | JsonDecoder] = {
            Encoding.PROTOBUF: Decoder(),
            Encoding.JSON: JsonDecoder(),
        }
        self._position = journal.start
        self._progress = threading.Condition()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._hurry_until = journal.start
        self._store_trouble = ""
        self._waiting_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="spanledger-pipeline", daemon=True)

    # --- control

    def start(self) -> None:
        """Start working, on a thread of its own."""
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the pipeline runs and the store takes what it is given."""
        return self._thread.is_alive() and not self._store_trouble

    @property
    def store_trouble(self) -> str:
        """Why the store does not take the current batch, one line; ``""`` when all is well."""
        return self._store_trouble

    def snapshot(self) -> dict[str, int | float | dict[str, int]]:
        """All numbers of the collector, for metrics and health checks: `Stats.snapshot` and the journal's state."""
        numbers = self._stats.snapshot()
        waiting_since = self._waiting_since
        if waiting_since is not None:
            numbers["ingest_lag_seconds"] = max(0.0, self._clock() - waiting_since)
        numbers["journal_bytes"] = self.pending_bytes
        numbers["journal_disk_bytes"] = self._journal.size_bytes
        numbers["journal_limit_bytes"] = self._journal.limit_bytes
        return numbers

    @property
    def pending_bytes(self) -> int:
        """Journal bytes that are not in the ledger yet."""
        return self._journal.pending_bytes(self._position)

    def wait_idle(self, timeout: float) -> bool:
        """Wait until everything that is in the journal now is in the ledger (or put aside).

        Returns:
            ``False`` when the time was over, or the pipeline stopped, before that.
        """
        target = self._journal.end
        with self._progress:
            self._hurry_until = max(self._hurry_until, target)
            self._hurry.set()
            return self._progress.wait_for(lambda: self._position >= target, timeout)

    def stop(self, drain_seconds: float = 0.0) -> bool:
        """Work off the journal for at most `drain_seconds`, then stop.

        Returns:
            Whether the journal was worked off. What was not is done after the next start.
        """
        deadline = time.monotonic() + drain_seconds
        if self._thread.is_alive():
            self.wait_idle(drain_seconds)
            self._stopping.set()
            self._hurry.set()
            self._journal.wake()
            self._thread.join(max(1.0, deadline - time.monotonic()))
        return self._position >= self._journal.end

    # --- work

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - the thread's boundary: nothing may end it but `stop`
                # A full disk under the checkpoint or the dead letters, or a bug: nothing is lost, try again.
                self._trouble(error)
                self._stopping.wait(self._settings.backoff_max)

    def _step(self) -> None:
        """Bring one round of frames into the ledger and move the checkpoint."""
        if not self._journal.wait(self._position, 60.0):
            return
        if self._journal.pending_bytes(self._position) < self._settings.batch_bytes:
            self._gather_company()
        batch = _Batch()
        end = self._position
        frames = 0
        oldest_ns = 0
        for item in self._journal.read(self._position, self._settings.batch_bytes):
            if isinstance(item, Frame):
                frames += 1
                oldest_ns = oldest_ns or item.received_ns
                self._waiting_since = oldest_ns / 1e9
                self._take(item, batch)
            else:
                self._dead_letters.put_gap(
                    item.data, "journal bytes that do not match their checksum", f"{item.end.segment}-{item.end.offset}"
                )
                with self._stats.lock:
                    self._stats.corrupt_bytes += len(item.data)
            end = item.end
        self._write(batch)
        self._journal.checkpoint(end)
        self._waiting_since = None
        with self._stats.lock:
            self._stats.processed_frames += frames
            if frames:
                self._stats.ingest_lag_seconds = max(0.0, self._clock() - oldest_ns / 1e9)
        with self._progress:
            self._position = end
            if self._hurry_until <= end and not self._stopping.is_set():
                self._hurry.clear()
            self._progress.notify_all()

    def _gather_company(self) -> None:
        """Wait a moment for more frames, unless somebody waits for us."""
        self._hurry.wait(self._settings.batch_age)

    def _take(self, frame: Frame, batch: _Batch) -> None:
        """Add what one frame says to the batch."""
        batch.begin(frame)
        decoder = self._decoders[frame.encoding]
        unreadable: Counter[str] = Counter()
        dropped = 0
        try:
            if frame.signal is Signal.TRACES:
                dropped = self._take_spans(frame, decoder.spans(frame.payload), batch, unreadable)
            elif frame.signal is Signal.LOGS:
                dropped = self._take_logs(frame, decoder.logs(frame.payload), batch, unreadable)
        except MalformedError as error:
            self._put_aside(frame, str(error), "frame")
        if unreadable:
            reasons = "; ".join(f"{count} x {reason}" for reason, count in unreadable.items())
            self._put_aside(frame, f"records that no dialect could read: {reasons}", "dialect", unreadable.total())
        tally = decoder.take_tally()
        with self._stats.lock:
            self._stats.dropped_records[frame.signal.name.lower()] += dropped
            if tally.bad_attributes:
                self._stats.decode_errors["attribute"] += tally.bad_attributes

    def _take_spans(self, frame: Frame, spans: Iterable[SpanRecord], batch: _Batch, unreadable: Counter[str]) -> int:
        """Read spans into the batch, which is written early when it is full (a large frame); how many say nothing."""
        # The hot loop of the pipeline: names that are looked up for each span are local.
        org_id, received_ns, limit = frame.org_id, frame.received_ns, self._settings.batch_records
        read_span, observations, places = self._reader.read_span, batch.observations, batch.places
        dropped = 0
        for span in spans:
            try:
                observation = read_span(span)
            except Exception as error:  # noqa: BLE001 - a dialect that stumbles costs one record, not the collector
                unreadable[_one_line(error)] += 1
                observation = None
            if observation is None:
                dropped += 1
                places.append(Place(org_id, span.trace_id, span.span_id, span.parent_span_id, span.start_ns))
            else:
                observation.org_id = org_id
                observation.received_ns = received_ns
                observations.append(observation)
            if len(observations) >= limit or len(places) >= limit:
                self._write(batch)
        return dropped

    def _take_logs(self, frame: Frame, entries: Iterable[LogEntry], batch: _Batch, unreadable: Counter[str]) -> int:
        """The same for log records, which have no place in a trace of their own."""
        dropped = 0
        for entry in entries:
            try:
                observation = self._reader.read_log(entry)
            except Exception as error:  # noqa: BLE001 - as above
                unreadable[_one_line(error)] += 1
                observation = None
            if observation is None:
                dropped += 1
                continue
            observation.org_id = frame.org_id
            observation.received_ns = frame.received_ns
            batch.observations.append(observation)
            if len(batch.observations) >= self._settings.batch_records:
                self._write(batch)
        return dropped

    def _put_aside(self, frame: Frame, reason: str, kind: str, count: int = 1) -> None:
        self._dead_letters.put(frame, reason)
        with self._stats.lock:
            self._stats.dead_letters += 1
            self._stats.decode_errors[kind] += count

    # --- writing

    def _write(self, batch: _Batch) -> None:
        """Hand the batch to the ledger, however long that takes; empties the batch's evidence."""
        if self._settings.keep_all_spans:
            links = [SpanLink(*place) for place in batch.places]
        else:
            links = self._ancestry.select(batch.observations, batch.places)
        delay = self._settings.backoff_min
        data_errors = 0
        while batch.observations or links:
            try:
                try:
                    self._ingest(batch.observations, links)
                    break
                except _DATA_ERRORS as error:
                    data_errors += 1
                    if self._isolate(batch, links, last_try=data_errors >= self._settings.alone_tries):
                        break
                    self._trouble(error)
            except Exception as error:  # noqa: BLE001 - the store's boundary: whatever it is, the journal keeps the batch
                self._trouble(error)
            self._pause(delay * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, self._settings.backoff_max)
        self._store_trouble = ""
        batch.clear()

    def _ingest(self, observations: Sequence[Observation], links: Sequence[SpanLink]) -> None:
        report = self._ledger.ingest(observations, links)
        with self._stats.lock:
            self._stats.observations += report.observations
            self._stats.repeated_observations += report.repeated

    def _isolate(self, batch: _Batch, links: Sequence[SpanLink], *, last_try: bool) -> bool:
        """Find the records that make the ledger refuse the batch, by halving it; put their frames aside.

        Returns:
            Whether the rest of the batch is in the ledger. ``False`` when nothing at all succeeded: then the store is
            more likely at fault than every single record, and the batch has to be tried again.
        """
        poison: dict[Position, tuple[Frame, str]] = {}
        succeeded = False
        # (first, last + 1) of observations still to be tried; the places in traces come last, with none of them.
        todo = [(0, 0), (0, len(batch.observations))]
        while todo:
            first, end = todo.pop()
            part_links = links if end == 0 else ()
            try:
                if first < end or part_links:
                    self._ingest(batch.observations[first:end], part_links)
                    succeeded = True
            except _DATA_ERRORS as error:
                if end - first > 1:
                    middle = (first + end) // 2
                    todo += [(middle, end), (first, middle)]
                elif end - first == 1:
                    frame = batch.frame_of(first)
                    poison.setdefault(frame.end, (frame, _one_line(error)))
                    if not succeeded and len(poison) > _POISON_MAX:
                        return False
                elif succeeded or last_try:
                    with self._stats.lock:
                        self._stats.decode_errors["link"] += len(part_links)
        if not succeeded and not last_try:
            return False
        for frame, reason in poison.values():
            self._put_aside(frame, f"the ledger refuses a record of it: {reason}", "ledger")
        return True

    def _trouble(self, error: Exception) -> None:
        line = _one_line(error)
        if line != self._store_trouble:
            _log.warning("the store does not take the batch, trying again: %s", line)
        self._store_trouble = line
        with self._stats.lock:
            self._stats.store_retries += 1

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise StoppedError


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
