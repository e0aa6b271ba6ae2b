"""Batches → ledger, however long that takes: backing off while the store fails, putting aside what it never takes."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from spanledger.collector.ancestry import Ancestry
from spanledger.collector.batch import Batch
from spanledger.collector.errors import one_line
from spanledger.collector.ports import LedgerWriter
from spanledger.collector.reading import FrameReader, Outcome
from spanledger.collector.segment import Frame, Position
from spanledger.collector.stats import Stats
from spanledger.ledger.errors import PermanentStoreError
from spanledger.ledger.gather import SpanLink
from spanledger.semconv.observation import Observation

_log = logging.getLogger(__name__)

_DATA_ERRORS: Final = (PermanentStoreError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What a batch raises when its content is at fault, and would be again. Everything else is the store's or the
machine's trouble and is tried again."""

_POISON_MAX: Final = 64
"""More refused records than this in one batch of which nothing succeeds: the store is at fault, not the records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """How to go on after an error.

    Attributes:
        backoff_min, backoff_max: seconds between tries while the store fails.
        alone_tries: tries for records of which the store refuses every one, before they count as poison.
    """

    backoff_min: float = 0.5
    backoff_max: float = 30.0
    alone_tries: int = 10


class Handover:
    """Writes batches into the ledger. Used by one thread; `trouble` may be read by any."""

    def __init__(
        self,
        ledger: LedgerWriter,
        frames: FrameReader,
        stats: Stats,
        settings: RetrySettings,
        pause: Callable[[float], None],
        *,
        keep_all_spans: bool = False,
    ) -> None:
        """
        Args:
            ledger: the single writer.
            frames: puts aside what the ledger never takes.
            stats: counts.
            settings: how to go on after an error.
            pause: waits for some seconds; raises when the pipeline stops.
            keep_all_spans: hand over the place of every span, not only those in traces of model calls.
        """
        self._ledger = ledger
        self._frames = frames
        self._stats = stats
        self._settings = settings
        self._pause = pause
        self._ancestry = None if keep_all_spans else Ancestry()
        self.trouble = ""
        """Why the current batch does not go through, one line; ``""`` when all is well."""

    def write(self, batch: Batch) -> None:
        """Hand a batch over; on return it is durable (or put aside) and cleared."""
        if self._ancestry is None:
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
                    self.note(error)
            except Exception as error:  # noqa: BLE001 - the store's boundary: whatever it is, the journal keeps the batch
                self.note(error)
            self._pause(delay * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, self._settings.backoff_max)
        self.trouble = ""
        batch.clear()

    def note(self, error: Exception) -> None:
        """Something failed that will be tried again: say so once, and count."""
        line = one_line(error)
        if line != self.trouble:
            _log.warning("the ledger does not take the batch, trying again: %s", line)
        self.trouble = line
        with self._stats.lock:
            self._stats.store_retries += 1

    def _ingest(self, observations: Sequence[Observation], links: Sequence[SpanLink]) -> None:
        report = self._ledger.ingest(observations, links)
        with self._stats.lock:
            self._stats.observations += report.observations
            self._stats.repeated_observations += report.repeated

    def _isolate(self, batch: Batch, links: Sequence[SpanLink], *, last_try: bool) -> bool:
        """Find the records that make the ledger refuse the batch, by halving it; put them aside.

        Returns:
            Whether the rest of the batch is in the ledger. ``False`` when nothing at all succeeded: then the store is
            more likely at fault than every single record, and the batch has to be tried again.
        """
        poison: list[tuple[int, Exception]] = []
        succeeded = False
        # (first, last + 1) of observations still to be tried; the places in traces come last, with none of them.
        todo = [(0, 0), (0, len(batch.observations))]
        while todo:
            first, end = todo.pop()
            part_links = links if end == 0 else ()
            try:
                if first < end or part_links:
                    self._ingest(batch.observations[first:end], part_links)
                    if not succeeded:
                        succeeded = True
                        # What failed until now may have met a store that took nothing: all of that once more.
                        todo += [(index, index + 1) for index, _ in poison]
                        poison.clear()
            except _DATA_ERRORS as error:
                if end - first > 1:
                    middle = (first + end) // 2
                    todo += [(middle, end), (first, middle)]
                elif end - first == 1:
                    poison.append((first, error))
                    if not succeeded and len(poison) > _POISON_MAX:
                        return False
                elif succeeded or last_try:
                    with self._stats.lock:
                        self._stats.decode_errors["link"] += len(part_links)
        if not succeeded and not last_try:
            return False
        self._put_aside(batch, poison)
        return True

    def _put_aside(self, batch: Batch, poison: Sequence[tuple[int, Exception]]) -> None:
        by_frame: dict[Position, tuple[Frame, list[Observation], str]] = {}
        for index, error in poison:
            frame = batch.frame_of(index)
            by_frame.setdefault(frame.end, (frame, [], one_line(error)))[1].append(batch.observations[index])
        for frame, bad, reason in by_frame.values():
            reason = f"the ledger refuses records of it: {reason}"
            self._frames.put_aside(frame, reason, "ledger", len(bad), partial(_is_one_of, bad))


def _is_one_of(observations: Sequence[Observation], outcome: Outcome) -> bool:
    return outcome in observations
