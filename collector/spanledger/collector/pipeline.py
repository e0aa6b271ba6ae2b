"""Journal → decode → dialects → ledger → checkpoint, on one thread.

The pipeline reads frames in order and gathers what they say into batches, bounded by records, bytes and age. The
checkpoint moves only after the ledger has a batch, and the ledger tolerates replay, so a crash at any point costs
nothing but work done twice.

Errors: while the store fails for now, the pipeline backs off and `ready` is false; requests go on being accepted into
the journal. What will never succeed is put aside (`deadletter`), with its reason, and the rest goes on.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from spanledger.collector.batch import Batch
from spanledger.collector.deadletter import DeadLetters
from spanledger.collector.handover import Handover, RetrySettings
from spanledger.collector.journal import Journal
from spanledger.collector.ports import LedgerWriter, RecordReader
from spanledger.collector.reading import FrameReader
from spanledger.collector.segment import Frame
from spanledger.collector.stats import Stats


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """Bounds of one batch and of the waiting.

    Attributes:
        batch_records: observations and places handed to the ledger at once.
        batch_bytes: journal bytes read at once.
        batch_age: seconds that a lone frame waits for company.
        keep_all_spans: remember the place of every span in its trace, not only in traces that hold model calls.
        retry: how to go on after an error.
    """

    batch_records: int = 50_000
    batch_bytes: int = 32 << 20
    batch_age: float = 0.25
    keep_all_spans: bool = False
    retry: RetrySettings = field(default_factory=RetrySettings)


class StoppedError(Exception):
    """The pipeline was told to stop while it waited for the store; the journal keeps the batch."""


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
        self._dead_letters = dead_letters
        self._stats = stats
        self._settings = settings or PipelineSettings()
        self._clock = clock
        self._frames = FrameReader(reader, dead_letters, stats)
        self._handover = Handover(
            ledger,
            self._frames,
            stats,
            self._settings.retry,
            self._pause,
            keep_all_spans=self._settings.keep_all_spans,
        )
        self._position = journal.start
        self._progress = threading.Condition()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._hurry_until = journal.start
        self._waiting_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="spanledger-pipeline", daemon=True)

    # --- control

    def start(self) -> None:
        """Start working, on a thread of its own."""
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the pipeline runs and the store takes what it is given."""
        return self._thread.is_alive() and not self._handover.trouble

    @property
    def store_trouble(self) -> str:
        """Why the store does not take the current batch, one line; ``""`` when all is well."""
        return self._handover.trouble

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
                if self._journal.wait(self._position, 60.0):
                    self._gather_company()
                    with _collector_paused():
                        self._step()
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - the thread's boundary: nothing may end it but `stop`
                # A full disk under the checkpoint or the dead letters, or a bug: nothing is lost, try again.
                self._handover.note(error)
                self._stopping.wait(self._settings.retry.backoff_max)

    def _step(self) -> None:
        """Bring one round of frames into the ledger and move the checkpoint."""
        batch = Batch()
        end = self._position
        frames = 0
        oldest_ns = 0
        for item in self._journal.read(self._position, self._settings.batch_bytes):
            if isinstance(item, Frame):
                frames += 1
                oldest_ns = oldest_ns or item.received_ns
                self._waiting_since = oldest_ns / 1e9
                self._frames.read(item, batch, self._settings.batch_records, lambda: self._handover.write(batch))
            else:
                self._dead_letters.put_gap(item, "journal bytes that do not match their checksum")
                with self._stats.lock:
                    self._stats.corrupt_bytes += len(item.data)
            end = item.end
        self._handover.write(batch)
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
        """Wait a moment for more frames, unless there are many already or somebody waits for us."""
        if self._journal.pending_bytes(self._position) < self._settings.batch_bytes:
            self._hurry.wait(self._settings.batch_age)

    def _pause(self, seconds: float) -> None:
        gc.enable()  # this may go on for hours
        if self._stopping.wait(seconds):
            raise StoppedError
        gc.disable()


@contextmanager
def _collector_paused() -> Generator[None]:
    """Keep the cyclic garbage collector from walking a batch again and again.

    A batch is some hundred thousand objects that live for seconds and hold no cycles: reference counting frees them.
    Each full collection meanwhile would visit them all (measured: a seventh of the pipeline's time).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
