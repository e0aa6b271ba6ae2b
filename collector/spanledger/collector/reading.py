"""Frames → evidence: decoding, and asking the dialects what each record says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from spanledger.collector.ancestry import Place
from spanledger.collector.batch import Batch
from spanledger.collector.deadletter import DeadLetters
from spanledger.collector.decode import Decoder, single_records
from spanledger.collector.decode_json import JsonDecoder
from spanledger.collector.errors import MalformedError, one_line
from spanledger.collector.ports import RecordReader
from spanledger.collector.segment import Frame
from spanledger.collector.signals import Encoding, Signal
from spanledger.collector.stats import Stats
from spanledger.semconv.dialects import Reading
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import LogEntry, SpanRecord, SpanTable
from spanledger.semconv.sheet import Sheet

Outcome = Observation | Exception | None
"""What comes of reading one record."""


def _add(sheet: Sheet, batch: Batch, limit: int, flush: Callable[[], None]) -> None:
    """Put a sheet into the batch, in pieces where the whole of it is too much."""
    at = 0
    while at < len(sheet):
        piece = sheet.part(at, at + limit - len(batch.observations))
        batch.observations.add(piece)
        at += len(piece)
        if len(batch.observations) >= limit:
            flush()


class FrameReader:
    """Reads frames into batches. Used by one thread; what it cannot read goes to the dead letters."""

    def __init__(self, reader: RecordReader, dead_letters: DeadLetters, stats: Stats) -> None:
        self._reader = reader
        self._dead_letters = dead_letters
        self._stats = stats
        self._decoders: dict[Encoding, Decoder | JsonDecoder] = {
            Encoding.PROTOBUF: Decoder(),
            Encoding.JSON: JsonDecoder(),
        }

    def read(self, frame: Frame, batch: Batch, limit: int, flush: Callable[[], None]) -> None:
        """Add what a frame says to the batch.

        Args:
            frame: one request.
            batch: where its evidence goes.
            limit: `flush` is called when the batch holds this many observations or places (a large frame).
            flush: hands the batch over and clears it.
        """
        batch.begin(frame)
        decoder = self._decoders[frame.encoding]
        stumbles: Counter[str] = Counter()
        dropped = 0
        try:
            if frame.signal is Signal.TRACES:
                dropped = self._spans(frame, decoder.parts(frame.payload), batch, limit, flush, stumbles)
            elif frame.signal is Signal.LOGS:
                dropped = self._logs(frame, decoder.logs(frame.payload), batch, limit, flush, stumbles)
        except MalformedError as error:
            self.put_aside(frame, str(error), "frame", 1, None)
        if stumbles:
            reasons = "; ".join(f"{count} x {reason}" for reason, count in stumbles.items())
            reason = f"records that no dialect could read: {reasons}"
            self.put_aside(frame, reason, "dialect", stumbles.total(), lambda outcome: isinstance(outcome, Exception))
        tally = decoder.take_tally()
        with self._stats.lock:
            self._stats.dropped_records[frame.signal.name.lower()] += dropped
            if tally.bad_attributes:
                self._stats.decode_errors["attribute"] += tally.bad_attributes

    def _spans(
        self,
        frame: Frame,
        parts: Iterable[SpanTable | SpanRecord],
        batch: Batch,
        limit: int,
        flush: Callable[[], None],
        stumbles: Counter[str],
    ) -> int:
        """How many spans say nothing about a model call."""
        dropped = 0
        for part in parts:
            alone: Iterable[SpanRecord] = ()
            silent: list[tuple[bytes, bytes, bytes, int]] = []
            if isinstance(part, SpanTable):
                reading = self._read_table(part)
                if reading.sheet is not None:
                    reading.sheet.same |= {"org_id": frame.org_id, "received_ns": frame.received_ns}
                    _add(reading.sheet, batch, limit, flush)
                silent += map(part.place, reading.silent)
                alone = map(part.record, reading.unusual)
            else:
                alone = (part,)
            for span in alone:
                outcome = self._outcome(frame, span)
                if isinstance(outcome, Observation):
                    batch.observations.append(outcome)
                    if len(batch.observations) >= limit:
                        flush()
                else:
                    silent.append((span.trace_id, span.span_id, span.parent_span_id, span.start_ns))
                    if outcome is not None:
                        stumbles[one_line(outcome)] += 1
            for place in silent:
                dropped += 1
                batch.places.append(Place(frame.org_id, *place))
                if len(batch.places) >= limit:
                    flush()
        return dropped

    def _read_table(self, table: SpanTable) -> Reading:
        try:
            reading = self._reader.read_table(table)
        except Exception:  # noqa: BLE001 - which of its spans a dialect stumbles over shows when they are read alone
            reading = None
        return Reading(unusual=range(len(table))) if reading is None else reading

    def _logs(
        self,
        frame: Frame,
        entries: Iterable[LogEntry],
        batch: Batch,
        limit: int,
        flush: Callable[[], None],
        stumbles: Counter[str],
    ) -> int:
        """The same for log records, which have no place in a trace of their own."""
        dropped = 0
        for entry in entries:
            outcome = self._outcome(frame, entry)
            if isinstance(outcome, Observation):
                batch.observations.append(outcome)
            else:
                dropped += 1
                if outcome is not None:
                    stumbles[one_line(outcome)] += 1
            if len(batch.observations) >= limit:
                flush()
        return dropped

    def _outcome(self, frame: Frame, record: SpanRecord | LogEntry) -> Outcome:
        try:
            if isinstance(record, SpanRecord):
                observation = self._reader.read_span(record)
            else:
                observation = self._reader.read_log(record)
        except Exception as error:  # noqa: BLE001 - a dialect that stumbles costs one record, not the collector
            return error
        if observation is not None:
            observation.org_id = frame.org_id
            observation.received_ns = frame.received_ns
        return observation

    def put_aside(
        self, frame: Frame, reason: str, kind: str, count: int, is_bad: Callable[[Outcome], bool] | None
    ) -> None:
        """Keep a dead letter.

        Args:
            frame: what the bad records came in.
            reason: one readable line.
            kind: how it is counted in `Stats.decode_errors`.
            count: how many records are bad.
            is_bad: tells the bad records, by what comes of reading them, so that only they are kept; ``None`` keeps
                the whole request.
        """
        payload = frame.payload
        if is_bad is not None and frame.encoding is Encoding.PROTOBUF:
            payload = b"".join(body for body, outcome in self._one_by_one(frame) if is_bad(outcome)) or payload
        self._dead_letters.put(frame, payload, reason)
        with self._stats.lock:
            self._stats.dead_letters += 1
            self._stats.decode_errors[kind] += count

    def _one_by_one(self, frame: Frame) -> Iterator[tuple[bytes, Outcome]]:
        """Each readable record of a protobuf request as a request of its own, and what comes of it."""
        decoder = Decoder()
        for body in single_records(frame.payload):
            records = decoder.spans(body) if frame.signal is Signal.TRACES else decoder.logs(body)
            for record in records:
                yield body, self._outcome(frame, record)
