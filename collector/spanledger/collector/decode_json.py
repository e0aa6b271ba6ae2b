"""OTLP JSON → `SpanRecord` / `LogEntry`.

The mapping is protobuf's JSON mapping with OTLP's differences (opentelemetry-proto `docs/specification.md`, "JSON
Protobuf Encoding"): ids are hex, enums are numbers. Read leniently where the meaning is clear: enums also by name,
field names also in snake case, 64-bit integers as strings or numbers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, TypeGuard

from spanledger.collector.decode import NO_SPAN_ID, NO_TRACE_ID, Tally, Verdict
from spanledger.collector.errors import MalformedError
from spanledger.collector.signals import Signal
from spanledger.collector.wire import valid_id
from spanledger.semconv.records import LogEntry, Source, SpanEvent, SpanRecord

UNREADABLE: Final = "record is not valid OTLP JSON"

# signal → the field names of its three levels
_LEVELS: Final = {
    Signal.TRACES: ("resourceSpans", "scopeSpans", "spans"),
    Signal.LOGS: ("resourceLogs", "scopeLogs", "logRecords"),
    Signal.METRICS: ("resourceMetrics", "scopeMetrics", "metrics"),
}
_KINDS: Final = {
    "SPAN_KIND_UNSPECIFIED": 0,
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
}
_STATUS_CODES: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_SEVERITIES: Final = {
    "SEVERITY_NUMBER_UNSPECIFIED": 0,
    **{
        f"SEVERITY_NUMBER_{level}{step or ''}": 1 + 4 * at + max(0, step - 1)
        for at, level in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
        for step in (0, 2, 3, 4)
    },
}
_INT64: Final = range(-(1 << 63), 1 << 63)
_UINT64_MAX: Final = (1 << 64) - 1

_Object = dict[str, Any]


def check_json(signal: Signal, body: bytes) -> Verdict:
    """Judge a JSON request body: the same question as `decode.check_protobuf`.

    Raises:
        MalformedError: the body is not an OTLP export request of this signal.
    """
    verdict, decoder = Verdict(), JsonDecoder()
    if signal is Signal.TRACES:
        verdict.accepted = sum(1 for _ in decoder.spans(body))
    elif signal is Signal.LOGS:
        verdict.accepted = sum(1 for _ in decoder.logs(body))
    else:
        verdict.accepted = sum(len(records) for _, _, records in _groups(signal, body))
    verdict.refused = decoder.take_tally().refused
    return verdict


class JsonDecoder:
    """Turns JSON request bodies into records; `decode.Decoder` for the other encoding."""

    def __init__(self) -> None:
        self._tally = Tally()

    def take_tally(self) -> Tally:
        """What could not be read since the last call."""
        tally, self._tally = self._tally, Tally()
        return tally

    def spans(self, body: bytes) -> Iterator[SpanRecord]:
        """The spans of an ExportTraceServiceRequest.

        Raises:
            MalformedError: the body is no such request.
        """
        for resource, scope, spans in _groups(Signal.TRACES, body):
            source = self._source(resource, scope)
            for span in spans:
                try:
                    record = self._span(span, source)
                except (ValueError, TypeError):
                    self._tally.refused[UNREADABLE] += 1
                    continue
                if record.trace_id and record.span_id:
                    yield record
                else:
                    self._tally.refused[NO_SPAN_ID if record.trace_id else NO_TRACE_ID] += 1

    def parts(self, body: bytes) -> Iterator[SpanRecord]:
        """As `decode.Decoder.parts`: here always one by one."""
        return self.spans(body)

    def logs(self, body: bytes) -> Iterator[LogEntry]:
        """The records of an ExportLogsServiceRequest.

        Raises:
            MalformedError: the body is no such request.
        """
        for resource, scope, records in _groups(Signal.LOGS, body):
            source = self._source(resource, scope)
            for entry in records:
                try:
                    record = self._log(entry, source)
                except (ValueError, TypeError):
                    self._tally.refused[UNREADABLE] += 1
                    continue
                yield record

    def _span(self, span: Any, source: Source) -> SpanRecord:
        span = _object(span)
        status = _object(_get(span, "status") or {})
        return SpanRecord(
            trace_id=_id(_get(span, "traceId"), 16),
            span_id=_id(_get(span, "spanId"), 8),
            parent_span_id=_id(_get(span, "parentSpanId"), 8),
            name=_text(_get(span, "name")),
            kind=_enum(_get(span, "kind"), _KINDS),
            start_ns=_time(_get(span, "startTimeUnixNano")),
            end_ns=_time(_get(span, "endTimeUnixNano")),
            status_code=_enum(_get(status, "code"), _STATUS_CODES),
            status_message=_text(_get(status, "message")),
            attributes=self._attributes(_get(span, "attributes")),
            events=[self._event(event) for event in _array(_get(span, "events"))],
            source=source,
        )

    def _event(self, event: Any) -> SpanEvent:
        event = _object(event)
        return SpanEvent(
            _text(_get(event, "name")), _time(_get(event, "timeUnixNano")), self._attributes(_get(event, "attributes"))
        )

    def _log(self, entry: Any, source: Source) -> LogEntry:
        entry = _object(entry)
        body = _get(entry, "body")
        return LogEntry(
            trace_id=_id(_get(entry, "traceId"), 16),
            span_id=_id(_get(entry, "spanId"), 8),
            event_name=_text(_get(entry, "eventName")),
            time_ns=_time(_get(entry, "timeUnixNano")) or _time(_get(entry, "observedTimeUnixNano")),
            severity=_enum(_get(entry, "severityNumber"), _SEVERITIES),
            body=None if body is None else self._value(body),
            attributes=self._attributes(_get(entry, "attributes")),
            source=source,
        )

    def _source(self, resource: _Object, scope: _Object) -> Source:
        try:
            return Source(
                self._attributes(_get(resource, "attributes")),
                _text(_get(scope, "name")),
                _text(_get(scope, "version")),
                self._attributes(_get(scope, "attributes")),
            )
        except (ValueError, TypeError):
            self._tally.bad_attributes += 1
            return Source({})

    def _attributes(self, pairs: Any) -> _Object:
        attributes: _Object = {}
        for item in _array(pairs):
            try:
                pair = _object(item)
                key, value = _text(_get(pair, "key")), any_value(_get(pair, "value"))
            except (ValueError, TypeError):
                self._tally.bad_attributes += 1
                continue
            if key and value is not None:
                attributes[key] = value
        return attributes

    def _value(self, value: Any) -> Any:
        try:
            return any_value(value)
        except (ValueError, TypeError):
            self._tally.bad_attributes += 1
            return None


def _groups(signal: Signal, body: bytes) -> Iterator[tuple[_Object, _Object, Sequence[Any]]]:
    """The request's (resource, scope, records)."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError("the body is not valid JSON") from error
    outer, middle, inner = _LEVELS[signal]
    try:
        request = _object(request)
        if _get(request, outer) is None and request:
            raise MalformedError(f"the body is not an OTLP request: it has no '{outer}'")
        groups = [
            (_object(_get(group, "resource") or {}), _object(_get(scope, "scope") or {}), _array(_get(scope, inner)))
            for group in map(_object, _array(_get(request, outer)))
            for scope in map(_object, _array(_get(group, middle)))
        ]
    except (ValueError, TypeError) as error:
        raise MalformedError(f"the body is not an OTLP request: {error}") from error
    yield from groups


