"""Files in, requests out: every format, any size, and what is broken is named while the rest is read."""

from __future__ import annotations

import gzip
import json
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.collector import json_stream, otlp_files
from spanledger.collector.decode import Decoder
from spanledger.collector.decode_json import JsonDecoder
from spanledger.collector.errors import JournalFullError, PermanentError, UnavailableError
from spanledger.collector.importing import ImportProgress, ImportSummary, JournalSink, OtlpHttpSink, import_files
from spanledger.collector.otlp_files import Piece, sniff_record
from spanledger.collector.signals import Encoding, Signal


class Records:
    """A sink that decodes what it gets, like the pipeline would."""

    def __init__(self) -> None:
        self.spans: list[int] = []
        self.services: list[str] = []
        self.logs = 0
        self.pieces: list[Piece] = []

    def send(self, pieces: Sequence[Piece], /) -> None:
        for piece in pieces:
            self.pieces.append(piece)
            decoder = Decoder() if piece.encoding is Encoding.PROTOBUF else JsonDecoder()
            if piece.signal is Signal.TRACES:
                for span in decoder.spans(piece.body):
                    self.spans.append(int.from_bytes(span.span_id, "big"))
                    self.services.append(span.source.resource.get("service.name", "?"))
            else:
                self.logs += sum(1 for _ in decoder.logs(piece.body))


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., tuple[ImportSummary, Records]]:
    """Writes bytes into a file and imports it."""

    def run(data: bytes, name: str = "spans") -> tuple[ImportSummary, Records]:
        path = tmp_path / name
        path.write_bytes(data)
        records = Records()
        return import_files([path], records), records

    return run


def document(*numbers: int, service: str = "shop", **more: Any) -> dict[str, Any]:
    spans = [{"traceId": f"{n:032x}", "spanId": f"{n:016x}", "name": "chat"} for n in numbers]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "s"}, "spans": spans}], **more}]}


def length_prefixed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(4, "big") + message for message in messages)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def jsonl(*documents: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in documents)


