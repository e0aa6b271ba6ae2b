"""`spanledger reprice` beside a running server: the server does the work, the output is the same."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DAY = "2026-09-03"
START = int(datetime(2026, 9, 3, 12, tzinfo=UTC).timestamp()) * 10**9


def body(model: str) -> bytes:
    texts = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": f"chatcmpl-{model}",
    }
    attributes: list[Any] = [{"key": key, "value": {"string_value": value}} for key, value in texts.items()]
    for key, value in (("gen_ai.usage.input_tokens", 1000), ("gen_ai.usage.output_tokens", 100)):
        attributes.append({"key": key, "value": {"int_value": value}})
    span = {
        "trace_id": model.ljust(16).encode(),
        "span_id": model[:8].ljust(8).encode(),
        "name": "chat",
        "start_time_unix_nano": START,
        "end_time_unix_nano": START + 10**9,
        "attributes": attributes,
    }
    group: Any = {"scope_spans": [{"scope": {"name": "test"}, "spans": [span]}]}
    return ExportTraceServiceRequest(resource_spans=[group]).SerializeToString()


def test_a_running_server_prices_anew(
    serve: Callable[..., Any], spanledger: Callable[..., Any], tmp_path: Path
) -> None:
    served = serve()
    for model in ("gpt-4o-mini", "in-house"):
        request = urllib.request.Request(
            served.url("otlp-http") + "/v1/traces", body(model), {"content-type": "application/x-protobuf"}
        )
        urllib.request.urlopen(request, timeout=30).close()
    served.settle()
    data = ["--data", str(served.data)]
    nothing = spanledger("reprice", "--since", DAY, "--until", DAY, *data)
    assert nothing.stdout.startswith("Nothing changes"), nothing.stderr
    file = tmp_path / "prices.toml"
    file.write_text('[[rates]]\nprovider = "openai"\nmodel = "in-house"\nper_million = { input = 1, output = 2 }\n')
    reprice = ["reprice", "--since", DAY, "--until", DAY, "--prices", "prices.toml", *data, "--json"]
    changed = [
        {
            "day": DAY,
            "provider": "openai",
            "model": "in-house",
            "calls": 1,
            "old_usd": None,
            "new_usd": "0.0012",
            "difference_usd": "0.0012",
        }
    ]
    total = "SELECT sum(cost_usd) AS cost FROM usage_by_day WHERE model = 'in-house'"
    dry = spanledger(*reprice, "--dry-run")
    assert json.loads(dry.stdout) == changed, dry.stderr
    assert float(served.sql(total)[0]["cost"]) == 0
    done = spanledger(*reprice)
    assert json.loads(done.stdout) == changed, done.stderr
    assert float(served.sql(total)[0]["cost"]) == 0.0012
    assert 'llm_cost_usd_total{model="in-house",org_id="default",provider="openai"} 0.0012' in served.get("/metrics")
    assert json.loads(spanledger(*reprice).stdout) == []
    file.write_text('[[rates]]\nprovider = "openai"\n')
    wrong = spanledger(*reprice)
    assert wrong.returncode == 2
    assert "prices.toml" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_the_control_listener_prices_for_its_user_alone(serve: Callable[..., Any]) -> None:
    served = serve("--http=off", "--sql=off")
    status, answer = served.running.post("/reprice", {"since": "yesterday"}, b"")
    assert (status, answer) == (400, b"Invalid isoformat string: 'yesterday'")
    url = served.running.control_url + f"/reprice?since={DAY}&until={DAY}"
    request = urllib.request.Request(url, b"", {"authorization": "Bearer guess"}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 403
    refused.value.close()


def test_a_server_shares_its_commitments_out(
    serve: Callable[..., Any], spanledger: Callable[..., Any], tmp_path: Path
) -> None:
    """Two calls under a commitment of the server's own overrides file, in a month that is over."""
    file = tmp_path / "prices.toml"
    file.write_text('[[commitments]]\nname = "PTU"\nprovider = "openai"\nmodel = "ptu-*"\nmonthly = 300\n')
    served = serve("--http=off", "--prices", str(file))
    for model in ("ptu-one", "ptu-two", "gpt-4o-mini"):
        request = urllib.request.Request(
            served.url("otlp-http") + "/v1/traces", body(model), {"content-type": "application/x-protobuf"}
        )
        urllib.request.urlopen(request, timeout=30).close()
    served.settle()
    shown = spanledger("reprice", "--since", DAY, "--until", DAY, "--data", str(served.data), "--json")
    changed = {each["model"]: (each["old_usd"], each["new_usd"]) for each in json.loads(shown.stdout)}
    assert changed == {"ptu-one": ("0", "150"), "ptu-two": ("0", "150")}, shown.stderr
    ((call,),) = [served.sql("SELECT call_id FROM calls WHERE request_model = 'ptu-one'")]
    told = spanledger("prices", "explain", call["call_id"], "--data", str(served.data)).stdout
    assert "share of its day's part of the commitment, by tokens: $150\n" in told
    assert "total = $150 (list)" in told
