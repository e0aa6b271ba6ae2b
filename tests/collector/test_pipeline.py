"""The pipeline: everything that was acknowledged reaches the ledger, whatever fails on the way."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.collector.importing import JournalSink, import_files
from spanledger.collector.signals import Encoding, Signal
from spanledger.ledger.errors import PermanentStoreError, RetryableStoreError
from spanledger.semconv.observation import Observation


def send(collector: Any, body: bytes, signal: Signal = Signal.TRACES, encoding: Encoding = Encoding.PROTOBUF) -> None:
    collector.intake.accept("grpc", "acme", signal, encoding, body)


def numbers(collector: Any) -> list[int]:
    """The spans in the ledger, by the number that made their ids."""
    return sorted(int.from_bytes(span, "big") for _, _, span in collector.ledger.observations)


def parsed(body: bytes) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(body)


def test_what_was_sent_before_the_start_is_in_the_ledger_after_it(collector: Any, build: Any) -> None:
    """Org and time come from the journal, and the checkpoint moves past what is done."""
    for number in (1, 2, 3):
        send(collector, build.traces(build.span(number)))
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert numbers(collector) == [1, 2, 3]
    [first, *_] = collector.ledger.observations.values()
    assert first.org_id == "acme"
    assert first.received_ns > 1_700_000_000 * 10**9
    assert collector.journal.start == collector.journal.end
    assert collector.stats.snapshot()["observations"] == 3


def test_logs_and_json_go_the_same_way(collector: Any, build: Any) -> None:
    """Log records become observations; other log records are dropped and counted."""
    about_a_call = {"span_id": b"\x09" * 8, "attributes": build.attributes({"gen_ai.operation.name": "chat"})}
    send(collector, build.logs(about_a_call, {"body": {"string_value": "hello"}}), Signal.LOGS)
    operation = {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}
    span = {"traceId": "01" * 16, "spanId": "0000000000000005", "attributes": [operation]}
    as_json = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    send(collector, as_json, encoding=Encoding.JSON)
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert numbers(collector) == [5, 0x0909090909090909]
    assert collector.stats.snapshot()["dropped_records"] == {"logs": 1, "traces": 0}


def test_metrics_are_counted_and_go_nowhere(collector: Any, build: Any) -> None:
    """They are accepted so that senders need no second pipeline, and dropped."""
    send(collector, build.metrics(), Signal.METRICS)
    assert collector.journal.size_bytes == 0
    snapshot = collector.stats.snapshot()
    assert snapshot["requests"] == {"grpc/metrics": 1}
    assert snapshot["dropped_records"] == {"metrics": 2}


def test_a_store_that_is_down_loses_nothing(collector: Any, build: Any) -> None:
    """While the store is away requests are accepted and readiness is false; afterwards everything arrives."""
    down = threading.Event()
    down.set()
    collector.ledger.failure = lambda _: RetryableStoreError("the store is away") if down.is_set() else None
    collector.pipeline.start()
    for number in range(1, 21):
        send(collector, build.traces(build.span(number)))
    collector.ledger.wait_for_attempts(3)
    assert not collector.pipeline.ready
    assert collector.pipeline.store_trouble == "RetryableStoreError: the store is away"
    assert not collector.pipeline.wait_idle(0.05)
    assert collector.pipeline.snapshot()["ingest_lag_seconds"] > 0
    assert collector.pipeline.snapshot()["journal_bytes"] > 0
    down.clear()
    assert collector.pipeline.wait_idle(10)
    assert collector.pipeline.ready
    assert numbers(collector) == list(range(1, 21))
    assert collector.stats.snapshot()["store_retries"] >= 3
    assert not collector.dead_letters.exists()
    assert collector.pipeline.snapshot()["journal_bytes"] == 0


def test_an_unknown_failure_is_tried_again(collector: Any, build: Any) -> None:
    """A crash inside the store's client is nobody's data's fault: nothing is put aside."""
    errors = [RuntimeError("engine"), MemoryError(), OSError(28, "No space left on device")]
    collector.ledger.failure = lambda _: errors.pop() if errors else None
    send(collector, build.traces(build.span(1)))
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert numbers(collector) == [1]
    assert not collector.dead_letters.exists()


