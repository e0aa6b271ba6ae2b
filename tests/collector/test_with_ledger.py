"""Receiver, journal, pipeline, dialects and the real ledger together, on data that should never have been sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from spanledger.collector.auth import Authenticator
from spanledger.collector.deadletter import DeadLetters
from spanledger.collector.grpc_receiver import METHODS, GrpcReceiver, GrpcSettings
from spanledger.collector.importing import JournalSink, import_files
from spanledger.collector.intake import Intake
from spanledger.collector.journal import Journal, JournalSettings
from spanledger.collector.pipeline import Pipeline, PipelineSettings
from spanledger.collector.stats import Stats
from spanledger.ledger.client import StoreTarget
from spanledger.ledger.store import Ledger
from spanledger.semconv.dialects import Dialects
from spanledger.semconv.prices import PriceBook

SECOND = 10**9
NOW_NS = 1_795_200_000 * SECOND


class Server:
    """Everything between a gRPC port and the `calls` view."""

    def __init__(self, folder: Path) -> None:
        self.stats = Stats()
        self.dead_letters = folder / "dead"
        self.journal = Journal.open(folder / "journal", JournalSettings(reserve_bytes=0), stats=self.stats)
        self.ledger = Ledger.open(StoreTarget.embedded(folder / "store"), prices=PriceBook())
        self.pipeline = Pipeline(
            self.journal,
            Dialects(),
            self.ledger,
            DeadLetters(self.dead_letters),
            stats=self.stats,
            settings=PipelineSettings(batch_age=0.01),
        )
        self.pipeline.start()
        self._receiver = GrpcReceiver(
            Intake(self.journal, self.stats), Authenticator(None, required=False), GrpcSettings(port=0)
        )
        self._receiver.start()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._receiver.port}")

    def send(self, body: bytes) -> bytes:
        return self._channel.unary_unary(next(iter(METHODS)))(body, timeout=30)

    def calls(self, columns: str) -> list[tuple[Any, ...]]:
        """Rows of this test's calls, in order of their response id."""
        assert self.pipeline.wait_idle(60), self.pipeline.store_trouble
        assert not self.dead_letters.exists()
        rows = self.ledger.query(f"SELECT {columns} FROM spanledger.calls ORDER BY response_id").result_rows
        return [tuple(row) for row in rows]

    def close(self) -> None:
        self._channel.close()
        self._receiver.stop(0)
        self.pipeline.stop(5)
        self.ledger.close()
        self.journal.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


def call(number: int, **more: Any) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o",
        "gen_ai.response.id": f"chatcmpl-{number}",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        **more,
    }


def test_bad_data_is_booked_as_far_as_it_can_be(server: Server, build: Any) -> None:
    """Clocks from 1970 to 2554, absurd counts, odd types and broken text: each call is there, none stops the others."""
    clocks = [0, SECOND, 4_102_444_800 * SECOND, 2**63, 2**64 - 1]
    spans = [
        build.span(1, attributes=call(1)),
        *(
            build.span(10 + n, start_time_unix_nano=start, end_time_unix_nano=start, attributes=call(10 + n))
            for n, start in enumerate(clocks)
        ),
        build.span(20, start_time_unix_nano=NOW_NS, end_time_unix_nano=5, attributes=call(20)),
        build.span(30, attributes=call(30, **{"gen_ai.usage.input_tokens": -5})),
        build.span(31, attributes=call(31, **{"gen_ai.usage.input_tokens": 2**62})),
        build.span(32, attributes=call(32, **{"gen_ai.usage.input_tokens": "many"})),
        build.span(33, attributes=call(33, **{"gen_ai.usage.input_tokens": [1, 2]})),
        build.span(34, attributes=call(34, **{"gen_ai.request.model": {"a": b"\xff"}})),
        build.span(35, attributes=call(35, **{"spanledger.team_id": "x" * 100_000})),
        build.span(36, attributes=call(36, **{"user.id": "a\x00b\n\t\u202e"})),
        build.span(37, attributes=call(37, **{"user.id": "Zo!"})),
    ]
    body = build.traces(*spans, resource={"service.name": "sh\x00p"}).replace(b"Zo!", b"Z\xff!")
    assert server.send(body) == b""
    rows = server.calls("response_id, input_tokens, user_id, toYear(started_at)")
    assert [row[0] for row in rows] == sorted(f"chatcmpl-{n}" for n in (1, *range(10, 15), 20, *range(30, 38)))
    by_id = {row[0]: row[1:] for row in rows}
    assert by_id["chatcmpl-1"][0] == 100
    assert by_id["chatcmpl-37"][1] == "Z\ufffd!"
    assert by_id["chatcmpl-30"][0] is None
    assert all(2015 <= year <= 2100 for _, _, year in by_id.values())


def test_the_same_data_by_every_way_is_booked_once(server: Server, build: Any, tmp_path: Path) -> None:
    """gRPC, gRPC again, a file in protobuf and a file in JSON: one row per call."""
    body = build.traces(*(build.span(n, attributes=call(n)) for n in range(1, 6)))
    server.send(body)
    server.send(body)
    binary, lines = tmp_path / "a.pb", tmp_path / "b.jsonl"
    binary.write_bytes(body)
    spans = [
        {
            "traceId": f"{n:032x}",
            "spanId": f"{n:016x}",
            "name": "chat gpt-4o",
            "kind": 3,
            "startTimeUnixNano": str(NOW_NS),
            "endTimeUnixNano": str(NOW_NS + SECOND),
            "attributes": [
                {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
                for key, value in call(n).items()
            ],
        }
        for n in range(1, 6)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    scope = {"name": "test", "version": "1"}
    lines.write_text(
        json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]})
    )
    import_files([binary, lines], JournalSink(server.journal, "default"))
    rows = server.calls("response_id, input_tokens, output_tokens, witness_count, toString(cost_usd)")
    assert [row[:4] for row in rows] == [(f"chatcmpl-{n}", 100, 10, 1) for n in range(1, 6)]
    assert len({row[4] for row in rows}) == 1
    assert server.stats.snapshot()["repeated_observations"] == 15


def test_places_between_two_witnesses_join_them(server: Server, build: Any) -> None:
    """A framework's span and the SDK's below it, with a span in between that is about nothing: one call, not two."""
    trace = b"\x07" * 16
    without_id = {key: value for key, value in call(1).items() if key != "gen_ai.response.id"}
    outer = build.span(1, trace_id=trace, attributes=without_id, end_time_unix_nano=NOW_NS + 3 * SECOND)
    between = build.span(2, trace_id=trace, parent_span_id=(1).to_bytes(8, "big"), attributes={"http.method": "POST"})
    inner = build.span(3, trace_id=trace, parent_span_id=(2).to_bytes(8, "big"), attributes=call(1))
    for span in (inner, between, outer):  # in the order in which they end
        server.send(build.traces(span))
        assert server.pipeline.wait_idle(60)
    assert server.calls("response_id, witness_count") == [("chatcmpl-1", 2)]
