"""The life of one call, the same for every SDK: start, first chunk, then exactly one of finish, fail or abandon.

The calling thread starts the span (so that it is current during the request, and sampled with its parent) and notes
what happened. `Recorder.complete` writes everything else, later, in another thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from time import perf_counter_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span

from spanledger.instrumentation._answer import Answer, Endpoint, StreamReader
from spanledger.instrumentation._clients import Billed, ClientFacts
from spanledger.semconv import names

if TYPE_CHECKING:
    from spanledger.instrumentation._recorder import Recorder
    from spanledger.semconv.observation import ToolCall

current_call: Final[ContextVar[Call | None]] = ContextVar("spanledger_call", default=None)
"""The call whose request is being sent in this thread or task."""

_is_finalizing: Final = sys.is_finalizing
FINISHED: Final = "finished"
FAILED: Final = "failed"
ABANDONED: Final = "abandoned"


def _show(_chunk: Any) -> bool:
    return False


HEADERS: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        b"x-request-id": names.REQUEST_ID,
        b"request-id": names.REQUEST_ID,
        b"apim-request-id": names.REQUEST_ID,
        b"x-amzn-requestid": names.REQUEST_ID,
        b"x-debug-trace-id": names.REQUEST_ID,  # Cohere
        b"mistral-correlation-id": names.REQUEST_ID,
        b"openai-organization": names.ORGANIZATION,
        b"anthropic-organization-id": names.ORGANIZATION,
        b"openai-project": names.PROJECT,
        b"anthropic-workspace-id": names.WORKSPACE,
    }
)
"""Span attributes by response header: the ids under which a provider's bill and support know the request."""


def identities(headers: Any) -> dict[str, str]:
    """What the headers of an HTTP response (httpx or httpx2) say of who is billed for what, by span attribute."""
    found: dict[str, str] = {}
    for name, value in headers.raw:
        attribute = HEADERS.get(name.lower())
        if attribute is not None:
            found[attribute] = value.decode("ascii", "replace")
    return found


class Call:
    """One call, from the request to its last chunk. Everything that `Recorder.complete` needs, and nothing read yet."""

    __slots__ = (
        "__weakref__",
        "_is_open",
        "answer",
        "around",
        "billed",
        "block_labels",
        "client_labels",
        "context",
        "counts",
        "document",
        "ended_ns",
        "endpoint",
        "error_code",
        "error_type",
        "facts",
        "first_chunk_ns",
        "headers",
        "http_headers",
        "input",
        "is_covered",
        "is_stream",
        "last_failure",
        "model",
        "notes",
        "outcome",
        "reader",
        "recorder",
        "request",
        "resends",
        "span",
        "started_ns",
        "started_wall_ns",
        "status_code",
        "tokens",
        "tool_results",
        "usage_was_asked_for",
    )

    _is_open: bool
    around: Call | None
    """The call of a library whose request this one is."""
    is_covered: bool
    """A call inside this one is recorded in its place."""
    recorder: Recorder
    endpoint: Endpoint
    facts: ClientFacts
    billed: Billed
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
    counts: Mapping[str, int] | None
    block_labels: Mapping[str, str]
    client_labels: Mapping[str, str]
    usage_was_asked_for: bool
    headers: Mapping[str, str] | None
    """What the SDK's module read of the response's headers, by span attribute."""
    http_headers: Any
    """The headers of an HTTP response (httpx or httpx2), to be read when the call is completed."""
    status_code: int | None
    resends: int
    """How often the SDK sent the request again; only the last attempt can be billed."""
    last_failure: tuple[int, Mapping[str, Any]]
    """When an attempt failed (ns since the epoch), and how; not set while none did."""
    answer: Answer | None
    document: bytes | None
    reader: StreamReader | None
    outcome: str
    error_type: str
    error_code: str
    notes: tuple[str, ...]

    def __init__(self) -> None:
        self.around = None
        self.is_covered = False
        self.first_chunk_ns = 0
        self.input = None
        self.tool_results = None
        self.counts = None
        self.usage_was_asked_for = False
        self.headers = None
        self.http_headers = None
        self.status_code = None
        self.resends = 0
        self.answer = None
        self.document = None
        self.reader = None
        self.error_type = ""
        self.error_code = ""
        self.notes = ()

    @property
    def is_open(self) -> bool:
        return hasattr(self, "_is_open")

    def opened(self) -> None:
        """The call has started: from here on it ends exactly once, whatever happens."""
        self._is_open = True

    def responded(self, response: Any) -> None:
        """The HTTP response has arrived."""
        self.status_code = response.status_code
        self.http_headers = response.headers

    def finish(self) -> None:
        """The answer is complete (the last chunk was read, or it was no stream)."""
        self._end(FINISHED)

    def fail(self, error: BaseException, *, code: str = "") -> None:
        """The request or its stream raised. Keeps the error's name and code, not its text: that may quote content.

        Args:
            error: what was raised.
            code: the provider's word for it, where the error keeps it elsewhere than in ``code`` or ``type``.
        """
        if not self.is_open:
            return
        self.error_type = type(error).__qualname__
        told = code or getattr(error, "code", None) or getattr(error, "type", None)
        self.error_code = told if isinstance(told, str) else ""
        response = getattr(error, "response", None)
        if self.status_code is None and hasattr(getattr(response, "headers", None), "raw"):
            self.responded(response)
        self._end(FAILED)

    def refuse(self, error_type: str, *, code: str = "") -> None:
        """The provider answered with an error status, which the SDK raises later, out of our sight.

        Args:
            error_type: the name of the exception that it raises.
            code: the provider's word for what was wrong.
        """
        if not self.is_open:
            return
        self.error_type = error_type
        self.error_code = code
        self._end(FAILED)

    def abandon(self) -> None:
        """The caller stopped reading the answer: closed it, dropped it, or was cancelled."""
        if self.is_open and self.started_ns < self.recorder.forked_ns:
            self.discard()  # a copy that a forked child drops: the parent reads on
        self._end(ABANDONED)

    def discard(self) -> None:
        """There is nothing to record: the request that it stood for was recorded elsewhere, or none was made."""
        if self.is_open:
            del self._is_open

    def stop_reading(self, error: Exception) -> Callable[[Any], bool]:
        """A chunk could not be read, which is our failing: the rest passes unread, and usage stays what was seen."""
        self.notes = (*self.notes, "unreadable_chunk")
        self.recorder.failed("reading a stream", error)
        return _show

    def _end(self, outcome: str) -> None:
        try:
            del self._is_open
        except AttributeError:
            return  # ended before, or never started; deleting decides between threads
        self.ended_ns = perf_counter_ns()
        self.outcome = outcome
        self.recorder.submit(self)

    def complete(self, *, may_block: bool) -> None:
        """Write the span and the metrics; called once, after the end."""
        self.recorder.complete(self, may_block=may_block)

    def __del__(self) -> None:
        # A response that was dropped unread takes its call with it. At the interpreter's end nobody would export it.
        if not _is_finalizing() and self.is_open:
            self.abandon()
