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
