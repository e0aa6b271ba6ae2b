"""Why a call is one call: its witnesses, the winner, the fields, and what would have been counted twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spanledger.cli.app import run
from spanledger.ledger.client import StoreTarget
from spanledger.ledger.store import Ledger
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

START = int(datetime(2026, 9, 3, 12, tzinfo=UTC).timestamp()) * 10**9


def seen(span: int, *, parent: int = 0, trace: int = 1, **more: object) -> Observation:
    fields: dict[str, object] = {
        "org_id": "default",
        "trace_id": trace.to_bytes(16, "big"),
        "span_id": span.to_bytes(8, "big"),
        "parent_span_id": parent.to_bytes(8, "big") if parent else b"",
        "received_ns": START,
        "started_ns": START,
        "ended_ns": START + 10**9,
        "provider": "openai",
        "operation": "chat",
        "request_model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini",
        "service_name": "api",
    }
    return Observation(**(fields | more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain")
    ledger = Ledger.open(StoreTarget.embedded(path), PriceBook())
    ledger.ingest(
        [
            seen(
                1,
                dialect="framework",
                response_id="resp-1",
                team_id="search",
                usage=Usage(input_uncached=3000, output_text=200),
            ),
            seen(
                2,
                parent=1,
                dialect="sdk",
                scope_name="spanledger.instrumentation",
                response_id="resp-1",
                usage=Usage(input_uncached=1000, cache_read=2000, output_text=200),
            ),
            seen(3, trace=2, dialect="sdk", response_id="resp-2", usage=Usage(input_uncached=10, output_text=20)),
        ]
    )
    ledger.close()
    return path


def explain(data: Path, capsys: pytest.CaptureFixture[str], response_id: str) -> dict[str, object]:
    capsys.readouterr()
    sql = f"SELECT call_id FROM calls WHERE response_id = '{response_id}'"
    run(["query", sql, "--data", str(data), "--format", "json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert run(["explain", row["call_id"], "--data", str(data), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_two_witnesses_are_one_call_and_each_field_says_where_it_comes_from(
    data: Path, capsys: pytest.CaptureFixture[str]
):
    found = explain(data, capsys, "resp-1")
    assert [(w["dialect"], w["role"]) for w in found["witnesses"]] == [("sdk", "winner"), ("framework", "duplicate")]
    fields = {field["field"]: field for field in found["fields"]}
    assert fields["cache_read_tokens"]["said_by"] == ["sdk"]
    assert fields["team_id"]["said_by"] == ["framework"]
    assert fields["input_uncached_tokens"]["others_say"] == ["framework: 3000"]
    assert found["witnesses"][1]["would_be_cost_usd"] == "0.00057"


def test_a_single_witness_is_shown_too(data: Path, capsys: pytest.CaptureFixture[str]):
    found = explain(data, capsys, "resp-2")
    assert [(w["dialect"], w["reason"]) for w in found["witnesses"]] == [("sdk", "the only evidence")]


def test_the_table_says_what_would_have_been_counted_twice(data: Path, capsys: pytest.CaptureFixture[str]):
    call = explain(data, capsys, "resp-1")["call"]
    assert run(["explain", call["call_id"][:10], "--data", str(data)]) == 0
    assert "$0.00057 would have been counted twice" in capsys.readouterr().out


def test_an_unknown_call_is_one_line(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["explain", "ffff", "--data", str(data)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
