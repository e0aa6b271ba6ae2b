"""Decoded telemetry, as the dialects read it: what OTLP says, without protobuf.

Attribute values are ``str | bool | int | float | bytes | list | dict`` (a kvlist is a dict); attributes arrive exactly
as sent, so readers must tolerate any type under any name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Attributes = Mapping[str, Any]

STATUS_UNSET = 0
STATUS_OK = 1
STATUS_ERROR = 2


@dataclass(frozen=True, slots=True)
class Source:
    """Who sent a record: the resource and the instrumentation scope, shared by all records under them."""

    resource: Attributes
    scope_name: str = ""
    scope_version: str = ""
    scope_attributes: Attributes = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class SpanEvent:
    name: str
    time_ns: int
    attributes: Attributes


@dataclass(slots=True)
class SpanRecord:
    """One span. Ids are raw bytes (16 and 8 long, ``b""`` when absent or malformed), times ns since the epoch, UTC."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status_code: int
    status_message: str
    attributes: dict[str, Any]
    events: Sequence[SpanEvent]
    source: Source


@dataclass(slots=True)
class SpanTable:
    """Spans of one source whose attributes have the same names in the same order, as columns of equal length.

    Spans that failed or that carry events are never among them.

    Attributes:
        trace_ids, span_ids, parent_span_ids, span_names, kinds, starts, ends: as in `SpanRecord`, names as bytes.
        statuses: code and message.
        names: the attributes' names, none twice.
        values: the attributes' values, a column for each name. Values that repeat are one object.
        constant: whether a column holds one object only.
        source: who sent them.
    """

    trace_ids: list[bytes]
    span_ids: list[bytes]
    parent_span_ids: list[bytes]
    span_names: list[bytes]
    kinds: list[int]
    starts: list[int]
    ends: list[int]
    statuses: list[tuple[int, str]]
    names: tuple[str, ...]
    values: list[Sequence[Any]]
    constant: list[bool]
    source: Source

    def __len__(self) -> int:
        return len(self.trace_ids)

    def place(self, row: int) -> tuple[bytes, bytes, bytes, int]:
        """The ids of one of the spans: trace, own, parent's; and its start."""
        return self.trace_ids[row], self.span_ids[row], self.parent_span_ids[row], self.starts[row]

    def record(self, row: int) -> SpanRecord:
        """One of the spans."""
        return SpanRecord(
            self.trace_ids[row],
            self.span_ids[row],
            self.parent_span_ids[row],
            self.span_names[row].decode("utf-8", "replace"),
            self.kinds[row],
            self.starts[row],
            self.ends[row],
            *self.statuses[row],
            {name: column[row] for name, column in zip(self.names, self.values, strict=True)},
            (),
            self.source,
        )


@dataclass(slots=True)
class LogEntry:
    """One log record; ``event_name`` is the record's own field (often empty: look at ``event.name`` too)."""

    trace_id: bytes
    span_id: bytes
    event_name: str
    time_ns: int
    severity: int
    body: Any
    attributes: dict[str, Any]
    source: Source