def test_a_poison_record_is_put_aside_and_the_rest_goes_on(collector: Any, build: Any) -> None:
    """The one record that the ledger refuses costs neither its request nor its batch anything; it alone is kept."""

    def refuse(observations: Sequence[Observation]) -> Exception | None:
        poisoned = any(o.request_model == "poison" for o in observations)
        return PermanentStoreError("cannot store 'poison'") if poisoned else None

    collector.ledger.failure = refuse
    poison = build.span(5, attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "poison"})
    bad_request = build.traces(build.span(4), poison, build.span(6))
    for body in (build.traces(build.span(1), build.span(2), build.span(3)), bad_request, build.traces(build.span(7))):
        send(collector, body)
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert numbers(collector) == [1, 2, 3, 4, 6, 7]
    [letter] = collector.dead_letters.glob("*.pb")
    assert parsed(letter.read_bytes()) == parsed(build.traces(poison))
    reason = letter.with_name(letter.name.removesuffix(".pb") + ".reason.txt").read_text()
    assert reason == (
        "org: acme\nreason: the ledger refuses records of it: PermanentStoreError: cannot store 'poison'\n"
    )
    assert collector.stats.snapshot()["dead_letters"] == 1
    assert collector.pipeline.ready
    # Mended, the letter is imported like any file.
    collector.ledger.failure = lambda _: None
    import_files([letter], JournalSink(collector.journal, "acme"))
    assert collector.pipeline.wait_idle(10)
    assert numbers(collector) == [1, 2, 3, 4, 5, 6, 7]


def test_a_lone_poison_record_does_not_block_for_ever(collector: Any, build: Any) -> None:
    """Alone it cannot be told from a store at fault, so it is tried a few times before it is put aside."""
    collector.ledger.failure = lambda observations: ValueError("no") if observations else None
    send(collector, build.traces(build.span(1)))
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert len(list(collector.dead_letters.glob("*.pb"))) == 1
    assert collector.ledger.attempts >= 3
    collector.ledger.failure = lambda _: None
    send(collector, build.traces(build.span(2)))
    assert collector.pipeline.wait_idle(10)
    assert numbers(collector) == [2]


@pytest.mark.parametrize("refused", [1, 9, 10, 30, 60, 130])
def test_a_store_that_recovers_in_the_middle_costs_no_record(collector: Any, build: Any, refused: int) -> None:
    """Records that were refused before the first one was taken are tried again, not put aside."""
    left = itertools.count(refused, -1)
    collector.ledger.failure = lambda _: PermanentStoreError("access denied") if next(left) > 0 else None
    send(collector, build.traces(*(build.span(number) for number in range(1, 201))))
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert len(numbers(collector)) == 200
    assert not collector.dead_letters.exists()


def test_a_store_that_refuses_everything_is_at_fault_itself(collector: Any, build: Any) -> None:
    """A wrong password or a missing table must not send a whole journal to the dead letters."""
    refusing = threading.Event()
    refusing.set()
    collector.ledger.failure = lambda _: PermanentStoreError("access denied") if refusing.is_set() else None
    send(collector, build.traces(*(build.span(number) for number in range(1, 201))))
    collector.pipeline.start()
    collector.ledger.wait_for_attempts(500)
    assert not collector.pipeline.ready
    assert not collector.dead_letters.exists()
    refusing.clear()
    assert collector.pipeline.wait_idle(10)
    assert len(numbers(collector)) == 200


def test_a_dialect_that_stumbles_costs_one_span(collector: Any, build: Any) -> None:
    """The span is kept with the reason; the other spans go on."""
    send(collector, build.traces(build.span(1), build.span(2, name="stumble"), build.span(3)))
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert numbers(collector) == [1, 3]
    [reason] = collector.dead_letters.glob("*.reason.txt")
    assert '1 x KeyError: "a dialect\'s bug"' in reason.read_text()
    assert collector.stats.snapshot()["decode_errors"] == {"dialect": 1}
    [letter] = collector.dead_letters.glob("*.pb")
    assert parsed(letter.read_bytes()) == parsed(build.traces(build.span(2, name="stumble")))


