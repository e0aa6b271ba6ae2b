"""OTLP/gRPC: TraceService, LogsService and MetricsService on one port.

Handlers get the raw bytes of the message; gRPC deserializes nothing. They are registered as stream-unary although OTLP
is unary (the two look the same on the wire), because then a handler runs before the message is read: a sender without
a token is refused before it sends anything, and a sender that never finishes is cut off by our own clock.

The reply leaves after the journal has the request on disk.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from spanledger.collector import responses, rpc_status
from spanledger.collector.auth import Authenticator
from spanledger.collector.binding import bind_address, check_bindable
from spanledger.collector.errors import BrokenOffError, CollectorError, StartupError
from spanledger.collector.intake import Intake
from spanledger.collector.signals import Encoding, Signal

METHODS: Final = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": Signal.TRACES,
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": Signal.LOGS,
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": Signal.METRICS,
}

_STATUS_DETAILS: Final = "grpc-status-details-bin"
_STATUS_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of a listener; with `client_ca` the clients must show a certificate that it signed (mTLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcSettings:
    """Options of the gRPC listener.

    Attributes:
        host, port: bind address; port 0 picks a free one (see `GrpcReceiver.port`).
        threads: requests that are received at the same time; more wait in their connections. Together with the body
            limit it bounds memory.
        message_seconds: how long a sender may take to send one message.
    """

    host: str = "127.0.0.1"
    port: int = 4317
    tls: TlsFiles | None = None
    threads: int = 16
    message_seconds: float = 30.0


class GrpcReceiver:
    """The OTLP/gRPC listener. `start` once, `stop` once."""

    def __init__(self, intake: Intake, authenticator: Authenticator, settings: GrpcSettings | None = None) -> None:
        self._intake = intake
        self._authenticator = authenticator
        self._settings = settings or GrpcSettings()
        self._watchdog = _Watchdog(self._settings.message_seconds)
        self._server: Any = None
        self.port = 0
        """The port that is listened on, known after `start`."""

    def start(self) -> None:
        """Bind and serve.

        Raises:
            StartupError: the address is taken or not ours, or a TLS file cannot be used.
        """
        settings = self._settings
        limit = self._intake.max_body_bytes
        server: Any = grpc.server(
            ThreadPoolExecutor(settings.threads, thread_name_prefix="spanledger-grpc"),
            handlers=[_Services(self._intake, self._authenticator, self._watchdog)],
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the requests
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        address = bind_address(settings.host, settings.port)
        check_bindable("--otlp-grpc", settings.host, settings.port)
        try:
            if settings.tls is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, _credentials(settings.tls))
        except RuntimeError as error:
            raise StartupError(f"--otlp-grpc {address}: cannot listen there") from error
        self._watchdog.start()
        server.start()
        self._server = server

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Take no new requests, finish those under way for at most `grace_seconds`, then close."""
        if self._server is not None:
            self._server.stop(grace_seconds).wait()
            self._watchdog.stop()
            self._server = None


class _Services(grpc.GenericRpcHandler):
    """The three Export methods."""

    def __init__(self, intake: Intake, authenticator: Authenticator, watchdog: _Watchdog) -> None:
        self._intake = intake
        self._authenticator = authenticator
        self._watchdog = watchdog
        self._handlers: dict[str, Any] = {
            method: grpc.stream_unary_rpc_method_handler(self._export(signal)) for method, signal in METHODS.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)

    def _export(self, signal: Signal) -> Callable[[Iterator[bytes], Any], bytes]:
        intake, authenticator, watchdog = self._intake, self._authenticator, self._watchdog

        def export(messages: Iterator[bytes], context: Any) -> bytes:
            try:
                org_id = authenticator.org_of(_authorization(context))
                with watchdog.watch(context):
                    body = _receive(messages)
                return responses.to_protobuf(intake.accept("grpc", org_id, signal, Encoding.PROTOBUF, body))
            except CollectorError as error:
                intake.count_refusal(error)
                context.set_trailing_metadata(((_STATUS_DETAILS, rpc_status.to_protobuf(error)),))
                context.abort(_STATUS_CODES[rpc_status.codes(error)[0]], str(error))
                raise  # never reached: `abort` raises

        return export


def _receive(messages: Iterator[bytes]) -> bytes:
    """The one message of a call.

    Raises:
        BrokenOffError: it is over the limit (gRPC itself answers that), was cut off by the watchdog, or never came.
    """
    try:
        return next(messages)
    except (StopIteration, grpc.RpcError) as error:
        raise BrokenOffError("the message did not arrive whole") from error


def _authorization(context: Any) -> str:
    for key, value in context.invocation_metadata():
        if key == "authorization":
            return value if isinstance(value, str) else bytes(value).decode("latin-1")
    return ""


def _credentials(files: TlsFiles) -> Any:
    key = read_pem("TLS key", files.key)
    certificate = read_pem("TLS certificate", files.certificate)
    client_ca = None if files.client_ca is None else read_pem("TLS client CA", files.client_ca)
    return grpc.ssl_server_credentials([(key, certificate)], client_ca, client_ca is not None)


def read_pem(what: str, path: Path) -> bytes:
    """Content of a PEM file.

    Raises:
        StartupError: it cannot be read or is no PEM file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StartupError(f"{what} {path}: cannot read it: {error.strerror or error}") from error
    if b"-----BEGIN " not in data:
        raise StartupError(f"{what} {path}: this is not a PEM file")
    return data


@dataclass(slots=True)
class _Watched:
    """One message that is being received."""

    context: Any
    deadline: float
    done: bool = False

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        self.done = True


class _Watchdog:
    """Cancels calls whose message does not arrive in time, so that slow senders cannot hold all threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._watched: deque[_Watched] = deque()  # in order of deadline, because all wait equally long
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spanledger-grpc-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def watch(self, context: Any) -> _Watched:
        """A context manager around the receiving of one message."""
        watched = _Watched(context, time.monotonic() + self._seconds)
        self._watched.append(watched)
        return watched

    def _run(self) -> None:
        while not self._stopped.wait(min(1.0, self._seconds / 4)):
            now = time.monotonic()
            while self._watched and (self._watched[0].done or self._watched[0].deadline < now):
                late = self._watched.popleft()
                if not late.done:
                    late.context.cancel()
