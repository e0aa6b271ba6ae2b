"""OTLP JSON is read like the same request in protobuf, in every spelling that senders use."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.collector.decode import NO_SPAN_ID, NO_TRACE_ID, Decoder
from spanledger.collector.decode_json import UNREADABLE, JsonDecoder, check_json
from spanledger.collector.errors import MalformedError
from spanledger.collector.signals import Signal
from spanledger.semconv.records import SpanRecord

TRACE = "0102030405060708090a0b0c0d0e0f10"
SPAN = "0102030405060708"


def otlp_json(message: Any, *, names_of_enums: bool, snake_case: bool) -> bytes:
    """Protobuf's own JSON mapping, with OTLP's one difference: ids in hex."""
    document = json_format.MessageToDict(
        message, use_integers_for_enums=not names_of_enums, preserving_proto_field_name=snake_case
    )

    def hexed(value: Any) -> Any:
        if isinstance(value, list):
            return [hexed(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: base64.b64decode(item).hex()
            if key.lower().replace("_", "").endswith(("traceid", "spanid"))
            else hexed(item)
            for key, item in value.items()
        }

    return json.dumps(hexed(document)).encode()


def plain(record: Any) -> list[Any]:
    return [
        list(value) if isinstance(value, tuple) else value for value in map(record.__getattribute__, record.__slots__)
    ]


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.booleans())
def test_the_same_request_in_both_encodings(build: Any, names_of_enums: bool, snake_case: bool) -> None:
    """Ids in hex, 64-bit integers as strings, enums by number or name, fields in either case: all the same."""
    values = {"s": "é", "b": True, "i": -(2**63), "d": 0.5, "y": b"\x00\xff", "l": ["a", 1], "m": {"k": [False]}}
    body = build.traces(
        build.span(
            7,
            parent_span_id=b"\x01" * 8,
            attributes=values,
            events=[{"name": "exception", "time_unix_nano": 5, "attributes": build.attributes({"x": 1})}],
            status={"code": 2, "message": "bad"},
        )
    )
    message = ExportTraceServiceRequest.FromString(body)
    as_json = otlp_json(message, names_of_enums=names_of_enums, snake_case=snake_case)
    assert [plain(span) for span in JsonDecoder().spans(as_json)] == [plain(span) for span in Decoder().spans(body)]

    logs = build.logs(
        {
            "trace_id": b"\x01" * 16,
            "span_id": b"\x02" * 8,
            "time_unix_nano": 2**63 + 1,
            "severity_number": 18,
            "event_name": "gen_ai.choice",
            "body": {"kvlist_value": {"values": build.attributes({"content": "hi"})}},
            "attributes": build.attributes({"a": 1}),
        },
        {"observed_time_unix_nano": 9},
    )
    as_json = otlp_json(ExportLogsServiceRequest.FromString(logs), names_of_enums=names_of_enums, snake_case=snake_case)
    assert [plain(entry) for entry in JsonDecoder().logs(as_json)] == [plain(entry) for entry in Decoder().logs(logs)]


def request(**span: Any) -> bytes:
    fields = {"traceId": TRACE, "spanId": SPAN, "name": "chat", **span}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}).encode()


def only_span(body: bytes) -> SpanRecord:
    [span] = JsonDecoder().spans(body)
    return span


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"intValue": "42"}, 42),
        ({"intValue": 42}, 42),
        ({"intValue": 42.0}, 42),
        ({"doubleValue": 1}, 1.0),
        ({"doubleValue": "0.25"}, 0.25),
        ({"stringValue": ""}, ""),
        ({"stringValue": "\ud800x"}, "?x"),
        ({"boolValue": False}, False),
        ({"bytesValue": "AP8="}, b"\x00\xff"),
        ({"arrayValue": {}}, []),
        ({"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "1"}}]}}, {"k": 1}),
        ({"futureValue": 1, "intValue": 2}, 2),
    ],
)
def test_values_in_every_spelling(raw: dict[str, Any], value: Any) -> None:
    """What protobuf's JSON mapping allows is read; a lone surrogate, which no database takes, is replaced."""
    assert only_span(request(attributes=[{"key": "a", "value": raw}])).attributes == {"a": value}


