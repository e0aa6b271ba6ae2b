"""The life of one call, the same for every SDK: start, first chunk, then exactly one of finish, fail or abandon.

The calling thread starts the span (so that it is current during the request, and sampled with its parent) and notes
what happened. `Recorder.complete` writes everything else, later, in another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span

from spanledger.instrumentation._answer import Endpoint, StreamReader
from spanledger.instrumentation._clients import ClientFacts

if TYPE_CHECKING:
    from spanledger.instrumentation._recorder import Recorder
    from spanledger.semconv.observation import ToolCall

current_call: Final[ContextVar[Call | None]] = ContextVar("spanledger_call", default=None)
"""The call whose request is being sent in this thread or task."""

FINISHED: Final = "finished"
FAILED: Final = "failed"
ABANDONED: Final = "abandoned"


def _show(_chunk: Any) -> bool:
    return False


class Call:
    """One call, from the request to its last chunk. Everything that `Recorder.complete` needs, and nothing read yet."""

    __slots__ = (
        "__weakref__",
        "_open",
        "block_labels",
        "client_labels",
        "context",
        "document",
        "ended_ns",
        "endpoint",
        "error_code",
        "error_type",
        "facts",
        "first_chunk_ns",
        "headers",
        "inbound_baggage",
        "input",
        "is_stream",
        "model",
        "notes",
        "outcome",
        "reader",
        "recorder",
        "request",
        "result",
        "span",
        "started_ns",
        "started_wall_ns",
        "status_code",
        "tokens",
        "tool_results",
        "usage",
        "usage_was_asked_for",
    )

    recorder: Recorder
    endpoint: Endpoint
    facts: ClientFacts
    span: Span | None
    context: Context
    tokens: tuple[Token[Call | None], Token[Context]] | None
    started_wall_ns: int
    started_ns: int
    first_chunk_ns: int
    ended_ns: int
    model: str
    is_stream: bool
    request: Mapping[str, Any]
    input: Mapping[str, Any] | None
    tool_results: list[ToolCall] | None
    block_labels: Mapping[str, str]
    client_labels: Mapping[str, str]
    inbound_baggage: Mapping[str, object]
    usage_was_asked_for: bool
    headers: Mapping[str, str] | None
    status_code: int | None
    result: Any
    document: bytes | None
    usage: Mapping[str, Any] | None
    reader: StreamReader | None
    outcome: str
    error_type: str
    error_code: str
    notes: tuple[str, ...]

    def __init__(self) -> None:
        self._open = [True]
        self.first_chunk_ns = 0
        self.input = None
        self.tool_results = None
        self.usage_was_asked_for = False
        self.headers = None
        self.status_code = None
        self.result = None
        self.document = None
        self.usage = None
        self.reader = None
        self.error_type = ""
        self.error_code = ""
        self.notes = ()

    def responded(self, response: Any) -> None:
        """The HTTP response has arrived: keep its headers."""
        self.headers = response.headers
        self.status_code = response.status_code

    def finish(self) -> None:
        """The answer is complete (the last chunk was read, or it was no stream)."""
        self._end(FINISHED)

    def fail(self, error: BaseException) -> None:
        """The request or its stream raised. Keeps the error's name and code, not its text: that may quote content."""
        if not self._open:
            return
        self.error_type = type(error).__qualname__
        code = getattr(error, "code", None) or getattr(error, "type", None)
        self.error_code = code if isinstance(code, str) else ""
        response = getattr(error, "response", None)
        if self.headers is None and response is not None and hasattr(response, "headers"):
            self.responded(response)
        self._end(FAILED)

    def abandon(self) -> None:
        """The caller stopped reading the answer: closed it, dropped it, or was cancelled."""
        self._end(ABANDONED)

    def stop_reading(self, error: Exception) -> Callable[[Any], bool]:
        """A chunk could not be read, which is our failing: the rest passes unread, and usage stays what was seen."""
        self.notes = (*self.notes, "unreadable_chunk")
        self.recorder.failed("reading a stream", error)
        return _show

    def _end(self, outcome: str) -> None:
        try:
            self._open.pop()
        except IndexError:
            return  # ended before; a list's pop decides between threads
        self.ended_ns = perf_counter_ns()
        self.outcome = outcome
        self.recorder.submit(self)

    def __del__(self) -> None:
        # A response that was dropped unread takes its call with it.
        if self._open:
            self._end(ABANDONED)
