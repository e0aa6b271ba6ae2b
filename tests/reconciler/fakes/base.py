"""What all fakes share: questions, answers, injected failures, a socket."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx


@dataclass(frozen=True)
class Question:
    method: str
    path: str
    params: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    body: bytes
    host: str = ""

    def one(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.params if key == name), default)

    def many(self, name: str) -> list[str]:
        """Both array encodings: ``name=a&name=b`` and ``name[]=a&name[]=b``."""
        return [value for key, value in self.params if key in (name, f"{name}[]")]

    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    def without(self, *names: str) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(pair for pair in self.params if pair[0] not in names))


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def answer(document: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON answer; a str is sent as it is (for numbers that json would reformat)."""
    text = document if isinstance(document, str) else json.dumps(document)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, text.encode(), {"content-type": "application/json", **named})


class Fake:
    """Answers questions; queued faults come first; remembers every question."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self._faults: deque[tuple[Callable[[Question], bool], Answer | Exception]] = deque()
        self._lock = threading.Lock()

    def fail_next(self, *faults: Answer | Exception, when: Callable[[Question], bool] = lambda _: True) -> None:
        """The next matching questions get these answers instead, one each."""
        self._faults.extend((when, fault) for fault in faults)

    def handle(self, question: Question) -> Answer:
        with self._lock:
            self.questions.append(question)
            for index, (when, fault) in enumerate(self._faults):
                if when(question):
                    del self._faults[index]
                    if isinstance(fault, Exception):
                        raise fault
                    return fault
        return self.reply(question)

    def reply(self, question: Question) -> Answer:
        raise NotImplementedError

    def asked(self, part: str) -> list[Question]:
        return [question for question in self.questions if part in question.path]


def transport(*fakes: Fake, hosts: dict[str, Fake] | None = None) -> httpx.MockTransport:
    """All requests go to the fake of their host, or to the only one."""

    def handler(request: httpx.Request) -> httpx.Response:
        fake = (hosts or {}).get(request.url.host) or fakes[0]
        reply = fake.handle(
            Question(
                request.method,
                request.url.path,
                tuple(parse_qsl(request.url.query.decode(), keep_blank_values=True)),
                {name.lower(): value for name, value in request.headers.items()},
                request.read(),
                request.url.host,
            )
        )
        return httpx.Response(reply.status, content=reply.body, headers=reply.headers)

    return httpx.MockTransport(handler)


@contextlib.contextmanager
def serving(fake: Fake) -> Iterator[str]:
    """The fake behind a real HTTP server on a free port of this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            question = Question(
                self.command,
                unquote(parts.path),
                tuple(parse_qsl(parts.query, keep_blank_values=True)),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length),
                self.headers.get("host", ""),
            )
            try:
                reply = fake.handle(question)
            except httpx.TransportError:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = _any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def days(since: date, until: date) -> list[date]:
    return [since + timedelta(days=offset) for offset in range((until - since).days)]


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def seconds(day: date) -> int:
    return int(midnight(day).timestamp())


def zulu(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
