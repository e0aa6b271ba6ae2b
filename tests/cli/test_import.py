"""`spanledger import` says what became of the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.cli.app import run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two model calls and a database query."""

    def span(number: int, **texts: str) -> dict[str, Any]:
        return {
            "trace_id": number.to_bytes(16, "big"),
            "span_id": number.to_bytes(8, "big"),
            "start_time_unix_nano": 1_795_200_000 * 10**9,
            "attributes": [{"key": key, "value": {"string_value": text}} for key, text in texts.items()],
        }

    model = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
    spans = [span(1, **model), span(2, **model), span(3, **{"db.system": "postgresql"})]
    group: Any = {"scope_spans": [{"spans": spans}]}
    made = tmp_path / "traces.pb"
    made.write_bytes(ExportTraceServiceRequest(resource_spans=[group]).SerializeToString())
    return made


def test_outcome_of_an_import_by_itself(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", "--data", str(tmp_path / "data"), str(file)]
    assert run(command) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 files: 3 spans, 0 log records taken",
        "2 are about model calls, 0 of them were known before; 1 are about something else",
    ]
    assert run([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["about_calls"], said["known_before"], said["dropped"]) == (2, 2, 1)
