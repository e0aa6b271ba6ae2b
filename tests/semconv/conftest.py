"""Fixtures of the semconv tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from spanledger.semconv.dialects import Dialects
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import LogEntry, Source, SpanEvent, SpanRecord

sys.path.insert(0, str(Path(__file__).parent))  # span_tables, for the test modules

TRACE, SPAN, PARENT = b"t" * 16, b"s" * 8, b"p" * 8
START, END = 1_795_000_000_000_000_000, 1_795_000_002_000_000_000


class Emitted:
    """Records as some emitter sends them, read by the dialects."""

    trace, span_id, parent, start, end = TRACE, SPAN, PARENT, START, END

    def span(
        self,
        scope: str,
        attributes: dict[str, Any],
        *,
        name: str = "chat m",
        kind: int = 3,
        status: int = 0,
        version: str = "",
        resource: dict[str, Any] | None = None,
        events: tuple[SpanEvent, ...] = (),
    ) -> Observation | None:
        source = Source(resource or {}, scope, version)
        record = SpanRecord(TRACE, SPAN, PARENT, name, kind, START, END, status, "", attributes, events, source)
        return Dialects().read_span(record)

    def log(
        self,
        scope: str,
        attributes: dict[str, Any],
        *,
        event: str = "",
        body: Any = None,
        resource: dict[str, Any] | None = None,
    ) -> Observation | None:
        source = Source(resource or {}, scope)
        return Dialects().read_log(LogEntry(b"", b"", event, END, 9, body, attributes, source))

    def tokens(self, observation: Observation | None) -> tuple[int | None, ...]:
        """Input, cache read, cache write, output, reasoning."""
        assert observation is not None
        usage = observation.usage
        return usage.input_tokens, usage.cache_read, usage.cache_write_tokens, usage.output_tokens, usage.reasoning


@pytest.fixture
def emitted() -> Emitted:
    return Emitted()