def test_full_dead_letters_hold_the_pipeline_and_lose_nothing(collector: Any, build: Any) -> None:
    """What may neither be stored nor kept aside stays in the journal until somebody makes room."""
    collector.dead_letters.mkdir()
    hog = collector.dead_letters / "old.pb"
    hog.write_bytes(bytes(1 << 20))
    collector.pipeline._dead_letters._limit_bytes = 1 << 20
    send(collector, build.traces(build.span(1), build.span(2, name="stumble")))
    collector.pipeline.start()
    assert not collector.pipeline.wait_idle(0.2)
    assert not collector.pipeline.ready
    assert "the dead-letter folder" in collector.pipeline.store_trouble
    hog.unlink()
    assert collector.pipeline.wait_idle(10)
    assert collector.pipeline.ready
    assert numbers(collector) == [1]


def test_a_frame_that_does_not_decode_is_put_aside(collector: Any, build: Any) -> None:
    """It cannot come through the receivers, but a journal may be older or newer than the decoder."""
    collector.journal.append("acme", Signal.TRACES, Encoding.PROTOBUF, b"\xff\xff")
    send(collector, build.traces(build.span(1)))
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert numbers(collector) == [1]
    assert [path.read_bytes() for path in collector.dead_letters.glob("*.pb")] == [b"\xff\xff"]


def test_damaged_journal_bytes_are_kept_aside(collector: Any, build: Any) -> None:
    """Bytes that fail their checksum are saved for a human, counted, and stepped over."""
    body = build.traces(build.span(1, name="damage me"))
    send(collector, body)
    send(collector, build.traces(build.span(2)))
    [segment] = (collector.directory / "journal").glob("*.journal")
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b"damage me", b"DAMAGE ME"))
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert numbers(collector) == [2]
    [kept] = collector.dead_letters.glob("gap-*.bin")
    assert b"DAMAGE ME" in kept.read_bytes()
    assert collector.stats.snapshot()["corrupt_bytes"] == len(kept.read_bytes())


def test_a_request_larger_than_a_batch_is_split(collector: Any, build: Any) -> None:
    """One huge request is handed over in bounded parts and acknowledged as a whole."""
    collector.pipeline._settings = type(collector.pipeline._settings)(batch_records=10, batch_age=0.01)
    send(collector, build.traces(*(build.span(number) for number in range(1, 96))))
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert collector.ledger.batches == [10] * 9 + [5]
    assert len(numbers(collector)) == 95


def test_stopping_drains_within_its_deadline(collector: Any, build: Any) -> None:
    """What is in the journal is worked off before the pipeline ends."""
    collector.pipeline.start()
    for number in range(1, 11):
        send(collector, build.traces(build.span(number)))
    assert collector.pipeline.stop(drain_seconds=10)
    assert len(numbers(collector)) == 10
    assert not collector.pipeline.ready


def test_stopping_during_an_outage_leaves_the_rest_in_the_journal(collector: Any, build: Any) -> None:
    """The deadline is kept, and the next start finds what was not done."""
    collector.ledger.failure = lambda _: RetryableStoreError("away")
    collector.pipeline.start()
    send(collector, build.traces(build.span(1)))
    collector.ledger.wait_for_attempts(1)
    assert not collector.pipeline.stop(drain_seconds=0.05)
    collector.journal.close()
    again = type(collector)(collector.directory, collector.journal._settings)
    again.pipeline.start()
    assert again.pipeline.wait_idle(10)
    assert numbers(again) == [1]
    again.close()


# --- places in traces


def test_places_are_kept_where_model_calls_are(collector: Any, build: Any) -> None:
    """A span in between is remembered when its trace holds a call, also when it comes first; other traffic is not."""
    trace, other = b"\x01" * 16, b"\x02" * 16
    between = build.span(7, trace_id=trace, attributes={"http.route": "/"}, parent_span_id=b"\x08" * 8)
    elsewhere = build.span(8, trace_id=other, attributes={"http.route": "/"})
    send(collector, build.traces(between, elsewhere))
    collector.pipeline.start()
    assert collector.pipeline.wait_idle(10)
    assert collector.ledger.links == {}
    send(collector, build.traces(build.span(9, trace_id=trace)))
    late = build.span(10, trace_id=trace, attributes={})
    send(collector, build.traces(late))
    assert collector.pipeline.wait_idle(10)
    links = collector.ledger.links
    assert sorted(int.from_bytes(span, "big") for _, _, span in links) == [7, 10]
    assert links["acme", trace, (7).to_bytes(8, "big")].parent_span_id == b"\x08" * 8
    assert collector.stats.snapshot()["dropped_records"]["traces"] == 3
