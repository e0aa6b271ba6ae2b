"""The three OTLP signals and the two encodings, with the numbers that stand for them in the journal."""

from __future__ import annotations

from enum import IntEnum


class Signal(IntEnum):
    """What an export request carries. Values are part of the journal's format: never renumber."""

    TRACES = 1
    LOGS = 2
    METRICS = 3

    @property
    def path(self) -> str:
        """Its OTLP/HTTP path (opentelemetry-proto `docs/specification.md`, "OTLP/HTTP Request")."""
        return f"/v1/{self.name.lower()}"

    @property
    def rejected_field(self) -> str:
        """The JSON name of ``partial_success``'s first field (`collector/*/v1/*_service.proto`)."""
        return {1: "rejectedSpans", 2: "rejectedLogRecords", 3: "rejectedDataPoints"}[self]


class Encoding(IntEnum):
    """How an export request is written. Values are part of the journal's format: never renumber."""

    PROTOBUF = 1
    JSON = 2
