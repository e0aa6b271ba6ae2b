"""OTLP protobuf → `SpanRecord` / `LogEntry`: the hot path of the collector.

`check_protobuf` is what a receiver runs before it acknowledges: it parses the request and judges every record, without
decoding attributes. `Decoder` is what the pipeline runs later on the same bytes, and refuses the same records for the
same reasons. Log records have no required fields, so they are refused only when they do not parse.

A record is refused alone where the format allows it: a span that does not parse, or has no valid trace or span id
(required by opentelemetry-proto `trace.proto`), never takes its neighbours with it. An attribute that does not parse is
left out of its record and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError

from spanledger.collector import wire
from spanledger.collector.errors import MalformedError
from spanledger.collector.signals import Signal
from spanledger.collector.tables import Tables
from spanledger.collector.wire import any_value, text, valid_id
from spanledger.semconv.records import LogEntry, Source, SpanEvent, SpanRecord, SpanTable

_ZERO_TRACE: Final = bytes(16)
_ZERO_SPAN: Final = bytes(8)

NO_TRACE_ID: Final = "missing or invalid trace_id"
NO_SPAN_ID: Final = "missing or invalid span_id"
UNREADABLE: Final = "record is not valid protobuf"

MEMO_ENTRIES: Final = 1 << 16
MEMO_VALUES_OF_A_KEY: Final = 1 << 13
MEMO_ENTRY_BYTES: Final = 256
"""Attributes longer than this (prompts, stack traces) rarely repeat and are decoded each time."""

TABLE_ROWS: Final = 4096
"""Spans of a table at most: bounds the memory that a large request needs."""

_STATUSES: Final = 1 << 10
_KEYS: Final = 1 << 12

_NO_EVENTS: Final[Sequence[SpanEvent]] = ()


@dataclass(slots=True)
class Verdict:
    """What a request holds: records that can be read, and refused ones by reason."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])

    @property
    def message(self) -> str:
        """One line for the sender's `partial_success.error_message`."""
        return "; ".join(f"{count} x {reason}" for reason, count in sorted(self.refused.items()))


@dataclass(slots=True)
class Tally:
    """What a decoder could not read: records by reason, and attributes (or bodies, or events) left out of records."""

    refused: Counter[str] = field(default_factory=Counter[str])
    bad_attributes: int = 0


def check_protobuf(signal: Signal, body: bytes) -> Verdict:
    """Judge a request body without decoding it.

    Raises:
        MalformedError: the body is not an OTLP export request of this signal.
    """
    verdict = Verdict()
    if signal is Signal.TRACES:
        accepted = 0
        for group in _groups(wire.TraceRequest, wire.Span, body, verdict.refused):
            for _, _, spans in group:
                for span in spans:
                    trace_id, span_id = span.trace_id, span.span_id
                    if len(trace_id) == 16 and len(span_id) == 8 and trace_id != _ZERO_TRACE and span_id != _ZERO_SPAN:
                        accepted += 1
                    else:
                        verdict.refused[_refusal(trace_id)] += 1
        verdict.accepted = accepted
    elif signal is Signal.LOGS:
        for group in _groups(wire.LogsRequest, wire.LogRecord, body, verdict.refused):
            verdict.accepted += sum(len(records) for _, _, records in group)
    else:
        request = _parse(wire.RawRequest, body)
        verdict.accepted = sum(len(scope.records) for group in request.groups for scope in group.scopes)
    return verdict


def _refusal(trace_id: bytes) -> str:
    """Why a span without two valid ids is refused. An all-zero id is invalid too (`trace.proto`)."""
    return NO_TRACE_ID if len(trace_id) != 16 or trace_id == _ZERO_TRACE else NO_SPAN_ID


def _parse(message: Any, body: bytes) -> Any:
    try:
        return message.FromString(body)
    except DecodeError as error:
        raise MalformedError("the body is not a valid OTLP protobuf message") from error


def _groups(
    request_class: Any, record_class: Any, body: bytes, refused: Counter[str]
) -> Iterable[list[tuple[Any, Any, Any]]]:
    """The request's (resource, scope, records), one list per resource; unreadable records are counted, not returned.

    The usual request parses whole. One with a broken record inside does not, and is read again with its records left as
    bytes, so that the broken ones can be told from the good ones.
    """
    try:
        request = request_class.FromString(body)
    except DecodeError:
        request = None
    if request is not None:
        for group in request.groups:
            resource = group.resource
            yield [(resource, scope.scope, scope.records) for scope in group.scopes]
        return
    for group in _parse(wire.RawRequest, body).groups:
        resource = group.resource
        yield [(resource, scope.scope, _readable(record_class, scope.records, refused)) for scope in group.scopes]


