"""A scripted provider on a real socket, and the instrumentation switched on around one test.

The SDKs are the installed ones: these tests run against the newest supported versions and, in their own environment,
against the oldest.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanledger import instrumentation

sys.path.insert(0, str(Path(__file__).parent / "support"))  # llm_wire, for the test modules

OPENAI_KEY = "sk-test-openai"
ANTHROPIC_KEY = "sk-ant-test"


@dataclass
class Reply:
    """What the provider answers: a JSON document, or server-sent events, which may break off."""

    document: Any = None
    events: list[Any] | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    breaks_off: bool = False
    """Cut the connection after the last event, without an end."""
    content_type: str = "application/json"
    cuts: bool = False
    """Close the connection instead of answering."""
    waits_after: int | None = None
    """Send this many events, then nothing until the client goes away or the test ends."""

    def body(self) -> bytes:
        return json.dumps(self.document).encode()


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Provider:
    """Serves the replies that a test queues, in order, and keeps the requests."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                raw = self.rfile.read(length)
                body = json.loads(raw) if raw and raw[:1] in b"{[" else raw
                headers = {name.lower(): value for name, value in self.headers.items()}
                provider.requests.append(Request(self.command, self.path, headers, body))
                provider.serve(self, provider.replies.pop(0))

            do_GET = do_POST  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *args: Any) -> None:
                pass  # clients that go away are part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, name="provider", daemon=True
        )
        self._thread.start()

    def serve(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.cuts:
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if reply.events is None:
            body = reply.body()
            handler.send_header("content-type", reply.content_type)
            handler.send_header("content-length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            return
        handler.send_header("content-type", "text/event-stream; charset=utf-8")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for index, event in enumerate(reply.events):
            if index == reply.waits_after:
                self.stopping.wait(20)
                handler.close_connection = True
                return
            data = event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
            if isinstance(event, dict) and "type" in event:
                data = b"event: " + event["type"].encode() + b"\n" + data
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        if reply.breaks_off:
            handler.close_connection = True
            return
        handler.wfile.write(b"0\r\n\r\n")

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.close()
    assert not provider.replies, "replies that nobody asked for"


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


def http_module(sdk: str) -> Any:
    """The HTTP library that an SDK was built on: httpx2 for the newest ones, httpx before."""
    base = importlib.import_module(f"{sdk}._base_client")
    return getattr(base, "httpx2", None) or base.httpx


def towards(provider: Provider, sdk: str, *, is_async: bool = False) -> Any:
    """An HTTP client that sends requests for any host to the provider: base URLs stay what users write."""
    http = http_module(sdk)

    def redirect(request: Any) -> Any:
        request.extensions["sni_hostname"] = "localhost"
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=provider.port)
        return request

    class Transport(http.HTTPTransport):
        def handle_request(self, request: Any) -> Any:
            return super().handle_request(redirect(request))

    class AsyncTransport(http.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            return await super().handle_async_request(redirect(request))

    # No connection outlives its response: there is nothing to close after a test.
    limits = http.Limits(max_keepalive_connections=0)
    if is_async:
        return http.AsyncClient(transport=AsyncTransport(limits=limits))
    return http.Client(transport=Transport(limits=limits))


class Clients:
    """SDK clients that talk to the provider under the hosts that users know."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def openai(self, cls: str = "OpenAI", **options: Any) -> Any:
        import openai

        http = towards(self._provider, "openai", is_async=cls.startswith("Async"))
        return getattr(openai, cls)(**{"api_key": OPENAI_KEY, "http_client": http, "max_retries": 0, **options})

    def anthropic(self, cls: str = "Anthropic", **options: Any) -> Any:
        import anthropic

        http = towards(self._provider, "anthropic", is_async=cls.startswith("Async"))
        if cls.endswith("Anthropic"):
            options = {"api_key": ANTHROPIC_KEY, **options}
        return getattr(anthropic, cls)(**{"http_client": http, "max_retries": 0, **options})

    def groq(self, cls: str = "Groq", **options: Any) -> Any:
        import groq

        http = towards(self._provider, "groq", is_async=cls.startswith("Async"))
        return getattr(groq, cls)(**{"api_key": "gsk_test", "http_client": http, "max_retries": 0, **options})


@pytest.fixture
def clients(provider: Provider) -> Clients:
    return Clients(provider)


class Telemetry:
    """Spans and metrics of one test; nothing global is touched but the patches."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider(metric_readers=[self._reader])

    def spans(self) -> list[ReadableSpan]:
        instrumentation.flush()
        return list(self._exporter.get_finished_spans())

    def span(self) -> ReadableSpan:
        spans = self.spans()
        assert len(spans) == 1, [span.name for span in spans]
        return spans[0]

    def attributes(self) -> dict[str, Any]:
        return dict(self.span().attributes or {})

    def usage(self) -> dict[str, int]:
        """Token classes and counts of the one span, by their short names."""
        prefix = "spanledger.usage."
        return {
            name.removeprefix(prefix): value for name, value in self.attributes().items() if name.startswith(prefix)
        }

    def points(self, metric: str) -> list[Any]:
        instrumentation.flush()
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for found in scope.metrics
            if found.name == metric
            for point in found.data.data_points
        ]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    telemetry.tracer_provider.shutdown()
    telemetry.meter_provider.shutdown()


@pytest.fixture
def switch_on(telemetry: Telemetry) -> Iterator[Callable[..., Telemetry]]:
    """Switch the instrumentation on with an environment, its own errors raised; off again after the test."""

    swallows: list[bool] = []

    def on(environment: dict[str, str] | None = None, **options: Any) -> Telemetry:
        options = {"raise_errors": True, **options}
        swallows.append(not options["raise_errors"])
        instrumentation.instrument(
            tracer_provider=telemetry.tracer_provider,
            meter_provider=telemetry.meter_provider,
            environment=environment or {},
            **options,
        )
        return telemetry

    yield on
    instrumentation.uninstrument()
    if not any(swallows):
        assert instrumentation.problems() == []


@pytest.fixture
def on(switch_on: Callable[..., Telemetry]) -> Telemetry:
    """The instrumentation, switched on with nothing set."""
    return switch_on()


async def _drained(stream: Any, count: int | None) -> list[Any]:
    found: list[Any] = []
    async for chunk in stream:
        found.append(chunk)
        if len(found) == count:
            break
    return found


class Style:
    """The same test, told in the synchronous and in the asynchronous SDK."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __repr__(self) -> str:
        return self.prefix.lower() or "sync"

    @property
    def is_async(self) -> bool:
        return bool(self.prefix)

    def call(self, make: Callable[[], Any]) -> Any:
        """Make a request and wait for what it returns."""
        if not self.is_async:
            return make()

        async def wait() -> Any:
            return await make()

        return asyncio.run(wait())

    def chunks(self, make: Callable[[], Any], count: int | None = None) -> list[Any]:
        """Read a stream, whole or its first chunks, and drop it."""
        if not self.is_async:
            found: list[Any] = []
            for chunk in make():
                found.append(chunk)
                if len(found) == count:
                    break
            return found

        async def read() -> list[Any]:
            stream = await make()
            return await _drained(stream, count)

        return asyncio.run(read())


@pytest.fixture(params=["", "Async"], ids=["sync", "async"])
def style(request: pytest.FixtureRequest) -> Style:
    return Style(request.param)
