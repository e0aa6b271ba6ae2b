"""OTLP/gRPC, spoken by a stock client: acknowledged means durable, and every refusal is one the sender understands."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from spanledger.collector.auth import Authenticator
from spanledger.collector.errors import JournalFullError, StartupError, UnavailableError
from spanledger.collector.grpc_receiver import METHODS, GrpcReceiver, GrpcSettings, TlsFiles
from spanledger.collector.wire import RetryInfo, RpcStatus

TRACES = next(iter(METHODS))
LIMIT = 1 << 20  # the collector fixture's


class Tokens:
    """Knows one token; `broken` stands for a store that does not answer."""

    def __init__(self) -> None:
        self.broken = False

    def verify(self, token: str, /) -> str | None:
        if self.broken:
            raise ConnectionError("store away")
        return {"slt_good": "acme"}.get(token)


Serve = Callable[..., GrpcReceiver]


@pytest.fixture
def serve(collector: Any) -> Iterator[Serve]:
    """Starts receivers on the collector's intake, and stops them."""
    started: list[GrpcReceiver] = []

    def start(*, required: bool = False, tokens: Any = None, **settings: Any) -> GrpcReceiver:
        receiver = GrpcReceiver(
            collector.intake, Authenticator(tokens, required=required), GrpcSettings(**{"port": 0, **settings})
        )
        receiver.start()
        started.append(receiver)
        return receiver

    yield start
    for receiver in started:
        receiver.stop(0)


@pytest.fixture
def channel(serve: Serve) -> Iterator[grpc.Channel]:
    """A plain channel to a receiver on loopback."""
    with grpc.insecure_channel(f"127.0.0.1:{serve().port}", options=[("grpc.max_send_message_length", -1)]) as made:
        yield made


def raw(channel: grpc.Channel, method: str = TRACES) -> Any:
    return channel.unary_unary(method)


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str, float | None]:
    """Code, message and the seconds of RetryInfo of a refused call."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    status = RpcStatus()
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            status = RpcStatus.FromString(value)
            assert (status.code, status.message) == (error.code().value[0], error.details())
    delay = None
    for detail in status.details:
        assert detail.type_url == "type.googleapis.com/google.rpc.RetryInfo"
        info = RetryInfo.FromString(detail.value)
        delay = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return error.code(), error.details(), delay


def journalled(collector: Any) -> list[tuple[str, bytes]]:
    return [(frame.org_id, frame.payload) for frame in collector.journal.read(collector.journal.start, 1 << 24)]


def test_all_three_services_answer_a_stock_client(collector: Any, build: Any, channel: grpc.Channel) -> None:
    """Traces and logs are in the journal when the answer comes; metrics are accepted and dropped."""
    traces = ExportTraceServiceRequest.FromString(build.traces(build.span()))
    assert TraceServiceStub(channel).Export(traces) == ExportTraceServiceResponse()
    logs = ExportLogsServiceRequest.FromString(build.logs({"severity_number": 9}))
    assert LogsServiceStub(channel).Export(logs) == ExportLogsServiceResponse()
    metrics = ExportMetricsServiceRequest.FromString(build.metrics())
    assert not MetricsServiceStub(channel).Export(metrics).HasField("partial_success")
    assert journalled(collector) == [("default", traces.SerializeToString()), ("default", logs.SerializeToString())]
    assert collector.stats.snapshot()["requests"] == {"grpc/traces": 1, "grpc/logs": 1, "grpc/metrics": 1}


def test_gzip(collector: Any, build: Any, channel: grpc.Channel) -> None:
    """A packed message is unpacked before it is journalled."""
    body = build.traces(build.span())
    raw(channel)(body, compression=grpc.Compression.Gzip)
    assert journalled(collector) == [("default", body)]


def test_a_bad_span_comes_back_as_partial_success(build: Any, channel: grpc.Channel) -> None:
    """The sender learns how many and why, and that it must not send them again."""
    request = ExportTraceServiceRequest.FromString(build.traces(build.span(1), build.span(2, trace_id=b"")))
    answer = TraceServiceStub(channel).Export(request)
    assert answer.partial_success.rejected_spans == 1
    assert answer.partial_success.error_message == "1 x missing or invalid trace_id"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"garbage that is no protobuf", b"\x0a\x7f"])
def test_garbage_is_an_invalid_argument(collector: Any, channel: grpc.Channel, method: str, body: bytes) -> None:
    """Permanent: the sender must drop it. Nothing is journalled, the refusal is counted."""
    code, message, delay = refusal(lambda: raw(channel, method)(body))
    assert (code, delay) == (grpc.StatusCode.INVALID_ARGUMENT, None)
    assert message == "the body is not a valid OTLP protobuf message"
    assert journalled(collector) == []
    assert collector.stats.snapshot()["refused_requests"] == {"malformed": 1}


def test_a_truncated_request_is_an_invalid_argument(build: Any, channel: grpc.Channel) -> None:
    """Cut anywhere, it is refused or read, never half read without saying so."""
    body = build.traces(build.span(1), build.span(2))
    assert refusal(lambda: raw(channel)(body[:-10]))[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_body_over_the_limit_is_refused_for_good(
    collector: Any, channel: grpc.Channel, compression: grpc.Compression
) -> None:
    """RESOURCE_EXHAUSTED without RetryInfo, packed or not: a bomb is never unpacked beyond the limit."""
    code, _, delay = refusal(lambda: raw(channel)(bytes(LIMIT + 1), compression=compression))
    assert (code, delay) == (grpc.StatusCode.RESOURCE_EXHAUSTED, None)
    deadline = time.monotonic() + 10
    while not collector.stats.snapshot()["refused_requests"]:  # counted on the receiver's own thread
        assert time.monotonic() < deadline
        raw(channel)(b"")  # the channel lives
    assert collector.stats.snapshot()["refused_requests"] == {"broken_off": 1}


def test_a_full_journal_asks_to_try_again(
    collector: Any, build: Any, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo: senders keep the data."""

    def full(*_: Any) -> None:
        raise JournalFullError("the journal is full", retry_after=2.5)

    monkeypatch.setattr(collector.journal, "append_many", full)
    answer = refusal(lambda: raw(channel)(build.traces(build.span())))
    assert answer == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the journal is full", 2.5)
    assert collector.stats.snapshot()["refused_requests"] == {"journal_full": 1}