@pytest.mark.parametrize(
    "raw",
    [
        {"intValue": "many"},
        {"intValue": str(2**63)},
        {"intValue": 1.5},
        {"intValue": True},
        {"stringValue": 5},
        {"boolValue": "yes"},
        {"bytesValue": "%%%"},
        {"arrayValue": 3},
        "text",
        None,
    ],
)
def test_a_bad_value_costs_only_its_attribute(raw: Any) -> None:
    """The rest of the span is read; the attribute is counted."""
    decoder = JsonDecoder()
    body = request(attributes=[{"key": "bad", "value": raw}, {"key": "good", "value": {"intValue": "6"}}])
    [span] = decoder.spans(body)
    assert span.attributes == {"good": 6}
    assert decoder.take_tally().bad_attributes == 1


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"traceId": ""}, NO_TRACE_ID),
        ({"traceId": "zz"}, NO_TRACE_ID),
        ({"traceId": "0" * 32}, NO_TRACE_ID),
        ({"spanId": "0102"}, NO_SPAN_ID),
        ({"name": 5}, UNREADABLE),
        ({"startTimeUnixNano": -1}, UNREADABLE),
        ({"startTimeUnixNano": "noon"}, UNREADABLE),
        ({"kind": "SPAN_KIND_NOBODY_KNOWS"}, UNREADABLE),
        ({"attributes": 3}, UNREADABLE),
        ({"events": ["x"]}, UNREADABLE),
    ],
)
def test_a_bad_span_is_refused_alone(span: dict[str, Any], reason: str) -> None:
    """The verdict counts it with its reason, and the good neighbour is read."""
    document = json.loads(request(**span))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"].append({"traceId": TRACE, "spanId": SPAN})
    verdict = check_json(Signal.TRACES, json.dumps(document).encode())
    assert (verdict.accepted, dict(verdict.refused)) == (1, {reason: 1})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"5",
        b'{"spans": []}',
        b'{"resourceLogs": []}',
        b'{"resourceSpans": {}}',
        b'{"resourceSpans": [5]}',
        b'{"resourceSpans": [{"scopeSpans": 1}]}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"resourceSpans": [' + b"9" * 5000 + b"]}",
    ],
)
def test_what_is_no_request_is_malformed(body: bytes) -> None:
    """A permanent error with one readable line, never a crash."""
    with pytest.raises(MalformedError, match=r"^the body is not"):
        check_json(Signal.TRACES, body)


@pytest.mark.parametrize("group", [{"resource": {"attributes": 3}}, {"scopeSpans": [{"scope": {"name": 5}}]}])
def test_a_bad_resource_or_scope_costs_only_itself(group: dict[str, Any]) -> None:
    """The spans below it are read; where they come from stays unknown."""
    spans = json.loads(request())["resourceSpans"][0]["scopeSpans"][0]
    scope = group.get("scopeSpans", [{}])[0]
    body = json.dumps({"resourceSpans": [{**group, "scopeSpans": [{**spans, **scope}]}]}).encode()
    decoder = JsonDecoder()
    [span] = decoder.spans(body)
    assert (span.name, span.source.resource, span.source.scope_name) == ("chat", {}, "")
    assert decoder.take_tally().bad_attributes == 1


def test_an_empty_request_is_fine() -> None:
    """Senders probe with it."""
    assert check_json(Signal.TRACES, b"{}").accepted == 0
    assert check_json(Signal.METRICS, b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{}, {}]}]}]}').accepted == 2


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "resourceSpans",
                    "scopeSpans",
                    "spans",
                    "attributes",
                    "key",
                    "value",
                    "intValue",
                    "traceId",
                    "kind",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_any_json_is_refused_or_read_but_never_crashes(value: Any) -> None:
    """Whatever JSON comes, the answer is a verdict or `MalformedError`."""
    body = json.dumps({"resourceSpans": value}).encode()
    try:
        verdict = check_json(Signal.TRACES, body)
    except MalformedError:
        return
    assert len(list(JsonDecoder().spans(body))) == verdict.accepted
