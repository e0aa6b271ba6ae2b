"""The fake provider's HTTP server: routes, keys, errors, streams, usage and cost reports, and ``GET /_books``.

It speaks just enough of the OpenAI and Anthropic APIs for the real SDKs, costs nothing, needs no network, and knows to
the last digit what it would have charged. Listens on loopback only.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, cast

from spanledger.cli.demo import anthropic_wire, openai_wire, rates, reports, wire
from spanledger.cli.demo.books import BilledCall, Books
from spanledger.cli.demo.wire import Answer, Request

BAD_KEY: Final = "wrong"
"""Any API key that contains this word is refused with 401."""

AZURE_DEPLOYMENTS: Final[Mapping[str, str]] = {"prod-chat": "gpt-4o", "prod-mini": "gpt-4o-mini"}
"""Azure deployment → model. A deployment that is itself a model name serves that model."""


class FakeProvider:
    """A threaded fake provider; a context manager.

    Args:
        seed: the same seed and the same requests give the same answers, ids and bills.
        port: TCP port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, *, seed: int = 1, port: int = 0) -> None:
        self.seed = seed
        self.books = Books()
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._fail_next: list[dict[str, Any]] = []
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="fake-provider", daemon=True)

    @property
    def url(self) -> str:
        """The base for the Anthropic and Azure clients: ``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai_url(self) -> str:
        """The base for the OpenAI client: ``http://127.0.0.1:PORT/v1``."""
        return f"{self.url}/v1"

    def start(self) -> FakeProvider:
        """Serve in a background thread."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving; returns when the listener is closed."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> FakeProvider:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fail_next(self, status: int, *, times: int = 1, retry_after: str = "") -> None:
        """Answer the next ``times`` requests with an error (like ``x-fake``, for clients that cannot send headers)."""
        with self._lock:
            self._fail_next += [{"status": status, "retry_after": retry_after} for _ in range(times)]

    def planned_failure(self, request: Request) -> Mapping[str, Any] | None:
        """The error that this request must get, if any."""
        with self._lock:
            if self._fail_next:
                return self._fail_next.pop(0)
            if "status" not in request.steer:
                return None
            key = str(request.steer.get("key", ""))
            times = request.steer.get("times")
            if times is not None and self._failed[key] >= int(times):
                return None
            self._failed[key] += 1
            return request.steer

    def ordinal(self, request: Request) -> int:
        """How often the same body was answered before."""
        key = json.dumps(request.body, sort_keys=True) + request.path
        with self._lock:
            self._asked[key] += 1
            return self._asked[key] - 1

    def answer(self, request: Request) -> Answer | None:
        """Decide the answer; None when the path or the model is unknown."""
        ordinal = self.ordinal(request)
        rng = wire.draw(self.seed, request.body, ordinal)
        model = str(request.body.get("model", ""))
        if request.path == "/v1/messages":
            return anthropic_wire.messages(request, model, rng, ordinal)
        provider, path = "openai", request.path
        if path.startswith("/openai/"):
            provider = "azure_openai"
            parts = path.split("/")
            if path.startswith("/openai/deployments/") and len(parts) > 4:
                model, path = parts[3], "/v1/" + "/".join(parts[4:])
            else:
                path = path.removeprefix("/openai")
            model = AZURE_DEPLOYMENTS.get(model, model)
        routes = {
            "/v1/chat/completions": openai_wire.chat,
            "/v1/responses": openai_wire.responses,
            "/v1/embeddings": openai_wire.embeddings,
        }
        route = routes.get(path)
        return route(request, model, rng, provider=provider) if route else None


def price(answer: Answer) -> dict[str, Decimal]:
    """The exact US dollars of each part of an answer, from the fake provider's own table."""
    if answer.provider == "anthropic":
        rate = anthropic_wire.rate_of(answer.model)
    else:
        found = openai_wire.rate_of(answer.model, answer.service_tier)
        rate = found[1] if found else None
    if rate is None:
        raise LookupError(answer.model)
    return rates.by_class(rate, answer.charge)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], provider: FakeProvider) -> None:
        self.provider = provider
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle of a stream is normal here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _provider(self) -> FakeProvider:
        assert isinstance(self.server, _Server)
        return self.server.provider

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the books are the log."""

    def do_GET(self) -> None:
        if self.path == "/_books":
            self._send(200, self._provider.books.as_json(), {})
            return
        key = self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")
        status, body, extra = reports.answer(self._provider.books, self.path, key)
        self._send(status, body, extra)

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(length)
        path = self.path.split("?", 1)[0]
        error = anthropic_wire.error if path == "/v1/messages" else openai_wire.error
        books = self._provider.books
        try:
            body = json.loads(raw)
            steer = json.loads(self.headers.get("x-fake", "{}"))
        except ValueError:
            body, steer = None, {}
        if not isinstance(body, dict):
            books.refuse()
            self._send(400, error(400), {})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            path=path, body=cast("dict[str, Any]", body), headers=headers, steer=cast("dict[str, Any]", steer)
        )
        key = (
            headers.get("x-api-key")
            or headers.get("api-key")
            or headers.get("authorization", "").removeprefix("Bearer ")
        )
        failure = self._provider.planned_failure(request)
        if failure is not None or not key or BAD_KEY in key:
            status = int(failure["status"]) if failure is not None else 401
            extra = {"retry-after": str(failure["retry_after"])} if failure and failure.get("retry_after") else {}
            books.refuse()
            self._send(status, error(status), extra)
            return
        answer = self._provider.answer(request)
        if answer is None:
            books.refuse()
            self._send(404, error(404), {})
            return
        self._deliver(request, answer, key)

    def _deliver(self, request: Request, answer: Answer, key: str) -> None:
        request_id = wire.identifier(wire.draw(time.time_ns(), {"id": answer.response_id}, 0), "req_")
        extra = {"request-id" if answer.provider == "anthropic" else "x-request-id": request_id}

        def bill(*, delivered: bool) -> None:
            call = BilledCall(
                provider=answer.provider,
                model=answer.model,
                operation=answer.operation,
                response_id=answer.response_id,
                request_id=request_id,
                at_ns=time.time_ns(),
                tokens=answer.charge.tokens,
                web_searches=answer.charge.web_searches,
                parts=price(answer),
                api_key=key,
                service_tier=answer.service_tier,
                is_stream=request.wants_stream,
                delivered=delivered,
            )
            self._provider.books.bill(call)

        # Billed before the last byte is sent: whoever has read an answer finds it in the books.
        if answer.body is not None:
            bill(delivered=True)
            self._send(200, answer.body, extra)
            return
        events = list(_sse(answer))
        cut_after = request.steer.get("cut_after")
        kept = events if cut_after is None else events[: int(cut_after)]
        try:
            self._begin_stream(extra)
            for event in kept[:-1]:
                self._chunk(event)
                time.sleep(int(request.steer.get("delay_ms", 0)) / 1000)
        except OSError:  # the caller hung up: what was generated is billed all the same
            bill(delivered=False)
            self.close_connection = True
            return
        bill(delivered=len(kept) == len(events))
        if kept:
            self._chunk(kept[-1])
        if len(kept) == len(events):
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True  # without the closing chunk: the caller sees a broken stream

    def _begin_stream(self, extra: Mapping[str, str]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()

    def _chunk(self, event: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.flush()

    def _send(self, status: int, body: Mapping[str, Any], extra: Mapping[str, str]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)


def _sse(answer: Answer) -> Iterator[bytes]:
    for name, data in answer.events:
        text = data if isinstance(data, str) else json.dumps(data)
        head = f"event: {name}\n" if name else ""
        yield f"{head}data: {text}\n\n".encode()