def _readable(record_class: Any, raw_records: Iterable[bytes], refused: Counter[str]) -> list[Any]:
    records: list[Any] = []
    for raw in raw_records:
        try:
            records.append(record_class.FromString(raw))
        except DecodeError:
            refused[UNREADABLE] += 1
    return records


def single_records(body: bytes) -> Iterator[bytes]:
    """Each record of a request as a request of its own, in order, the unreadable ones too.

    Raises:
        MalformedError: the body is no request.
    """
    for group in _parse(wire.RawRequest, body).groups:
        for scope in group.scopes:
            for record in scope.records:
                part = wire.RawRequest(groups=[{"scopes": [{"records": [record]}]}])
                if group.HasField("resource"):
                    part.groups[0].resource.CopyFrom(group.resource)
                if scope.HasField("scope"):
                    part.groups[0].scopes[0].scope.CopyFrom(scope.scope)
                yield bytes(part.SerializeToString())


class _Memo(dict[bytes, tuple[str, Any]]):
    """Raw KeyValue bytes → (key, value), decoded on first sight; bounded, emptied when full.

    Values are shared between all records that carry the same bytes: nobody may change them.
    A pair under the empty key is to be dropped: an attribute without a value, or one that did not parse.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._keys = _Keys()
        self._seen: dict[str, int] = {}
        """Different values seen of each key: a key that never repeats (a response id) would only push out others."""
        self.tally = Tally()

    def __missing__(self, raw: bytes) -> tuple[str, Any]:
        pair = _short_pair(raw, self._keys)
        if pair is None:
            try:
                message = wire.KeyValue.FromString(raw)
            except DecodeError:
                self.tally.bad_attributes += 1
                return "", None
            value = any_value(message.value)
            pair = "" if value is None else self._keys[message.key], value
        if len(raw) <= MEMO_ENTRY_BYTES:
            key = pair[0]
            seen = self._seen.get(key, 0)
            if seen < MEMO_VALUES_OF_A_KEY:
                if len(self) >= self._limit:
                    self.clear()
                    self._seen.clear()
                    seen = 0
                self._seen[key] = seen + 1
                self[raw] = pair
        return pair


class _Keys(dict[bytes, str]):
    """Raw attribute keys → text, one object for each: a text that is made anew has to be hashed anew."""

    def __missing__(self, raw: bytes) -> str:
        key = text(raw)
        if len(raw) <= MEMO_ENTRY_BYTES:
            if len(self) >= _KEYS:
                self.clear()
            self[raw] = key
        return key


def _short_pair(raw: bytes, keys: _Keys) -> tuple[str, Any] | None:
    """A KeyValue of a short key and a short string or small integer, which most are, without the parser's overhead.

    The bytes are ``0A len key 12 len (0A len text | 18 varint)``; ``None`` for everything else, however slightly it
    differs.
    """
    size = len(raw)
    if size < 7 or raw[0] != 0x0A or (at := raw[1] + 2) > size - 4 or raw[1] > 0x7F:
        return None
    length = raw[at + 1]
    if raw[at] != 0x12 or length != size - at - 2 or length > 0x7F:
        return None
    kind = raw[at + 2]
    if kind == 0x0A:
        if raw[at + 3] != length - 2:
            return None
        value: Any = raw[at + 4 :].decode("utf-8", "replace")
    elif kind == 0x18:
        if length == 2 and raw[at + 3] < 0x80:
            value = raw[at + 3]
        elif length == 3 and raw[at + 3] > 0x7F and raw[at + 4] < 0x80:
            value = raw[at + 3] & 0x7F | raw[at + 4] << 7
        else:
            return None
    else:
        return None
    return keys[raw[2:at]], value


class _Statuses(dict[bytes, tuple[int, str]]):
    """Raw Status bytes → (code, message); bounded, emptied when full. Most spans have none: ``b""``."""

    def __init__(self, memo: _Memo) -> None:
        super().__init__()
        self._memo = memo

    def __missing__(self, raw: bytes) -> tuple[int, str]:
        try:
            status = wire.Status.FromString(raw)
        except DecodeError:
            self._memo.tally.bad_attributes += 1
            return 0, ""
        decoded = status.code, text(status.message)
        if len(raw) <= MEMO_ENTRY_BYTES:
            if len(self) >= _STATUSES:
                self.clear()
            self[raw] = decoded
        return decoded


class Decoder:
    """Turns request bodies into records. One per thread: it owns a memo and a running tally."""

    def __init__(self, memo_entries: int = MEMO_ENTRIES) -> None:
        self._memo = _Memo(memo_entries)
        self._statuses = _Statuses(self._memo)
        self._tables = Tables(self._statuses)

    def take_tally(self) -> Tally:
        """What could not be read since the last call."""
        tally, self._memo.tally = self._memo.tally, Tally()
        return tally

    def _attributes(self, raw_pairs: Any) -> dict[str, Any]:
        attributes = dict(map(self._memo.__getitem__, raw_pairs[:]))
        attributes.pop("", None)
        return attributes

    def _source(self, resource: Any, scope: Any) -> Source:
        return Source(
            self._attributes(resource.attributes),
            text(scope.name),
            text(scope.version),
            self._attributes(scope.attributes),
        )

    def spans(self, body: bytes) -> Iterator[SpanRecord]:
        """The spans of an ExportTraceServiceRequest, one by one, so that a large request needs little memory.

        Raises:
            MalformedError: the body is no such request.
        """
        for source, spans in self._by_source(body):
            yield from self._records(spans, source)

    def parts(self, body: bytes) -> Iterator[SpanTable | SpanRecord]:
        """The same spans as tables of those that are alike, and the others one by one; not in the order of the body.

        Raises:
            MalformedError: the body is no such request.
        """
        for source, spans in self._by_source(body):
            for start in range(0, len(spans), TABLE_ROWS):
                sorted_ = self._tables.sort(spans[start : start + TABLE_ROWS], source)
                yield from sorted_.tables
                yield from self._records(sorted_.others, source)

    def _by_source(self, body: bytes) -> Iterator[tuple[Source, Any]]:
        for group in _groups(wire.TraceRequest, wire.Span, body, self._memo.tally.refused):
            for resource, scope, spans in group:
                yield self._source(resource, scope), spans

    def _records(self, spans: Iterable[Any], source: Source) -> Iterator[SpanRecord]:
        pairs, statuses = self._memo.__getitem__, self._statuses
        for span in spans:
            trace_id, span_id = span.trace_id, span.span_id
            if len(trace_id) != 16 or len(span_id) != 8 or trace_id == _ZERO_TRACE or span_id == _ZERO_SPAN:
                self._memo.tally.refused[_refusal(trace_id)] += 1
                continue
            attributes = dict(map(pairs, span.attributes[:]))  # a slice is faster than iterating
            attributes.pop("", None)
            events = span.events
            status_code, status_message = statuses[span.status]
            yield SpanRecord(
                trace_id,
                span_id,
                valid_id(span.parent_span_id, 8),
                span.name.decode("utf-8", "replace"),
                span.kind,
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                status_code,
                status_message,
                attributes,
                self._events(events) if events else _NO_EVENTS,
                source,
            )

    def _events(self, raw_events: Iterable[bytes]) -> list[SpanEvent]:
        events: list[SpanEvent] = []
        for raw in raw_events:
            try:
                event = wire.Event.FromString(raw)
            except DecodeError:
                self._memo.tally.bad_attributes += 1
                continue
            events.append(SpanEvent(text(event.name), event.time_unix_nano, self._attributes(event.attributes)))
        return events

    def logs(self, body: bytes) -> Iterator[LogEntry]:
        """The records of an ExportLogsServiceRequest, one by one.

        Raises:
            MalformedError: the body is no such request.
        """
        for group in _groups(wire.LogsRequest, wire.LogRecord, body, self._memo.tally.refused):
            for resource, scope, records in group:
                source = self._source(resource, scope)
                for record in records:
                    yield LogEntry(
                        valid_id(record.trace_id, 16),
                        valid_id(record.span_id, 8),
                        text(record.event_name),
                        record.time_unix_nano or record.observed_time_unix_nano,
                        record.severity_number,
                        self._body(record.body),
                        self._attributes(record.attributes),
                        source,
                    )

    def _body(self, raw: bytes) -> Any:
        try:
            return any_value(wire.AnyValue.FromString(raw))
        except DecodeError:
            self._memo.tally.bad_attributes += 1
            return None
