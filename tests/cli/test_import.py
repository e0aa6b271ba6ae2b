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
        "2 calls more in the ledger; 0 records are further witnesses, details or sums of calls",
    ]
    assert run([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["about_calls"], said["known_before"], said["dropped"]) == (2, 2, 1)
    assert (said["calls"], said["merged"]) == (0, 0)


def test_what_is_left_out_and_what_is_merged_is_said(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A framework's span around an SDK's is one call; metrics are no calls; an empty folder is no import."""

    def span(number: int, parent: int = 0) -> dict[str, Any]:
        texts = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.response.id": "chatcmpl-1"}
        return {
            "traceId": f"{9:032x}",
            "spanId": f"{number:016x}",
            "parentSpanId": f"{parent:016x}" if parent else "",
            "startTimeUnixNano": str(1_795_200_000 * 10**9),
            "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in texts.items()],
        }

    lines = [
        {"resourceSpans": [{"scopeSpans": [{"spans": [span(1), span(2, parent=1)]}]}]},
        {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "gen_ai.client.token.usage"}]}]}]},
    ]
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(["import", "--data", str(tmp_path / "data"), str(mixed), str(empty)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "1 files: 2 spans, 0 log records taken; 1 metrics left out, they repeat what spans say",
        "2 are about model calls, 0 of them were known before; 0 are about something else",
        "1 calls more in the ledger; 1 records are further witnesses, details or sums of calls",
    ]
    assert said.err.splitlines() == [f"spanledger: not read, 1 times: {empty}: there are no files in this folder"]