FORMATS: dict[str, Callable[[Any], bytes]] = {
    "one body": lambda build: build.traces(build.span(1), build.span(2)),
    "bodies one after the other": lambda build: build.traces(build.span(1)) + build.traces(build.span(2)),
    "gzip": lambda build: gzip.compress(build.traces(build.span(1))) + gzip.compress(build.traces(build.span(2))),
    "zstd": lambda build: zstd(build.traces(build.span(1))) + zstd(build.traces(build.span(2))),
    "the file exporter's proto": lambda build: length_prefixed(*(build.traces(build.span(n)) for n in (1, 2))),
    "the file exporter's proto, zstd": lambda build: length_prefixed(
        *(zstd(build.traces(build.span(n))) for n in (1, 2))
    ),
    "json": lambda _: json.dumps(document(1, 2)).encode(),
    "pretty json with a BOM": lambda _: b"\xef\xbb\xbf" + json.dumps(document(1, 2), indent=2).encode(),
    "json lines": lambda _: jsonl(document(1), document(2)),
    "json lines, gzip": lambda _: gzip.compress(jsonl(document(1), document(2))),
    "json without line breaks": lambda _: json.dumps(document(1)).encode() + json.dumps(document(2)).encode(),
    "json, records before their resource": lambda _: json.dumps(
        {"resourceSpans": [dict(reversed(group.items())) for group in document(1, 2)["resourceSpans"]]}
    ).encode(),
    "json in snake case": lambda _: (
        json.dumps(document(1, 2))
        .replace("resourceSpans", "resource_spans")
        .replace("scopeSpans", "scope_spans")
        .encode()
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_told_by_its_content(build: Any, load: Any, name: str) -> None:
    """The same two spans, whatever the file looks like and is called."""
    summary, records = load(FORMATS[name](build))
    assert (sorted(records.spans), records.services) == ([1, 2], ["shop", "shop"])
    assert (summary.files, summary.spans, summary.logs, dict(summary.refused)) == (1, 2, 0, {})


def test_traces_logs_and_metrics_are_told_apart(build: Any, load: Any) -> None:
    """Mixed in one file; metrics are counted and left out."""
    data = (
        build.traces(build.span(1)) + build.logs({"severity_number": 9}) + build.metrics() + build.traces(build.span(2))
    )
    summary, records = load(data)
    assert (records.spans, records.logs) == ([1, 2], 1)
    assert (summary.spans, summary.logs, summary.metrics, dict(summary.refused)) == (2, 1, 2, {})
    log = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityNumber": 9}]}]}]}
    metric = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m"}]}]}]}
    summary, records = load(jsonl(document(1), log, metric, document(2)))
    assert (records.spans, records.logs) == ([1, 2], 1)
    assert (summary.spans, summary.logs, summary.metrics) == (2, 1, 1)


def test_no_protobuf_length_looks_like_json(build: Any) -> None:
    """A body may start with the bytes of a line break and a brace; it is still protobuf."""
    starts = set()
    for length in range(1, 300):
        body = build.traces({}, resource={"k": "v" * length})
        starts.add(body[:2])
        assert not otlp_files._JSON_START.match(body)
    assert b"\n{" in starts


def test_a_large_protobuf_group_is_read_in_parts(build: Any, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One resource with more spans than fit in a request: each part carries the resource and the scope."""
    monkeypatch.setattr(otlp_files, "PIECE_BYTES", 1_000)
    monkeypatch.setattr(otlp_files, "_GROUP_MAX", 5_000)
    big = build.traces(*(build.span(n) for n in range(1, 201)))
    summary, records = load(big + build.traces(build.span(201)))
    assert records.spans == list(range(1, 202))
    assert set(records.services) == {"shop"}
    assert len(records.pieces) > 10
    assert max(len(piece.body) for piece in records.pieces) < 2_000
    assert dict(summary.refused) == {}


def test_a_large_json_group_is_read_in_parts(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for JSON, with the buffer so small that every value is cut by it."""
    monkeypatch.setattr(otlp_files, "PIECE_BYTES", 1_000)
    monkeypatch.setattr(json_stream, "_CHUNK", 7)
    for indent in (None, 2):
        summary, records = load(json.dumps(document(*range(1, 101), schemaUrl="x"), indent=indent).encode())
        assert records.spans == list(range(1, 101))
        assert set(records.services) == {"shop"}
        assert len(records.pieces) > 5
        assert dict(summary.refused) == {}


@pytest.mark.parametrize("make", [FORMATS["one body"], lambda _: jsonl(*(document(n) for n in range(1, 6)))])
def test_memory_does_not_grow_with_the_file(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Any], bytes]
) -> None:
    """A file goes through in little more than a piece at a time."""
    monkeypatch.setattr(otlp_files, "PIECE_BYTES", 1 << 14)
    monkeypatch.setattr(json_stream, "_CHUNK", 1 << 14)
    monkeypatch.setattr("spanledger.collector.bytestream._CHUNK", 1 << 14)
    monkeypatch.setattr("spanledger.collector.importing._GATHERED_BYTES", 1 << 15)
    path = tmp_path / "big"
    unit = make(build) * 100
    with path.open("wb") as file:
        while file.tell() < 1 << 20:
            file.write(unit)

    class Nowhere:
        def send(self, pieces: Sequence[Piece], /) -> None:
            pass

    tracemalloc.start()
    try:
        summary = import_files([path], Nowhere())
        assert tracemalloc.get_traced_memory()[1] < 1 << 19
    finally:
        tracemalloc.stop()
    assert summary.spans > 3_000


# --- broken files


def reasons(summary: ImportSummary) -> list[str]:
    return [reason.partition("spans: ")[2] for reason in summary.refused]


def test_what_is_no_otlp_is_named(load: Any) -> None:
    """One readable line with the file's name."""
    for data in (b"PK\x03\x04 a zip file", b"hello", b"[1, 2]"):
        summary, records = load(data)
        assert reasons(summary) == ["this is no OTLP: neither a protobuf export request nor OTLP JSON"]
        assert records.pieces == []
    summary, _ = load(b'{"spans": []}')
    assert reasons(summary) == [
        "JSON at character 13: a document without resourceSpans, resourceLogs or resourceMetrics"
    ]


def test_an_empty_file_holds_nothing(load: Any) -> None:
    """It is no error."""
    summary, records = load(b"")
    assert (summary.files, dict(summary.refused), records.pieces) == (1, {}, [])


def test_a_truncated_protobuf_file_keeps_its_whole_parts(build: Any, load: Any) -> None:
    """As a collector leaves it that was killed while writing."""
    data = build.traces(build.span(1)) + build.traces(build.span(2))
    summary, records = load(data[:-9])
    assert (records.spans, reasons(summary)) == ([1], ["the file ends in the middle of a message"])
    summary, records = load(length_prefixed(build.traces(build.span(1)), build.traces(build.span(2)))[:-9])
    assert (records.spans, reasons(summary)) == ([1], ["the file ends in the middle of a message"])


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_truncated_packed_file_keeps_what_can_be_unpacked(build: Any, load: Any, pack: Any) -> None:
    """The damage is named."""
    data = b"".join(build.traces(build.span(n, name=f"{n * 7919:x}" * 9)) for n in range(1, 3_000))
    summary, records = load(pack(data)[:-50])
    assert 0 < len(records.spans) < 3_000
    assert records.spans == list(range(1, len(records.spans) + 1))
    assert any("ends in the middle" in reason or "damaged" in reason for reason in reasons(summary))


def test_a_bad_json_line_costs_only_itself(load: Any) -> None:
    """The lines before and after it are read."""
    lines = [jsonl(document(n)) for n in range(1, 5)]
    lines[1] = lines[1].replace(b'"traceId": "', b'"traceId": oops "')
    summary, records = load(b"".join(lines))
    assert records.spans == [1, 3, 4]
    assert len(summary.refused) == 1
    assert "JSON at character" in reasons(summary)[0]


@pytest.mark.parametrize(
    "broken", [b'{"broken": \n', b'{"resourceSpans": [\n', b'{"a": {"b":\n', b'{"x"\n', b"{\n", b"not json\n"]
)
def test_a_json_line_that_breaks_off_takes_no_other_with_it(load: Any, broken: bytes) -> None:
    """The next line begins where the break is noticed."""
    summary, records = load(jsonl(document(1)) + broken + jsonl(document(2)) + jsonl(document(3)))
    assert records.spans == [1, 2, 3]
    assert len(reasons(summary)) == 1


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_broken_lines_across_the_pieces_that_are_read(load: Any, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    _, records = load(b"".join(b'{"broken": \n' + jsonl(document(n)) for n in range(1, 6)))
    assert records.spans == [1, 2, 3, 4, 5]


def test_a_first_line_that_is_no_json_costs_only_itself(load: Any) -> None:
    summary, records = load(b"2026-11-21 starting\n\n[warn] x\n" + jsonl(document(1)) + jsonl(document(2)))
    assert records.spans == [1, 2]
    assert len(reasons(summary)) == 1


def test_many_broken_lines_are_told_in_few(load: Any) -> None:
    summary, records = load(b'{"oops"}\n' * 5_000 + jsonl(document(1)))
    assert records.spans == [1]
    assert len(reasons(summary)) == 21
    assert sum(summary.refused.values()) == 5_000


def test_a_json_file_that_ends_too_soon_says_so_once(load: Any) -> None:
    data = jsonl(document(1)) + jsonl(document(2))[:60]
    summary, records = load(data)
    assert records.spans == [1]
    (reason,) = reasons(summary)
    assert reason.endswith(("the file ends in the middle of a value", "but the file ends"))
    assert 0 not in summary.refused.values()


def test_a_value_without_end_is_named_by_its_size(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_VALUE_MAX", 4 << 20)
    huge = b'{"resourceSpans": [{"resource": {"x": "' + b"y" * (9 << 20) + b'"}}]}\n'
    summary, records = load(huge + jsonl(document(1)))
    assert records.spans == [1]
    assert [reason.partition(": ")[2] for reason in reasons(summary)] == ["a value of more than 4 MiB"]


def test_a_json_file_that_breaks_off_keeps_its_whole_spans(load: Any) -> None:
    """The last span is cut; those before it are whole and known to belong to the resource."""
    data = json.dumps(document(*range(1, 6))).encode()
    summary, records = load(data[: data.rindex(b"traceId") + 20])
    assert records.spans == [1, 2, 3, 4]
    assert len(reasons(summary)) == 1


def test_bad_spans_inside_good_files_are_counted(build: Any, load: Any) -> None:
    """Just as a receiver would count them."""
    summary, records = load(build.traces(build.span(1), build.span(2, trace_id=b"")))
    assert (records.spans, dict(summary.refused.items()).popitem()[1]) == ([1], 1)
    assert reasons(summary) == ["missing or invalid trace_id"]


def test_a_broken_file_does_not_stop_the_others(build: Any, tmp_path: Path) -> None:
    """Folders are read in order of name; hidden files and our own reasons are not data."""
    (tmp_path / "a.pb").write_bytes(build.traces(build.span(1)))
    (tmp_path / "b.bin").write_bytes(b"garbage")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.jsonl").write_bytes(jsonl(document(3)))
    (tmp_path / ".hidden").write_bytes(b"garbage")
    (tmp_path / "x.reason.txt").write_bytes(b"garbage")
    records = Records()
    summary = import_files([tmp_path], records)
    assert (records.spans, summary.files) == ([1, 3], 3)
    assert list(summary.refused) == [
        f"{tmp_path / 'b.bin'}: this is no OTLP: neither a protobuf export request nor OTLP JSON"
    ]
    assert json.loads(json.dumps(summary.as_dict()))["spans"] == 2


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
def test_a_pipe_is_read_as_a_file_is(build: Any, tmp_path: Path, pack: Any) -> None:
    """As in ``zcat old.gz | spanledger import /dev/stdin``; a pipe gives few bytes at a time and cannot go back."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = pack(build.traces(*map(build.span, range(1, 2_000))))

    def write() -> None:
        with pipe.open("wb", buffering=0) as writer:
            writer.write(data[:2])
            writer.write(data[2:])

    writing = threading.Thread(target=write)
    writing.start()
    records = Records()
    summary = import_files([pipe], records)
    writing.join()
    assert (summary.spans, dict(summary.refused)) == (1_999, {})
    assert records.spans == list(range(1, 2_000))


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    """A mistake of the command line, told before anything is read."""
    with pytest.raises(PermanentError, match="there is no such file or folder"):
        import_files([tmp_path / "nope"], Records())


# --- sinks


def test_a_full_journal_is_waited_for(build: Any, tmp_path: Path) -> None:
    """The import goes on when there is room again, and says meanwhile what it waits for."""

    class Full(Records):
        refusals = 3

        def send(self, pieces: Sequence[Piece], /) -> None:
            if self.refusals:
                self.refusals -= 1
                raise JournalFullError("the journal is full")
            super().send(pieces)

    path = tmp_path / "spans.pb"
    path.write_bytes(build.traces(build.span(1)))
    seen: list[ImportProgress] = []
    slept: list[float] = []
    full = Full()
    import_files([path], full, progress=seen.append, sleep=slept.append)
    assert full.spans == [1]
    assert [progress.waiting_for for progress in seen] == ["the journal is full"] * 3 + [""]
    assert len(slept) == 3
    assert seen[-1].done_bytes == seen[-1].total_bytes == path.stat().st_size


def test_into_the_journal_and_through_the_pipeline_twice(collector: Any, build: Any, tmp_path: Path) -> None:
    """Importing again changes nothing in the ledger."""
    path = tmp_path / "spans.pb"
    path.write_bytes(b"".join(build.traces(build.span(n)) for n in range(1, 51)))
    path.write_bytes(path.read_bytes() + build.traces(build.span(99, attributes={})))
    collector.pipeline.start()
    outcomes = []
    for _ in range(2):
        before = collector.stats.copy()
        summary = import_files([path], JournalSink(collector.journal, "acme"))
        assert collector.pipeline.wait_idle(10)
        summary.add_outcome(before, collector.stats.copy())
        outcomes.append((summary.spans, summary.about_calls, summary.known_before, summary.dropped))
    assert outcomes == [(51, 50, 0, 1), (51, 50, 50, 1)]
    assert len(collector.ledger.observations) == 50
    assert {org for org, _, _ in collector.ledger.observations} == {"acme"}
    assert collector.stats.snapshot()["repeated_observations"] == 50


@pytest.fixture
def server(collector: Any) -> Iterator[str]:
    """A running OTLP/HTTP listener with one token."""
    import socket
    import threading

    import uvicorn

    from spanledger.collector import http_receiver
    from spanledger.collector.auth import Authenticator

    class Tokens:
        def verify(self, token: str, /) -> str | None:
            return "acme" if token == "good" else None

    app = http_receiver.create_app(collector.intake, Authenticator(Tokens(), required=True))
    listening = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    running.should_exit = True
    thread.join(10)
    listening.close()


def test_through_a_running_server(collector: Any, build: Any, server: str) -> None:
    """When a server owns the store, the files go through its listener; the token decides the org."""
    body = build.traces(build.span(1))
    pieces = [
        Piece(Signal.TRACES, Encoding.PROTOBUF, body),
        Piece(Signal.LOGS, Encoding.JSON, b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{}]}]}]}'),
    ]
    OtlpHttpSink(server, "good").send(pieces)
    frames = collector.journal.read(collector.journal.start, 1 << 20)
    assert [(frame.org_id, frame.signal) for frame in frames] == [("acme", Signal.TRACES), ("acme", Signal.LOGS)]
    with pytest.raises(PermanentError, match="refused the data: 401"):
        OtlpHttpSink(server, "bad").send(pieces)


def test_a_server_that_is_not_there() -> None:
    """It may come back: the import waits."""
    with pytest.raises(UnavailableError, match=r"the server at 127\.0\.0\.1:9 does not answer"):
        OtlpHttpSink("http://127.0.0.1:9").send([Piece(Signal.TRACES, Encoding.PROTOBUF, b"")])


# --- telling signals apart


def test_records_are_told_by_their_fields(build: Any) -> None:
    """Also when little of them is filled in."""
    span = ExportTraceServiceRequest.FromString(build.traces(build.span(1))).resource_spans[0].scope_spans[0].spans[0]
    assert sniff_record(span.SerializeToString()) is Signal.TRACES
    for name in ("start_time_unix_nano", "end_time_unix_nano", "kind"):
        span.ClearField(name)
    assert sniff_record(span.SerializeToString()) is Signal.TRACES
    assert sniff_record(b"\x09" + bytes(8)) is Signal.LOGS
    assert sniff_record(b"\x10\x09") is Signal.LOGS
    assert sniff_record(b"\x2a\x03\x0a\x01x") is Signal.LOGS
    assert sniff_record(b"\x0a\x01m\x3a\x00") is Signal.METRICS
    assert sniff_record(b"") is None
    assert sniff_record(b"\xff") is None