def test_a_failing_disk_asks_to_try_again(
    collector: Any, build: Any, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UNAVAILABLE with RetryInfo."""

    def broken(*_: Any) -> None:
        raise UnavailableError("cannot write")

    monkeypatch.setattr(collector.journal, "append_many", broken)
    answer = refusal(lambda: raw(channel)(build.traces(build.span())))
    assert answer == (grpc.StatusCode.UNAVAILABLE, "cannot write", 5.0)


def test_unknown_methods(channel: grpc.Channel) -> None:
    """What we do not serve is UNIMPLEMENTED, as gRPC says it."""
    assert refusal(lambda: raw(channel, "/x.Y/Z")(b""))[0] is grpc.StatusCode.UNIMPLEMENTED


# --- who sends


def test_the_token_decides_the_org(collector: Any, build: Any, serve: Serve) -> None:
    """With tokens required: the right one makes the org, every other is UNAUTHENTICATED."""
    receiver = serve(required=True, tokens=Tokens())
    body = build.traces(build.span(), resource={"org_id": "victim", "spanledger.org_id": "victim"})
    with grpc.insecure_channel(f"127.0.0.1:{receiver.port}") as channel:
        raw(channel)(body, metadata=[("authorization", "Bearer slt_good")])
        for metadata in ([], [("authorization", "Bearer slt_bad")], [("authorization", "Basic slt_good")]):
            code, message, delay = refusal(lambda metadata=metadata: raw(channel)(body, metadata=metadata))
            assert (code, delay) == (grpc.StatusCode.UNAUTHENTICATED, None)
            assert "token" in message
    assert journalled(collector) == [("acme", body)]
    assert collector.stats.snapshot()["refused_requests"] == {"unauthenticated": 3}


def test_loopback_needs_no_token_but_takes_no_wrong_one(collector: Any, build: Any, serve: Serve) -> None:
    """Without a token the org is ``default``; a token that nobody issued is a mistake to be told."""
    body = build.traces(build.span())
    with grpc.insecure_channel(f"127.0.0.1:{serve(tokens=Tokens()).port}") as channel:
        raw(channel)(body)
        raw(channel)(body, metadata=[("authorization", "bearer slt_good")])
        wrong = [("authorization", "Bearer slt_bad")]
        assert refusal(lambda: raw(channel)(body, metadata=wrong))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert journalled(collector) == [("default", body), ("acme", body)]


def test_a_token_store_that_does_not_answer(build: Any, serve: Serve) -> None:
    """Known tokens go on working; others are asked to try again, not refused for good."""
    tokens = Tokens()
    body = build.traces(build.span())
    with grpc.insecure_channel(f"127.0.0.1:{serve(required=True, tokens=tokens).port}") as channel:
        raw(channel)(body, metadata=[("authorization", "Bearer slt_good")])
        tokens.broken = True
        raw(channel)(body, metadata=[("authorization", "Bearer slt_good")])
        code, _, delay = refusal(lambda: raw(channel)(body, metadata=[("authorization", "Bearer slt_new")]))
        assert (code, delay) == (grpc.StatusCode.UNAVAILABLE, 5.0)


def test_without_a_token_the_message_is_not_even_read(build: Any, serve: Serve) -> None:
    """A stranger is refused before sending: the call ends although its message never comes."""
    never = threading.Event()

    def messages() -> Iterator[bytes]:
        never.wait(10)
        yield b""

    with grpc.insecure_channel(f"127.0.0.1:{serve(required=True, tokens=Tokens()).port}") as channel:
        call = channel.stream_unary(TRACES)
        assert refusal(lambda: call(messages(), timeout=10))[0] is grpc.StatusCode.UNAUTHENTICATED
        never.set()


# --- slow and many senders


def test_slow_senders_are_cut_off_and_do_not_starve_others(collector: Any, build: Any, serve: Serve) -> None:
    """More unfinished messages than threads: after their time they are cancelled, and the next sender is served."""
    receiver = serve(threads=2, message_seconds=0.2)
    release = threading.Event()

    def never() -> Iterator[bytes]:
        release.wait(20)
        yield b""

    with grpc.insecure_channel(f"127.0.0.1:{receiver.port}") as channel:
        slow = [channel.stream_unary(TRACES).future(never()) for _ in range(4)]
        raw(channel)(build.traces(build.span()), timeout=15, wait_for_ready=True)
        for call in slow:
            assert call.exception(timeout=15).code() is grpc.StatusCode.CANCELLED
        release.set()
    assert len(journalled(collector)) == 1


def test_a_call_without_a_message(collector: Any, channel: grpc.Channel) -> None:
    """A client that closes its side without sending gets an answer."""
    assert refusal(lambda: channel.stream_unary(TRACES)(iter(())))[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_stopping_finishes_what_is_under_way(collector: Any, build: Any, serve: Serve) -> None:
    """Requests that were being written are answered; later ones find nobody."""
    receiver = serve()
    body = build.traces(build.span())
    with grpc.insecure_channel(f"127.0.0.1:{receiver.port}") as channel:
        calls = [raw(channel).future(body) for _ in range(20)]
        calls[0].result(timeout=10)
        receiver.stop(5)
        finished = sum(call.exception(timeout=10) is None for call in calls)
        assert len(journalled(collector)) == finished >= 1
        assert refusal(lambda: raw(channel)(body, timeout=2))[0] in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )


# --- starting


def test_a_port_in_use_is_one_readable_line(serve: Serve) -> None:
    """The line names the option, the address and the mend."""
    port = serve().port
    with pytest.raises(StartupError) as caught:
        serve(port=port)
    assert str(caught.value) == (
        f"--otlp-grpc 127.0.0.1:{port}: the port is in use by another process: stop it or choose another port"
    )


def test_an_address_of_another_machine_is_one_readable_line(serve: Serve) -> None:
    """192.0.2.0/24 belongs to nobody (RFC 5737)."""
    with pytest.raises(StartupError, match=r"--otlp-grpc 192\.0\.2\.1:4317: this machine does not have that address"):
        serve(host="192.0.2.1", port=4317)


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost", "unix"])
def test_other_addresses_of_this_machine(collector: Any, build: Any, serve: Serve, tmp_path: Path, host: str) -> None:
    """IPv6 with and without brackets, a name, and a Unix socket."""
    if host == "unix":
        host = target = f"unix:{tmp_path}/otlp.sock"
        serve(host=host)
    else:
        if ":" in host and not socket.has_dualstack_ipv6():
            pytest.skip("this machine has no IPv6")
        target = f"[{host.strip('[]')}]:{serve(host=host).port}" if ":" in host else f"{host}:{serve(host=host).port}"
    with grpc.insecure_channel(target) as channel:
        raw(channel)(build.traces(build.span()), timeout=10)
    assert len(journalled(collector)) == 1


# --- TLS


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private CA with a server and a client certificate."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl(*new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA")
    for name, subject in (("server", "localhost"), ("client", "a sender")):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        openssl(*new_key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={subject}", *signed)
    return folder


def test_tls_and_mtls(collector: Any, build: Any, serve: Serve, pki: Path) -> None:
    """With a client CA, a sender without a certificate does not get through; with one it does."""
    files = TlsFiles(certificate=pki / "server.pem", key=pki / "server.key", client_ca=pki / "ca.pem")
    receiver = serve(tls=files)
    ca = (pki / "ca.pem").read_bytes()
    body = build.traces(build.span())
    stranger = grpc.ssl_channel_credentials(ca)
    with grpc.secure_channel(f"localhost:{receiver.port}", stranger) as channel:
        assert refusal(lambda: raw(channel)(body, timeout=10))[0] is grpc.StatusCode.UNAVAILABLE
    known = grpc.ssl_channel_credentials(ca, (pki / "client.key").read_bytes(), (pki / "client.pem").read_bytes())
    with grpc.secure_channel(f"localhost:{receiver.port}", known) as channel:
        raw(channel)(body, timeout=10)
    assert len(journalled(collector)) == 1


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_bad_tls_file_is_one_readable_line(serve: Serve, tmp_path: Path, content: str | None) -> None:
    """The line names the file and what is wrong with it."""
    path = tmp_path / "server.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StartupError, match=r"server\.pem: (cannot read it: No such file|this is not a PEM file)"):
        serve(tls=TlsFiles(certificate=path, key=path))


def test_a_pem_file_that_is_no_certificate(serve: Serve, pki: Path) -> None:
    """A key in the certificate's place is found at start, not at the first request."""
    with pytest.raises(StartupError, match="--otlp-grpc"):
        serve(tls=TlsFiles(certificate=pki / "server.key", key=pki / "server.key"))
