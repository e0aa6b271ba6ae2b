"""Watches response bodies that the application reads itself (``with_raw_response``, ``with_streaming_response``).

Nothing is read early: a body that the SDK has read already is decoded later, off the caller's thread; one that is still
on the wire is looked at as the application reads it.
"""

from __future__ import annotations

import json
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from time import perf_counter_ns
from typing import Any, Final

from spanledger.instrumentation._answer import StreamReader
from spanledger.instrumentation._batches import record_item
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._streams import end_when_closed

MAX_DOCUMENT_BYTES: Final = 8 * 1024 * 1024
"""A larger JSON body is let go unread: its usage stays unknown."""
_MAX_LINE_BYTES: Final = 1024 * 1024
_EVENT_STREAM: Final = "text/event-stream"


def watch_response(
    call: Call, response: Any, new_reader: Callable[[], StreamReader] | None, *, has_lines: bool = False
) -> None:
    """Read the answer from an HTTP response (httpx or httpx2), now if its body is there, else as it is read.

    Args:
        new_reader: makes a reader for the case that the body turns out to be a stream of events.
        has_lines: a stream of this provider may as well be one JSON document a line, whatever its content type says.
    """
    kind = str(response.headers.get("content-type", ""))
    if response.is_closed:
        if "json" in kind:
            call.document = response.content
        call.finish()
        return
    sink: _Sink
    if call.endpoint.read_item is not None:
        sink = _ItemSink(call, str(response.request.url.path))
    elif new_reader is not None and (has_lines or kind.startswith(_EVENT_STREAM)):
        call.reader = new_reader()
        sink = _EventSink(call, has_lines=has_lines)
    else:
        sink = _DocumentSink(call, is_wanted="json" in kind)
    # `read`, `iter_text`, `iter_lines` and the SDK's own streams all read through these two.
    known: dict[str, Any] = response.__dict__
    methods: Any = response.__class__
    known["iter_bytes"] = _watched(methods.iter_bytes, response, sink)
    known["aiter_bytes"] = _watched_async(methods.aiter_bytes, response, sink)
    end_when_closed(response, call, lambda: sink.reading() if sink.reading else None, lambda _call: sink.closed())


class _Sink(ABC):
    """Sees the decoded bytes of one body."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.reading: weakref.ref[Any] | None = None
        """The generator that gives the application the body."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """A piece of the body."""

    @abstractmethod
    def end(self) -> None:
        """The body was read to its end."""

    def seen(self, data: bytes) -> None:
        """`feed`, for the application's thread: no error of ours gets out."""
        if not self._call.first_chunk_ns:
            self._call.first_chunk_ns = perf_counter_ns()
        try:
            self.feed(data)
        except Exception as error:  # noqa: BLE001 - the boundary: the application goes on reading
            self._call.stop_reading(error)

    def closed(self) -> None:
        """Reading stopped before the end of the body."""
        self._call.abandon()

    def broken(self, error: BaseException) -> None:
        self._call.fail(error)


class _DocumentSink(_Sink):
    """Keeps a JSON body until it is complete."""

    def __init__(self, call: Call, *, is_wanted: bool) -> None:
        super().__init__(call)
        self._is_wanted = is_wanted  # sound and pictures say nothing about usage
        self._parts: list[bytes] = []
        self._bytes = 0

    def feed(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._is_wanted and self._bytes <= MAX_DOCUMENT_BYTES:
            self._parts.append(data)
        else:
            self._parts.clear()

    def end(self) -> None:
        if self._parts:
            self._call.document = b"".join(self._parts)
        elif self._is_wanted:
            self._call.notes = (*self._call.notes, "body_not_read")
        self._call.first_chunk_ns = 0
        self._call.finish()


class _ItemSink(_Sink):
    """Reads a file whose lines are answers, each as soon as it is there: such files are too large to keep."""

    def __init__(self, call: Call, path: str) -> None:
        super().__init__(call)
        assert call.endpoint.read_item is not None
        self._read_item = partial(call.endpoint.read_item, path)
        self._parts: list[bytes] = []
        self._bytes = 0

    def feed(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = b"".join((*self._parts, line))
            self._parts.clear()
            self._bytes = 0
            record_item(self._call, self._read_item, whole)
        self._bytes += len(rest)
        if self._bytes <= MAX_DOCUMENT_BYTES:
            self._parts.append(rest)
        else:
            self._parts.clear()  # no file of lines; or one that is let go unread

    def end(self) -> None:
        self.feed(b"\n")
        self._call.first_chunk_ns = 0
        self._call.finish()


class _EventSink(_Sink):
    """Reads server-sent events line by line and gives the documents to the stream's reader."""

    def __init__(self, call: Call, *, has_lines: bool = False) -> None:
        super().__init__(call)
        self._has_lines = has_lines
        self._rest = b""
        self._reader: StreamReader | None = call.reader
        self._is_done = False

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            self._rest = b""
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            document = line[5:].strip()
        elif self._has_lines and line.startswith(b"{"):
            document = line
        else:
            return
        if document == b"[DONE]":
            self._is_done = True
        elif document and self._reader is not None:
            self._reader.feed(json.loads(document))

    def end(self) -> None:
        if self._rest:
            self.feed(b"\n")
        self._call.finish()

    def closed(self) -> None:
        # The SDK's stream stops reading at `[DONE]`, without waiting for the end of the body.
        if self._is_done:
            self._call.finish()
        else:
            self._call.abandon()


def _watched(method: Callable[..., Iterator[bytes]], response: Any, sink: _Sink) -> Callable[..., Iterator[bytes]]:
    def reading(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        try:
            for data in method(response, *args, **kwargs):
                sink.seen(data)
                yield data
        except GeneratorExit:
            sink.closed()
            raise
        except BaseException as error:
            sink.broken(error)
            raise
        else:
            sink.end()

    def iter_bytes(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        generator = reading(*args, **kwargs)
        sink.reading = weakref.ref(generator)
        return generator

    return iter_bytes


def _watched_async(
    method: Callable[..., AsyncIterator[bytes]], response: Any, sink: _Sink
) -> Callable[..., AsyncIterator[bytes]]:
    async def reading(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        try:
            async for data in method(response, *args, **kwargs):
                sink.seen(data)
                yield data
        except GeneratorExit:
            sink.closed()
            raise
        except BaseException as error:
            sink.broken(error)
            raise
        else:
            sink.end()

    def aiter_bytes(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        generator = reading(*args, **kwargs)
        sink.reading = weakref.ref(generator)
        return generator

    return aiter_bytes


def document_of(body: bytes) -> Mapping[str, Any]:
    """The JSON document of a body; empty for anything else."""
    try:
        decoded: Any = json.loads(body)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}  # pyright: ignore[reportUnknownVariableType]
