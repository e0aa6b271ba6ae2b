"""Builders and doubles for the collector's tests. Requests are built with the stock OTLP classes, as senders do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.collector.deadletter import DeadLetters
from spanledger.collector.handover import RetrySettings
from spanledger.collector.intake import Intake
from spanledger.collector.journal import Journal, JournalSettings
from spanledger.collector.pipeline import Pipeline, PipelineSettings
from spanledger.collector.stats import Stats
from spanledger.ledger.gather import SpanLink
from spanledger.ledger.store import IngestReport
from spanledger.semconv.dialects import Reading
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import LogEntry, SpanRecord, SpanTable

NOW_NS = 1_795_200_000 * 10**9
SMALL = JournalSettings(limit_bytes=64 << 20, segment_bytes=1 << 20, reserve_bytes=0, fsync=True)


def any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"bool_value": value}
    for kind, name in ((int, "int_value"), (float, "double_value"), (str, "string_value"), (bytes, "bytes_value")):
        if isinstance(value, kind):
            return {name: value}
    if isinstance(value, Mapping):
        return {"kvlist_value": {"values": attributes(value)}}
    if isinstance(value, Sequence):
        return {"array_value": {"values": [any_value(item) for item in value]}}
    return {}


def attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


class Build:
    """Serialized export requests."""

    @staticmethod
    def span(number: int = 1, **fields: Any) -> dict[str, Any]:
        """A span about a model call; `number` makes its ids."""
        values = fields.pop("attributes", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"})
        return {
            "trace_id": number.to_bytes(16, "big"),
            "span_id": number.to_bytes(8, "big"),
            "name": "chat gpt-4o",
            "kind": 3,
            "start_time_unix_nano": NOW_NS,
            "end_time_unix_nano": NOW_NS + 10**9,
            "attributes": attributes(values),
            **fields,
        }

    @staticmethod
    def traces(*spans: dict[str, Any], resource: Mapping[str, Any] | None = None) -> bytes:
        group = {
            "resource": {"attributes": attributes({"service.name": "shop"} if resource is None else resource)},
            "scope_spans": [{"scope": {"name": "test", "version": "1"}, "spans": list(spans)}],
        }
        return ExportTraceServiceRequest(resource_spans=[group]).SerializeToString()

    @staticmethod
    def logs(*records: dict[str, Any]) -> bytes:
        group = {
            "resource": {"attributes": attributes({"service.name": "shop"})},
            "scope_logs": [{"scope": {"name": "test"}, "log_records": list(records)}],
        }
        return ExportLogsServiceRequest(resource_logs=[group]).SerializeToString()

    @staticmethod
    def metrics() -> bytes:
        point = {"time_unix_nano": NOW_NS, "as_int": 7}
        metric = {"name": "gen_ai.client.token.usage", "sum": {"data_points": [point]}}
        group = {"scope_metrics": [{"metrics": [metric, metric]}]}
        return ExportMetricsServiceRequest(resource_metrics=[group]).SerializeToString()

    attributes = staticmethod(attributes)


@pytest.fixture(scope="session")
def build() -> type[Build]:
    return Build


class EveryGenAiSpan:
    """A reader that takes each span or record with a ``gen_ai.operation.name`` for a call; stumbles on demand."""

    def read_span(self, record: SpanRecord, /) -> Observation | None:
        if record.name == "stumble":
            raise KeyError("a dialect's bug")
        return self._read(record)

    def read_table(self, table: SpanTable, /) -> Reading | None:
        return None

    def read_log(self, record: LogEntry, /) -> Observation | None:
        return self._read(record)

    def _read(self, record: SpanRecord | LogEntry) -> Observation | None:
        if "gen_ai.operation.name" not in record.attributes:
            return None
        return Observation(
            trace_id=record.trace_id,
            span_id=record.span_id,
            request_model=str(record.attributes.get("gen_ai.request.model", "")),
        )


class MemoryLedger:
    """Keeps what it is given, by identity; fails as `failure` says."""

    def __init__(self) -> None:
        self.observations: dict[tuple[str, bytes, bytes], Observation] = {}
        self.links: dict[tuple[str, bytes, bytes], SpanLink] = {}
        self.batches: list[int] = []
        self.failure: Callable[[Sequence[Observation]], Exception | None] = lambda _: None
        self.attempts = 0
        self.attempted = threading.Condition()

    def ingest(self, observations: Sequence[Observation], links: Sequence[SpanLink], /) -> IngestReport:
        with self.attempted:
            self.attempts += 1
            self.attempted.notify_all()
        error = self.failure(observations)
        if error is not None:
            raise error
        before = len(self.observations)
        self.batches.append(len(observations))
        self.observations |= {(o.org_id, o.trace_id, o.span_id): o for o in observations}
        self.links |= {(link.org_id, link.trace_id, link.span_id): link for link in links}
        new = len(self.observations) - before
        return IngestReport(observations=len(observations), new=new, repeated=len(observations) - new)

    def wait_for_attempts(self, count: int, timeout: float = 10.0) -> None:
        with self.attempted:
            assert self.attempted.wait_for(lambda: self.attempts >= count, timeout)


class Collector:
    """A journal with its pipeline, on a temporary folder."""

    def __init__(self, directory: Path, settings: JournalSettings) -> None:
        self.directory = directory
        self.stats = Stats()
        self.journal = Journal.open(directory / "journal", settings, stats=self.stats)
        self.ledger = MemoryLedger()
        self.dead_letters = directory / "dead"
        self.pipeline = Pipeline(
            self.journal,
            EveryGenAiSpan(),
            self.ledger,
            DeadLetters(self.dead_letters),
            stats=self.stats,
            settings=PipelineSettings(
                batch_age=0.01, retry=RetrySettings(backoff_min=0.01, backoff_max=0.02, alone_tries=3)
            ),
        )
        self.intake = Intake(self.journal, self.stats, max_body_bytes=1 << 20)

    def close(self) -> None:
        self.pipeline.stop()
        self.journal.close()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path, SMALL)
    yield made
    made.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(tmp_path / "journal", SMALL)
    yield made
    made.close()
