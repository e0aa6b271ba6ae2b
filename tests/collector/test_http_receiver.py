"""OTLP/HTTP over a real server: statuses, encodings and limits as the specification has them."""

from __future__ import annotations

import gzip
import http.client
import json
import select
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanledger.collector import http_receiver
from spanledger.collector.auth import Authenticator
from spanledger.collector.compression import unpack
from spanledger.collector.errors import JournalFullError, MalformedError, TooLargeError, UnsupportedError
from spanledger.collector.http_receiver import HttpSettings
from spanledger.collector.wire import RpcStatus

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
LIMIT = 1 << 20  # the collector fixture's


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Served:
    """A listening OTLP/HTTP application."""

    port: int

    def post(self, path: str, body: bytes, kind: str = PROTOBUF, **headers: str) -> Answer:
        named = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("POST", path, body, named)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


class Tokens:
    def verify(self, token: str, /) -> str | None:
        return {"slt_good": "acme"}.get(token)


class Host:
    """A real HTTP server around an application that each test chooses."""

    def __init__(self) -> None:
        self.app: Any = None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(self, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.stop()


@pytest.fixture
def serve(collector: Any, host: Host) -> Callable[..., Served]:
    """Puts an application on the host."""

    def start(*, required: bool = False, tokens: Any = None, **settings: Any) -> Served:
        host.app = http_receiver.create_app(
            collector.intake, Authenticator(tokens, required=required), HttpSettings(**settings)
        )
        return Served(host.port)

    return start


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


def journalled(collector: Any) -> list[tuple[str, bytes]]:
    return [(frame.org_id, frame.payload) for frame in collector.journal.read(collector.journal.start, 1 << 24)]


def status_of(answer: Answer) -> tuple[int, str]:
    """Code and message of the google.rpc.Status in a refusal, in the encoding that it came in."""
    if answer.headers["content-type"] == JSON:
        document = json.loads(answer.body)
        return document["code"], document["message"]
    status = RpcStatus.FromString(answer.body)
    return status.code, status.message


SPAN_JSON = {"traceId": "01" * 16, "spanId": "02" * 8, "name": "chat"}


def json_body(*spans: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def test_protobuf(collector: Any, build: Any, served: Served) -> None:
    """All three paths answer 200 with an empty response message; traces and logs are in the journal by then."""
    traces, logs = build.traces(build.span()), build.logs({"severity_number": 9})
    for path, body in (("/v1/traces", traces), ("/v1/logs", logs), ("/v1/metrics", build.metrics())):
        answer = served.post(path, body)
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, PROTOBUF, b"")
    assert journalled(collector) == [("default", traces), ("default", logs)]


def test_json(collector: Any, served: Served) -> None:
    """The answer is JSON as the request was; the journal keeps the body as it came."""
    body = json_body(SPAN_JSON)
    answer = served.post("/v1/traces", body, "application/json; charset=utf-8")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, JSON, b"{}")
    assert journalled(collector) == [("default", body)]


def test_partial_success_in_both_encodings(build: Any, served: Served) -> None:
    """The count and the reason, under the signal's own JSON name, 64-bit integers as strings."""
    answer = served.post("/v1/traces", build.traces(build.span(1), build.span(2, span_id=b"")))
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert (answer.status, partial.rejected_spans, partial.error_message) == (200, 1, "1 x missing or invalid span_id")
    answer = served.post("/v1/traces", json_body(SPAN_JSON, {**SPAN_JSON, "traceId": ""}), JSON)
    assert json.loads(answer.body) == {
        "partialSuccess": {"rejectedSpans": "1", "errorMessage": "1 x missing or invalid trace_id"}
    }
    logs = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityNumber": "x"}]}]}]}).encode()
    assert json.loads(served.post("/v1/logs", logs, JSON).body)["partialSuccess"]["rejectedLogRecords"] == "1"


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "identity": bytes,
}


