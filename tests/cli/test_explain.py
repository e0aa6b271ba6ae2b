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
            seen(4, trace=3, dialect="sdk", request_id="req-3", usage=Usage(input_uncached=11, output_text=20)),
            seen(5, trace=3, dialect="sdk", request_id="req-4", usage=Usage(input_uncached=12, output_text=20)),
            # An agent's log records stand in no trace.
            *(
                seen(
                    0,
                    trace=0,
                    signal="log",
                    dialect="agent",
                    request_id=f"req-log-{number}",
                    started_ns=START + number * 10**9,
                    ended_ns=START + number * 10**9,
                    usage=Usage(input_uncached=100 + number, output_text=1),
                )
                for number in (1, 2)
            ),
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


@pytest.mark.parametrize("asked", ["resp-2", "0" * 31 + "2", "0" * 15 + "3", "req-3", "0" * 15 + "4", "req-log-1"])
def test_any_id_of_a_call_finds_it(asked: str, data: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert run(["explain", asked, "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["witnesses"]) == 1
    expected = {"req-3": 11, "0" * 15 + "4": 11, "req-log-1": 101}
    assert found["call"]["input_tokens"] == expected.get(asked, 10)


def test_a_trace_of_several_calls_names_them(data: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert run(["explain", "0" * 31 + "3", "--data", str(data)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "may be any of these calls" in said


def test_a_log_record_outside_any_trace_is_a_witness_of_its_own_call_alone(
    data: Path, capsys: pytest.CaptureFixture[str]
):
    capsys.readouterr()
    sql = "SELECT call_id FROM calls WHERE dialect = 'agent' ORDER BY input_tokens"
    run(["query", sql, "--data", str(data), "--format", "json"])
    first, second = (row["call_id"] for row in json.loads(capsys.readouterr().out))
    for call_id, tokens in ((first, 101), (second, 102)):
        assert run(["explain", call_id, "--data", str(data), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [w["input_tokens"] for w in found["witnesses"]] == [tokens]


@pytest.mark.parametrize("asked", ["", "%", "'; DROP TABLE calls; --", "x" * 10_000, "\n", "é"])
def test_what_is_no_id_is_one_line(asked: str, data: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert run(["explain", asked, "--data", str(data)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_call_is_one_line(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["explain", "ffff", "--data", str(data)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