def any_value(value: Any) -> Any:
    """The Python value of a JSON AnyValue; ``None`` where no value is set.

    Raises:
        ValueError, TypeError: it is not an AnyValue.
    """
    value = _object(value)
    for name, raw in value.items():
        if raw is None:
            continue
        match name:
            case "stringValue" | "string_value":
                return _text(raw)
            case "boolValue" | "bool_value":
                return _bool(raw)
            case "intValue" | "int_value":
                return _int64(raw)
            case "doubleValue" | "double_value":
                return _double(raw)
            case "arrayValue" | "array_value":
                return [any_value(item) for item in _array(_get(_object(raw), "values"))]
            case "kvlistValue" | "kvlist_value":
                pairs = map(_object, _array(_get(_object(raw), "values")))
                return {_text(_get(pair, "key")): any_value(_get(pair, "value") or {}) for pair in pairs}
            case "bytesValue" | "bytes_value":
                return base64.b64decode(_text(raw), validate=True)
            case _:
                continue  # a field of a newer protocol: unknown fields are ignored
    return None


def _get(message: _Object, name: str) -> Any:
    value = message.get(name)
    return message.get(_snake_case(name)) if value is None else value


@cache
def _snake_case(name: str) -> str:
    """The protobuf name of a JSON name; called with our own few names only."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _object(value: Any) -> _Object:
    if not _is_dict(value):
        raise TypeError(f"an object was expected, not {type(value).__name__}")
    return value


def _is_dict(value: Any) -> TypeGuard[_Object]:
    return isinstance(value, dict)


def _array(value: Any) -> list[Any]:
    if value is None:
        return []
    if not _is_list(value):
        raise TypeError(f"an array was expected, not {type(value).__name__}")
    return value


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _text(value: Any) -> str:
    """Text that can be stored as UTF-8: a lone surrogate, which JSON can spell, becomes ``?``."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"a string was expected, not {type(value).__name__}")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _id(value: Any, length: int) -> bytes:
    try:
        return valid_id(bytes.fromhex(_text(value)), length)
    except ValueError:
        return b""


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false was expected, not {type(value).__name__}")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise TypeError(f"an integer was expected, not {type(value).__name__}")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("an integer was expected, not a fraction")
    return int(value)


def _int64(value: Any) -> int:
    number = _integer(value)
    if number not in _INT64:
        raise ValueError("an integer of 64 bits was expected")
    return number


def _time(value: Any) -> int:
    number = 0 if value is None else _integer(value)
    if not 0 <= number <= _UINT64_MAX:
        raise ValueError("a time of 64 bits was expected")
    return number


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"a number was expected, not {type(value).__name__}")
    return float(value)


def _enum(value: Any, names: dict[str, int]) -> int:
    if value is None:
        return 0
    if isinstance(value, str) and value in names:
        return names[value]
    return _integer(value)
