"""The fast decoder: equal to a readable one that uses the stock classes, and never at a loss."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from spanledger.collector.decode import MEMO_ENTRY_BYTES, NO_SPAN_ID, NO_TRACE_ID, UNREADABLE, Decoder, check_protobuf
from spanledger.collector.errors import MalformedError
from spanledger.collector.signals import Signal
from spanledger.semconv.records import LogEntry, Source, SpanEvent, SpanRecord

# --- the oracle: what a reader of the specification would write with the stock classes


def oracle_value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [oracle_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return {item.key: oracle_value(item.value) for item in value.kvlist_value.values}
        case None:
            return None
        case kind:
            return getattr(value, kind)


def oracle_attributes(pairs: Any) -> dict[str, Any]:
    decoded = {pair.key: oracle_value(pair.value) for pair in pairs if pair.value.WhichOneof("value")}
    decoded.pop("", None)
    return decoded


def oracle_id(raw: bytes, length: int) -> bytes:
    return raw if len(raw) == length and any(raw) else b""


def oracle_spans(body: bytes) -> list[SpanRecord]:
    found = []
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in group.scope_spans:
            source = Source(
                oracle_attributes(group.resource.attributes),
                scope.scope.name,
                scope.scope.version,
                oracle_attributes(scope.scope.attributes),
            )
            found += [
                SpanRecord(
                    trace_id=span.trace_id,
                    span_id=span.span_id,
                    parent_span_id=oracle_id(span.parent_span_id, 8),
                    name=span.name,
                    kind=span.kind,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    status_code=span.status.code,
                    status_message=span.status.message,
                    attributes=oracle_attributes(span.attributes),
                    events=[
                        SpanEvent(event.name, event.time_unix_nano, oracle_attributes(event.attributes))
                        for event in span.events
                    ],
                    source=source,
                )
                for span in scope.spans
                if oracle_id(span.trace_id, 16) and oracle_id(span.span_id, 8)
            ]
    return found


def oracle_logs(body: bytes) -> list[LogEntry]:
    return [
        LogEntry(
            trace_id=oracle_id(record.trace_id, 16),
            span_id=oracle_id(record.span_id, 8),
            event_name=record.event_name,
            time_ns=record.time_unix_nano or record.observed_time_unix_nano,
            severity=record.severity_number,
            body=oracle_value(record.body),
            attributes=oracle_attributes(record.attributes),
            source=Source(
                oracle_attributes(group.resource.attributes),
                scope.scope.name,
                scope.scope.version,
                oracle_attributes(scope.scope.attributes),
            ),
        )
        for group in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in group.scope_logs
        for record in scope.log_records
    ]


def comparable(record: SpanRecord | LogEntry) -> tuple[Any, ...]:
    values = [getattr(record, name) for name in record.__slots__]
    return tuple(list(value) if isinstance(value, tuple) else value for value in values)


# --- generated requests

texts = st.text(st.characters(codec="utf-8"), max_size=12)
uint64 = st.integers(0, 2**64 - 1)
any_values = st.recursive(
    st.one_of(
        st.just({}),
        st.fixed_dictionaries({"string_value": texts}),
        st.fixed_dictionaries({"bool_value": st.booleans()}),
        st.fixed_dictionaries({"int_value": st.integers(-(2**63), 2**63 - 1)}),
        st.fixed_dictionaries({"double_value": st.floats(allow_nan=False)}),
        st.fixed_dictionaries({"bytes_value": st.binary(max_size=8)}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"array_value": st.fixed_dictionaries({"values": st.lists(inner, max_size=3)})}),
        st.fixed_dictionaries(
            {
                "kvlist_value": st.fixed_dictionaries(
                    {"values": st.lists(st.fixed_dictionaries({"key": texts, "value": inner}), max_size=3)}
                )
            }
        ),
    ),
    max_leaves=6,
)
pairs = st.lists(st.fixed_dictionaries({"key": texts, "value": any_values}), max_size=5)
scopes = st.fixed_dictionaries({"name": texts, "version": texts, "attributes": pairs})
resources = st.fixed_dictionaries({"attributes": pairs})
ids = st.sampled_from([b"", bytes(8), bytes(16), b"\x01" * 8, b"\x02" * 16, b"\x03" * 5])
spans = st.fixed_dictionaries(
    {
        "trace_id": ids,
        "span_id": ids,
        "parent_span_id": ids,
        "trace_state": texts,
        "name": texts,
        "kind": st.integers(0, 5),
        "start_time_unix_nano": uint64,
        "end_time_unix_nano": uint64,
        "attributes": pairs,
        "events": st.lists(
            st.fixed_dictionaries({"name": texts, "time_unix_nano": uint64, "attributes": pairs}), max_size=2
        ),
        "status": st.fixed_dictionaries({"code": st.integers(0, 2), "message": texts}),
        "links": st.lists(st.fixed_dictionaries({"trace_id": ids}), max_size=1),
    }
)
log_records = st.fixed_dictionaries(
    {
        "trace_id": ids,
        "span_id": ids,
        "time_unix_nano": st.sampled_from([0, 5]),
        "observed_time_unix_nano": uint64,
        "severity_number": st.integers(0, 24),
        "event_name": texts,
        "body": any_values,
        "attributes": pairs,
    }
)


def groups(records: st.SearchStrategy[Any], scopes_name: str, records_name: str) -> st.SearchStrategy[Any]:
    scope = st.fixed_dictionaries({"scope": scopes, records_name: st.lists(records, max_size=3)})
    return st.lists(
        st.fixed_dictionaries({"resource": resources, scopes_name: st.lists(scope, max_size=2)}), max_size=2
    )


@settings(max_examples=60, deadline=None)
@given(groups(spans, "scope_spans", "spans"))
def test_spans_equal_the_stock_decoding(resource_spans: Any) -> None:
    """Whatever a sender can express, the fast decoder and the stock classes read the same."""
    body = ExportTraceServiceRequest(resource_spans=resource_spans).SerializeToString()
    decoder = Decoder(memo_entries=4)  # so small that it overflows all the time
    expected = [comparable(record) for record in oracle_spans(body)]
    assert [comparable(record) for record in decoder.spans(body)] == expected
    assert [comparable(record) for record in decoder.spans(body)] == expected  # now out of the memo
    tally = decoder.take_tally()
    assert tally.bad_attributes == 0
    verdict = check_protobuf(Signal.TRACES, body)
    assert verdict.accepted == len(expected)
    assert verdict.refused.total() * 2 == tally.refused.total()


@settings(max_examples=60, deadline=None)
@given(groups(log_records, "scope_logs", "log_records"))
def test_logs_equal_the_stock_decoding(resource_logs: Any) -> None:
    """Log records too; without a time of their own they carry the time of observation."""
    body = ExportLogsServiceRequest(resource_logs=resource_logs).SerializeToString()
    expected = [comparable(record) for record in oracle_logs(body)]
    assert [comparable(record) for record in Decoder().logs(body)] == expected
    assert check_protobuf(Signal.LOGS, body).accepted == len(expected)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(Signal))
def test_random_bytes_are_refused_or_read_but_never_crash(body: bytes, signal: Signal) -> None:
    """Check and decoder agree about garbage: both refuse it, or both find the same number of records."""
    decoder = Decoder()
    try:
        verdict = check_protobuf(signal, body)
    except MalformedError:
        if signal is not Signal.METRICS:
            with pytest.raises(MalformedError):
                list(decoder.spans(body) if signal is Signal.TRACES else decoder.logs(body))
        return
    if signal is not Signal.METRICS:
        records = list(decoder.spans(body) if signal is Signal.TRACES else decoder.logs(body))
        assert len(records) == verdict.accepted
        assert decoder.take_tally().refused == verdict.refused


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_requests_never_crash(build: Any, data: st.DataObject) -> None:
    """A good request with some bytes changed or cut: check and decoder still agree."""
    span = build.span(attributes={"gen_ai.usage.input_tokens": 7, "tags": ["a", "b"], "nested": {"x": 1.5}})
    body = bytearray(build.traces(span, build.span(2)))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(body[: data.draw(st.integers(len(body) // 2, len(body)))])
    try:
        verdict = check_protobuf(Signal.TRACES, damaged)
    except MalformedError:
        return
    decoder = Decoder()
    assert len(list(decoder.spans(damaged))) == verdict.accepted
    assert decoder.take_tally().refused == verdict.refused


# --- single facts


def only_span(body: bytes, decoder: Decoder | None = None) -> SpanRecord:
    [span] = (decoder or Decoder()).spans(body)
    return span


def test_text_that_is_not_utf8_costs_only_its_bad_bytes(build: Any) -> None:
    """Proto3 would refuse the whole request; here each bad byte becomes U+FFFD and the tokens are kept."""
    body = build.traces(build.span(attributes={"user.id": "Zoe!", "gen_ai.usage.input_tokens": 7}, name="chat!"))
    body = body.replace(b"Zoe!", b"Zo\xeb!").replace(b"chat!", b"ch\xfft!")
    span = only_span(body)
    assert span.attributes == {"user.id": "Zo\ufffd!", "gen_ai.usage.input_tokens": 7}
    assert span.name == "ch\ufffdt!"
    assert check_protobuf(Signal.TRACES, body).accepted == 1


def test_a_span_that_does_not_parse_leaves_its_neighbours_alone(build: Any) -> None:
    """One broken span between two good ones is refused with its reason; the others are read."""
    body = build.traces(build.span(1), build.span(2, name="broken"), build.span(3))
    # The name's tag (field 5, bytes) becomes an end-group tag, which nothing has opened.
    broken = body.replace(b"\x2a\x06broken", b"\x2c\x06broken")
    assert broken != body
    verdict = check_protobuf(Signal.TRACES, broken)
    assert (verdict.accepted, dict(verdict.refused)) == (2, {UNREADABLE: 1})
    assert verdict.message == f"1 x {UNREADABLE}"
    decoder = Decoder()
    assert [span.span_id[-1] for span in decoder.spans(broken)] == [1, 3]
    assert dict(decoder.take_tally().refused) == {UNREADABLE: 1}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b""}, NO_TRACE_ID),
        ({"trace_id": bytes(16)}, NO_TRACE_ID),
        ({"trace_id": b"short"}, NO_TRACE_ID),
        ({"trace_id": b"x" * 17}, NO_TRACE_ID),
        ({"span_id": b""}, NO_SPAN_ID),
        ({"span_id": bytes(8)}, NO_SPAN_ID),
        ({"trace_id": b"", "span_id": b""}, NO_TRACE_ID),
    ],
)
def test_spans_without_valid_ids_are_refused_alone(build: Any, fields: dict[str, bytes], reason: str) -> None:
    """`trace.proto` requires both ids; a span without them cannot be told from its own redelivery."""
    verdict = check_protobuf(Signal.TRACES, build.traces(build.span(1, **fields), build.span(2)))
    assert (verdict.accepted, dict(verdict.refused)) == (1, {reason: 1})


def test_a_bad_attribute_costs_only_itself(build: Any) -> None:
    """An attribute whose value is no AnyValue is left out and counted, each time it comes."""
    body = build.traces(build.span(attributes={"bad": 5, "good": 6}))
    broken = body.replace(b"\x0a\x03bad\x12\x02\x18\x05", b"\x0a\x03bad\x12\x02\x1c\x05")
    assert broken != body
    decoder = Decoder()
    assert only_span(broken, decoder).attributes == {"good": 6}
    assert only_span(broken, decoder).attributes == {"good": 6}
    assert decoder.take_tally().bad_attributes == 2
    assert decoder.take_tally().bad_attributes == 0


def test_truncated_and_foreign_bodies_are_malformed(build: Any) -> None:
    """Bytes that do not parse at all are a permanent error."""
    body = build.traces(build.span())
    for bad in (body[:-5], b"\xff" * 40, b'{"resourceSpans": []}', b"\x0a\xff\xff\xff\xff\x0f"):
        with pytest.raises(MalformedError, match="not a valid OTLP protobuf message"):
            check_protobuf(Signal.TRACES, bad)


def test_absurd_clocks_and_counts_pass_as_sent(build: Any) -> None:
    """The decoder judges nothing: 1970, 2100, negative and huge token counts arrive as they are."""
    year_2100 = 4_102_444_800 * 10**9
    absurd = {"gen_ai.usage.input_tokens": -5, "gen_ai.usage.output_tokens": 2**62}
    span = only_span(build.traces(build.span(start_time_unix_nano=0, end_time_unix_nano=year_2100, attributes=absurd)))
    assert (span.start_ns, span.end_ns, span.attributes) == (0, year_2100, absurd)


def test_the_memo_forgets_large_values_and_stays_bounded(build: Any) -> None:
    """Prompts are not kept, and the memo is emptied rather than grown."""
    decoder = Decoder(memo_entries=10)
    prompt = "x" * MEMO_ENTRY_BYTES
    for number in range(50):
        span = only_span(build.traces(build.span(attributes={"prompt": prompt, "n": number})), decoder)
        assert span.attributes == {"prompt": prompt, "n": number}
        assert len(decoder._memo) <= 10
        assert all(len(raw) <= MEMO_ENTRY_BYTES for raw in decoder._memo)


def test_values_of_every_kind(build: Any) -> None:
    """Strings, booleans, integers, doubles, bytes, lists and maps arrive as Python's own."""
    values = {"s": "é", "b": True, "i": -(2**63), "d": 0.1, "y": b"\x00\xff", "l": ["a", 1], "m": {"k": [False]}}
    assert only_span(build.traces(build.span(attributes=values))).attributes == values


def test_unknown_fields_are_ignored(build: Any) -> None:
    """A newer protocol may say more; a field that nobody knows changes nothing."""
    body = build.traces(build.span())
    assert only_span(body + b"\xfa\x3f" + struct.pack("B", 3) + b"new") == only_span(body)
