"""Watches a stream from inside: the SDK's stream object stays what it is, only its iterator is replaced.

A generator costs a few hundredths of a microsecond per chunk, a proxy object several times that, and the caller's
``type(stream)`` does not change.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter_ns
from typing import Any

from spanledger.instrumentation._answer import StreamReader
from spanledger.instrumentation._call import Call


def watch(
    inner: Iterator[Any],
    call: Call,
    reader: StreamReader,
    fail: Callable[[Call, BaseException], None] = Call.fail,
) -> Iterator[Any]:
    """Pass chunks through; the call ends with the last one, with an error, or when the caller drops the stream.

    ``fail`` is called with the call and what reading raised.
    """
    feed = reader.feed
    is_first = True
    try:
        for chunk in inner:
            if is_first:
                is_first = False
                call.first_chunk_ns = perf_counter_ns()
            try:
                is_hidden = feed(chunk)
            except Exception as error:  # noqa: BLE001 - the boundary: the caller gets its chunk whatever we make of it
                feed = call.stop_reading(error)
                is_hidden = False
            if not is_hidden:
                yield chunk
    except GeneratorExit:
        call.abandon()
        raise
    except BaseException as error:
        fail(call, error)
        raise
    else:
        call.finish()


async def watch_async(inner: AsyncIterator[Any], call: Call, reader: StreamReader) -> AsyncIterator[Any]:
    """`watch` for asynchronous streams; a cancelled task fails the call with ``CancelledError``."""
    feed = reader.feed
    is_first = True
    try:
        async for chunk in inner:
            if is_first:
                is_first = False
                call.first_chunk_ns = perf_counter_ns()
            try:
                is_hidden = feed(chunk)
            except Exception as error:  # noqa: BLE001 - the boundary: the caller gets its chunk whatever we make of it
                feed = call.stop_reading(error)
                is_hidden = False
            if not is_hidden:
                try:
                    yield chunk
                except BaseException:
                    # Nobody reads on. At the end of an event loop, that comes as the cancellation of what closes this.
                    call.abandon()
                    raise
    except BaseException as error:
        call.fail(error)
        raise
    else:
        call.finish()


class Reading:
    """`watch_async` for streams that the SDK drops without closing them.

    An asynchronous generator that is dropped is closed by the event loop, some time later or, at the loop's end, never
    in order; this takes its call with it at once.

    Args:
        inner: what is read.
        call: the call; it ends with the last chunk, with an error, or when this is dropped.
        reader: looks at the chunks.
        fail: called with the call and what reading raised.
    """

    def __init__(
        self,
        inner: AsyncIterator[Any],
        call: Call,
        reader: StreamReader,
        fail: Callable[[Call, BaseException], None] = Call.fail,
    ) -> None:
        self._next = aiter(inner).__anext__
        self._call = call
        self._feed = reader.feed
        self._fail = fail

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> Any:
        call = self._call
        while True:
            try:
                chunk = await self._next()
            except StopAsyncIteration:
                call.finish()
                raise
            except BaseException as error:
                self._fail(call, error)
                raise
            if call.is_stream and not call.first_chunk_ns:
                call.first_chunk_ns = perf_counter_ns()
            try:
                is_hidden = self._feed(chunk)
            except Exception as error:  # noqa: BLE001 - the boundary: the caller gets its chunk, as in `watch`
                self._feed = call.stop_reading(error)
                is_hidden = False
            if not is_hidden:
                return chunk


def end_when_closed(response: Any, call: Call, reading: Callable[[], Any], stopped: Callable[[Call], None]) -> None:
    """End the call when the application closes the HTTP response before its end, not only when it is collected.

    Every way of leaving a stream early (``close()``, a ``with`` block of the SDK or of one of its helpers) comes down
    to closing the response. The SDK also closes it itself, from inside the iterator, when the last chunk has come; the
    iterator is running then, which tells the two apart.

    Args:
        response: the HTTP response (httpx or httpx2).
        call: the call; not kept alive by this.
        reading: gives the (async) generator that reads the response, or ``None``.
        stopped: called with the call when it was closed early.
    """
    known: dict[str, Any] = response.__dict__
    methods: Any = response.__class__
    alive = weakref.ref(call)

    def closing() -> None:
        if (open_call := alive()) is None or not open_call.is_open:
            return
        generator = reading()
        if not (getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False)):
            stopped(open_call)

    def close() -> None:
        closing()
        methods.close(response)

    async def aclose() -> None:
        closing()
        await methods.aclose(response)

    known["close"] = close
    known["aclose"] = aclose