@pytest.mark.parametrize("coding", PACKERS)
def test_packed_bodies(collector: Any, build: Any, served: Served, coding: str) -> None:
    """The journal holds the plain body whatever it was packed with."""
    body = build.traces(build.span())
    assert served.post("/v1/traces", PACKERS[coding](body), content_encoding=coding).status == 200
    assert journalled(collector) == [("default", body)]


@pytest.mark.parametrize(("kind", "body"), [(PROTOBUF, b"\xff\xff"), (JSON, b"{"), (JSON, b"[]"), (PROTOBUF, b"{}")])
def test_garbage_is_400_with_a_status_in_the_same_encoding(
    collector: Any, served: Served, kind: str, body: bytes
) -> None:
    """Permanent; the body says why, nothing is journalled."""
    answer = served.post("/v1/traces", body, kind)
    assert (answer.status, answer.headers["content-type"]) == (400, kind)
    code, message = status_of(answer)
    assert code == 3
    assert message.startswith("the body is not")
    assert journalled(collector) == []


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_a_wrong_content_type_is_415(build: Any, served: Served, kind: str) -> None:
    """The message names the two that are spoken."""
    answer = served.post("/v1/traces", build.traces(build.span()), kind)
    assert answer.status == 415
    assert status_of(answer)[1] == "content-type must be application/x-protobuf or application/json"


@pytest.mark.parametrize(
    ("coding", "status", "message"),
    [
        ("br", 415, "content-encoding 'br' is not supported; use one of identity, gzip, deflate, zstd"),
        ("gzip", 400, "the body is not valid gzip"),
        ("deflate", 400, "the body is not valid deflate"),
        ("zstd", 400, "the body is not valid zstd"),
    ],
)
def test_a_wrong_content_encoding(served: Served, coding: str, status: int, message: str) -> None:
    """A header that does not fit the body, or that nobody speaks."""
    answer = served.post("/v1/traces", b"\x0a\x00 not packed at all", content_encoding=coding)
    assert (answer.status, status_of(answer)[1]) == (status, message)


def test_a_body_over_the_limit_is_413(collector: Any, served: Served) -> None:
    """Refused while it comes in; with or without a content-length."""
    answer = served.post("/v1/traces", bytes(LIMIT + 1))
    assert (answer.status, status_of(answer)[0]) == (413, 8)
    assert collector.stats.snapshot()["refused_requests"] == {"too_large": 1}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_bomb_is_413(served: Served, coding: str) -> None:
    """A few kilobytes that claim to be much more."""
    packed = PACKERS[coding](bytes(40 * LIMIT))
    assert len(packed) < LIMIT / 10
    assert served.post("/v1/traces", packed, content_encoding=coding).status == 413


def test_a_full_journal_is_503_with_retry_after(
    collector: Any, build: Any, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Senders keep the data and come back when told."""

    def full(*_: Any) -> None:
        raise JournalFullError("the journal is full", retry_after=2.5)

    monkeypatch.setattr(collector.journal, "append_many", full)
    answer = served.post("/v1/traces", build.traces(build.span()))
    assert (answer.status, answer.headers["retry-after"]) == (503, "3")
    assert status_of(answer) == (8, "the journal is full")
    answer = served.post("/v1/traces", json_body(SPAN_JSON), JSON)
    assert json.loads(answer.body)["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}
    ]


def test_tokens(collector: Any, build: Any, serve: Callable[..., Served]) -> None:
    """The right token makes the org; none or a wrong one is 401, before the body is looked at."""
    served = serve(required=True, tokens=Tokens())
    body = build.traces(build.span())
    assert served.post("/v1/traces", body, authorization="Bearer slt_good").status == 200
    for headers in ({}, {"authorization": "Bearer slt_bad"}, {"authorization": "slt_good"}):
        answer = served.post("/v1/traces", body, **headers)
        assert (answer.status, answer.headers["www-authenticate"], status_of(answer)[0]) == (401, "Bearer", 16)
    assert journalled(collector) == [("acme", body)]


def test_other_methods_and_paths(served: Served) -> None:
    """405 and 404, as HTTP has them."""
    assert served.post("/v1/profiles", b"").status == 404
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as connection:
        connection.request("GET", "/v1/traces")
        assert connection.getresponse().status == 405


def start_slowly(port: int, length: int, sent: bytes) -> socket.socket:
    """A client that announces `length` bytes and sends only some of them."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(
        f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: {length}\r\n\r\n".encode()
    )
    connection.sendall(sent)
    return connection


