"""Replay changes nothing: the same evidence again, in any order, through any door, alive or after a crash."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
START_NS = 1_795_200_000 * 10**9
MODELS = (("openai", "gpt-4o"), ("openai", "gpt-4.1-mini"), ("anthropic", "claude-haiku-4-5"))


def attribute(key: str, value: str | int) -> dict[str, Any]:
    return {"key": key, "value": {"int_value" if isinstance(value, int) else "string_value": value}}


def requests(count: int, spans: int, seed: int) -> list[bytes]:
    """Export requests full of distinct billable calls."""
    rng = random.Random(seed)
    bodies = []
    for number in range(count):
        made = []
        for _ in range(spans):
            provider, model = rng.choice(MODELS)
            start = START_NS + number * 10**9 + rng.randrange(10**9)
            values: dict[str, str | int] = {
                "gen_ai.provider.name": provider,
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": model,
                "gen_ai.response.model": model,
                "gen_ai.response.id": f"chatcmpl-{rng.getrandbits(128):032x}",
                "gen_ai.usage.input_tokens": rng.randrange(100, 5000),
                "gen_ai.usage.output_tokens": rng.randrange(1, 1000),
            }
            made.append(
                {
                    "trace_id": rng.randbytes(16),
                    "span_id": rng.randbytes(8),
                    "name": f"chat {model}",
                    "kind": 3,
                    "start_time_unix_nano": start,
                    "end_time_unix_nano": start + rng.randrange(10**8, 10**10),
                    "attributes": [attribute(key, value) for key, value in values.items()],
                }
            )
        resource = {"attributes": [attribute("service.name", "replay")]}
        scopes = [{"scope": {"name": "test"}, "spans": made}]
        body = ExportTraceServiceRequest(resource_spans=[{"resource": resource, "scope_spans": scopes}])
        bodies.append(body.SerializeToString())
    return bodies


def send_all(url: str, bodies: Sequence[bytes], acknowledged: list[bytes] | None = None) -> list[bytes]:
    """Send over gRPC; the bodies that were acknowledged (also as they come in, where a list is given)."""
    acknowledged = [] if acknowledged is None else acknowledged
    with grpc.insecure_channel(url.removeprefix("http://")) as channel:
        export = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)

        def send(body: bytes) -> None:
            try:
                export(body, timeout=30)
            except grpc.RpcError:
                return
            acknowledged.append(body)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(send, bodies))
    return acknowledged


def counters(served: Any) -> dict[str, float]:
    lines = served.get("/metrics").splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line.startswith("llm_"))
        if "_total" in name
    }


def rows(served: Any) -> list[dict[str, Any]]:
    return served.sql("SELECT * EXCEPT settled_at FROM calls ORDER BY call_id")


def test_the_same_requests_three_times_in_any_order(serve: Callable[..., Any]) -> None:
    served = serve()
    bodies = requests(12, 20, seed=1)
    assert len(send_all(served.url("otlp-grpc"), bodies)) == 12
    served.settle()
    first, counted = rows(served), counters(served)
    assert len(first) == 240
    assert sum(value for name, value in counted.items() if name.startswith("llm_requests_total")) == 240
    for seed in (2, 3):
        again = list(bodies)
        random.Random(seed).shuffle(again)
        send_all(served.url("otlp-grpc"), again)
    halves = [bodies[0][:], ExportTraceServiceRequest.FromString(bodies[1]).SerializeToString()]
    for body in halves:
        request = urllib.request.Request(
            served.url("otlp-http") + "/v1/traces", body, {"content-type": "application/x-protobuf"}
        )
        urllib.request.urlopen(request, timeout=30).close()
    served.settle()
    assert rows(served) == first
    assert counters(served) == counted


@pytest.mark.parametrize("running", [True, False], ids=["through a running server", "into the store itself"])
def test_importing_a_file_twice(
    running: bool, serve: Callable[..., Any], spanledger: Callable[..., Any], tmp_path: Path
) -> None:
    files = []
    for number, body in enumerate(requests(3, 30, seed=4)):
        files.append(tmp_path / f"{number}.otlp.pb")
        files[-1].write_bytes(body)
    data = tmp_path / "data"
    served = serve(data=data) if running else None

    def load() -> tuple[list[Any], Any]:
        loaded = spanledger("import", "--data", str(data), "--org", "acme", "--json", *map(str, files))
        assert loaded.returncode == 0, loaded.stderr
        assert json.loads(loaded.stdout)["spans"] == 90
        sql = "SELECT * EXCEPT settled_at FROM calls ORDER BY call_id"
        seen = spanledger("query", "--data", str(data), "--format", "json", sql)
        counted = spanledger(
            "query", "--data", str(data), "--format", "json", "SELECT * FROM usage_by_day ORDER BY ALL"
        )
        return json.loads(seen.stdout), (json.loads(counted.stdout), counters(served) if served else None)

    first = load()
    assert len(first[0]) == 90
    assert {row["org_id"] for row in first[0]} == {"acme"}
    assert load() == first


def test_kill_in_the_middle_of_a_load(serve: Callable[..., Any], tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    """Nothing acknowledged is missing, nothing is there twice, counters did not go down."""
    data = tmp_path / "data"
    served = serve(data=data)
    bodies = requests(300, 50, seed=5)
    assert len(send_all(served.url("otlp-grpc"), bodies[:10])) == 10
    served.settle()
    before = counters(served)
    acknowledged: list[bytes] = []
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send_all, served.url("otlp-grpc"), bodies, acknowledged)
        wait_for(lambda: len(acknowledged) > 100, "the load to arrive")
        served.kill()
        sending.result(60)
    assert len(acknowledged) < len(bodies), "the kill came too late to mean anything"

    again = serve(data=data)
    again.settle()
    promised = {
        span.span_id.hex()
        for body in acknowledged
        for span in ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    }
    there = [row["span_id"] for row in again.sql("SELECT span_id FROM calls")]
    assert promised <= set(there)
    assert len(there) == len(set(there))
    after = counters(again)
    assert {name: value for name, value in before.items() if after.get(name, 0) < value} == {}

    assert len(send_all(again.url("otlp-grpc"), bodies)) == len(bodies)
    again.settle()
    assert again.sql("SELECT count() AS n, uniqExact(span_id) AS spans FROM calls") == [{"n": 15000, "spans": 15000}]
    total = sum(value for name, value in counters(again).items() if name.startswith("llm_requests_total"))
    assert total == 15000


def test_graceful_stop_works_the_journal_off(serve: Callable[..., Any], spanledger: Callable[..., Any]) -> None:
    served = serve()
    acknowledged = send_all(served.url("otlp-grpc"), requests(40, 50, seed=6))
    assert served.stop() == 0
    assert not (served.data / "server.json").exists()
    counted = spanledger("query", "--data", str(served.data), "--format", "csv", "SELECT count() FROM calls")
    assert counted.stdout.splitlines()[1] == str(50 * len(acknowledged)) == "2000"
