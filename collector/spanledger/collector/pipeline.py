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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from spanledger.collector.deadletter import DeadLetters
from spanledger.collector.decode import Decoder
from spanledger.collector.decode_json import JsonDecoder
from spanledger.collector.errors import MalformedError
from spanledger.collector.journal import Journal
from spanledger.collector.ports import LedgerWriter, RecordReader, SpanLink
from spanledger.collector.segment import Frame
from spanledger.collector.signals import Encoding, Signal
from spanledger.collector.stats import Stats
from spanledger.ledger.errors import PermanentStoreError
from spanledger.semconv.observation import Observation

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
        alone_tries: tries for a lone record that the store refuses, before it counts as poison.
    """

    batch_records: int = 20_000
    batch_bytes: int = 8 << 20
    batch_age: float = 0.25
    backoff_min: float = 0.5
    backoff_max: float = 30.0
    alone_tries: int = 10


class StoppedError(Exception):
    """The pipeline was told to stop while it waited for the store; the journal keeps the batch."""


@dataclass(slots=True)
class _Batch:
    """Evidence on its way to the ledger, with the frame that each piece came from (an index into `frames`)."""

    frames: list[Frame] = field(default_factory=list[Frame])
    observations: list[Observation] = field(default_factory=list[Observation])
    observation_frames: list[int] = field(default_factory=list[int])
    links: list[SpanLink] = field(default_factory=list[SpanLink])
    link_frames: list[int] = field(default_factory=list[int])

    def __len__(self) -> int:
        return len(self.observations) + len(self.links)


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
        self._decoders: dict[Encoding, Decoder | JsonDecoder] = {
            Encoding.PROTOBUF: Decoder(),
            Encoding.JSON: JsonDecoder(),
        }
        self._position = journal.start
        self._progress = threading.Condition()
        self._stopping = threading.Event()
        self._flush_until = journal.start
        self._store_trouble = ""
        self._drain_deadline = 0.0
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
            self._flush_until = max(self._flush_until, target)
            return self._progress.wait_for(lambda: self._position >= target, timeout)

    def stop(self, drain_seconds: float = 0.0) -> bool:
        """Work off the journal for at most `drain_seconds`, then stop.

        Returns:
            Whether the journal was worked off. What was not is done after the next start.
        """
        self._drain_deadline = time.monotonic() + drain_seconds
        self.wait_idle(drain_seconds)
        self._stopping.set()
        self._thread.join(max(1.0, self._drain_deadline - time.monotonic()))
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
                self._pause(self._settings.backoff_max)

    def _step(self) -> None:
        """Bring one round of frames into the ledger and move the checkpoint."""
        if not self._journal.wait(self._position, 0.5):
            return
        if self._journal.pending_bytes(self._position) < self._settings.batch_bytes:
            self._gather_company()
        batch = _Batch()
        end = self._position
        for item in self._journal.read(self._position, self._settings.batch_bytes):
            if isinstance(item, Frame):
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
        with self._stats.lock:
            self._stats.processed_frames += len(batch.frames)
            if batch.frames:
                self._stats.ingest_lag_seconds = max(0.0, self._clock() - batch.frames[-1].received_ns / 1e9)
        with self._progress:
            self._position = end
            self._progress.notify_all()

    def _gather_company(self) -> None:
        """Wait a moment for more frames, unless somebody waits for us."""
        deadline = time.monotonic() + self._settings.batch_age
        while (left := deadline - time.monotonic()) > 0:
            if self._flush_until > self._position or self._stopping.wait(min(left, 0.05)):
                return

    def _take(self, frame: Frame, batch: _Batch) -> None:
        """Add what one frame says to the batch; write the batch early when it is full (a large frame)."""
        index = len(batch.frames)
        batch.frames.append(frame)
        dropped = 0
        try:
            for found in self._read(frame):
                if found is None:
                    dropped += 1
                elif isinstance(found, Observation):
                    batch.observations.append(found)
                    batch.observation_frames.append(index)
                else:
                    dropped += 1
                    batch.links.append(found)
                    batch.link_frames.append(index)
                if len(batch) >= self._settings.batch_records:
                    self._write(batch)
        except MalformedError as error:
            self._put_aside(frame, str(error), "frame")
        tally = self._decoders[frame.encoding].take_tally()
        with self._stats.lock:
            self._stats.dropped_records[frame.signal.name.lower()] += dropped
            if tally.bad_attributes:
                self._stats.decode_errors["attribute"] += tally.bad_attributes

    def _read(self, frame: Frame) -> Iterator[Observation | SpanLink | None]:
        org_id, received_ns = frame.org_id, frame.received_ns
        decoder = self._decoders[frame.encoding]
        unreadable: Counter[str] = Counter()
        if frame.signal is Signal.TRACES:
            read_span = self._reader.read_span
            for span in decoder.spans(frame.payload):
                try:
                    observation = read_span(span)
                except Exception as error:  # noqa: BLE001 - a dialect that stumbles costs one record, not the collector
                    unreadable[_one_line(error)] += 1
                    observation = None
                if observation is None:
                    yield SpanLink(org_id, span.trace_id, span.span_id, span.parent_span_id, span.start_ns)
                else:
                    observation.org_id = org_id
                    observation.received_ns = received_ns
                    yield observation
        elif frame.signal is Signal.LOGS:
            read_log = self._reader.read_log
            for entry in decoder.logs(frame.payload):
                try:
                    observation = read_log(entry)
                except Exception as error:  # noqa: BLE001 - as above
                    unreadable[_one_line(error)] += 1
                    observation = None
                if observation is not None:
                    observation.org_id = org_id
                    observation.received_ns = received_ns
                yield observation
        if unreadable:
            reasons = "; ".join(f"{count} x {reason}" for reason, count in unreadable.items())
            self._put_aside(frame, f"records that no dialect could read: {reasons}", "dialect", unreadable.total())

    def _put_aside(self, frame: Frame, reason: str, kind: str, count: int = 1) -> None:
        self._dead_letters.put(frame, reason)
        with self._stats.lock:
            self._stats.dead_letters += 1
            self._stats.decode_errors[kind] += count

    # --- writing

    def _write(self, batch: _Batch) -> None:
        """Hand the batch to the ledger, however long that takes; empties the batch's evidence."""
        alone_tries = 0
        delay = self._settings.backoff_min
        while len(batch):
            try:
                self._ingest(batch.observations, batch.links)
            except _DATA_ERRORS as error:
                alone_tries += 1
                if self._isolate(batch, error, last_try=alone_tries >= self._settings.alone_tries):
                    break
                self._trouble(error)
            except Exception as error:  # noqa: BLE001 - the store's boundary: whatever it is, the journal keeps the batch
                self._trouble(error)
            else:
                break
            self._pause(delay * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, self._settings.backoff_max)
        self._store_trouble = ""
        with self._stats.lock:
            self._stats.observations += len(batch.observations)
            self._stats.processed_records += len(batch)
        for part in (batch.observations, batch.observation_frames, batch.links, batch.link_frames):
            part.clear()

    def _ingest(self, observations: Sequence[Observation], links: Sequence[SpanLink]) -> None:
        self._ledger.ingest(observations, links)

    def _isolate(self, batch: _Batch, error: Exception, *, last_try: bool) -> bool:
        """Find the records that make the ledger refuse the batch, by halving it; put their frames aside.

        Returns:
            Whether the rest of the batch is in the ledger. ``False`` when nothing at all succeeded: then the store is
            more likely at fault than every single record, and the batch has to be tried again.
        """
        evidence: list[tuple[Observation | SpanLink, int]] = [
            *zip(batch.observations, batch.observation_frames, strict=True),
            *zip(batch.links, batch.link_frames, strict=True),
        ]
        poison: list[tuple[int, Exception]] = []
        succeeded = False
        todo = [(evidence, error)]
        while todo:
            part, part_error = todo.pop()
            if len(part) == 1:
                poison.append((part[0][1], part_error))
                if not succeeded and len(poison) > _POISON_MAX:
                    return False
                continue
            for half in (part[len(part) // 2 :], part[: len(part) // 2]):
                try:
                    self._ingest(
                        [piece for piece, _ in half if isinstance(piece, Observation)],
                        [piece for piece, _ in half if isinstance(piece, SpanLink)],
                    )
                    succeeded = True
                except _DATA_ERRORS as half_error:
                    todo.append((half, half_error))
        if not succeeded and not last_try:
            return False
        for index, reason in dict(reversed(poison)).items():
            self._put_aside(batch.frames[index], f"the ledger refuses a record of it: {_one_line(reason)}", "ledger")
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