def test_a_slow_sender_is_cut_off(collector: Any, build: Any, serve: Callable[..., Served]) -> None:
    """Meanwhile others are served; after its time it is asked to try again."""
    served = serve(body_seconds=0.3)
    with closing(start_slowly(served.port, 1000, b"\x0a")) as slow:
        assert served.post("/v1/traces", build.traces(build.span())).status == 200
        assert slow.recv(4096).startswith(b"HTTP/1.1 503 ")
    assert len(journalled(collector)) == 1


def test_a_sender_that_goes_away(collector: Any, build: Any, serve: Callable[..., Served]) -> None:
    """Half a body is no body; the listener lives on."""
    served = serve()
    start_slowly(served.port, 1000, b"\x0a").close()
    assert served.post("/v1/traces", build.traces(build.span())).status == 200
    assert len(journalled(collector)) == 1


def test_the_memory_of_all_bodies_together_is_bounded(build: Any, serve: Callable[..., Served]) -> None:
    """While slow senders hold the budget, others are asked to try again; afterwards there is room."""
    served = serve(buffered_bytes=0)  # two bodies of the largest size always fit
    half = bytes(LIMIT - 100)
    holders = [start_slowly(served.port, LIMIT, half) for _ in range(2)]

    def post() -> Answer:
        for number, holder in enumerate(holders):
            if select.select([holder], [], [], 0)[0]:  # refused, as a body posted below was being read
                holder.close()
                holders[number] = start_slowly(served.port, LIMIT, half)
        return served.post("/v1/traces", bytes(1000))

    try:
        answer = until(post, 503)
        assert answer.headers["retry-after"] == "1"
    finally:
        for holder in holders:
            holder.close()
    until(lambda: served.post("/v1/traces", build.traces(build.span())), 200)


def until(post: Callable[[], Answer], status: int) -> Answer:
    """The first answer with this status; the test fails when none comes in time."""
    deadline = time.monotonic() + 20
    while (answer := post()).status != status:
        assert time.monotonic() < deadline, answer
    return answer


# --- unpacking alone


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_unpacking_is_bounded_in_memory(coding: str) -> None:
    """Of a bomb of 128 MiB only a part is ever unpacked."""
    if coding == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
        packed = b"".join(packer.compress(bytes(LIMIT)) for _ in range(128)) + packer.flush()
    else:
        wbits = 31 if coding == "gzip" else 15
        packer = zlib.compressobj(wbits=wbits)
        packed = b"".join(packer.compress(bytes(LIMIT)) for _ in range(128)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError, match="unpacks to more than the limit"):
            unpack(packed, coding, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 80 * LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_exactly_the_limit_is_fine_and_cut_bodies_are_not(coding: str) -> None:
    """The limit is inclusive; a packed body that ends too early is refused."""
    plain = zlib.crc32(b"x").to_bytes(4, "big") * 1000
    packed = PACKERS[coding](plain)
    assert unpack(packed, coding.upper(), len(plain)) == plain
    with pytest.raises(TooLargeError):
        unpack(packed, coding, len(plain) - 1)
    with pytest.raises(MalformedError):
        unpack(packed[:-3], coding, len(plain))


def test_unusual_packings() -> None:
    """Concatenated gzip members and zstd frames, and deflate without its header, are read."""
    assert unpack(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", 10) == b"abcd"
    zstd = zstandard.ZstdCompressor()
    assert unpack(zstd.compress(b"ab") + zstd.compress(b"cd"), "zstd", 10) == b"abcd"
    raw = zlib.compressobj(wbits=-15)
    assert unpack(raw.compress(b"abcd") + raw.flush(), "deflate", 10) == b"abcd"
    assert unpack(b"", "", 10) == b""
    with pytest.raises(UnsupportedError):
        unpack(b"", "snappy", 10)
