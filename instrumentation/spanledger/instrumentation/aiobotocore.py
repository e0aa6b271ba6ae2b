"""Amazon Bedrock through aiobotocore (and so aioboto3): botocore's requests and answers, read asynchronously.

Its client has an ``_make_api_call`` of its own, which is patched as botocore's is; what it answers are botocore's
documents, with bodies and event streams that are awaited.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from spanledger.instrumentation._answer import Answer, StreamReader
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._streams import Reading, end_when_closed
from spanledger.instrumentation.botocore import BodyReader, ClientHooks, end_with_close


@dataclass(frozen=True, slots=True)
class Aiobotocore:
    """The SDK as the runtime knows it."""

    name: str = "aiobotocore"

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch the imported SDK; what it lacks is reported to `problems`, and the rest still works."""
        version = str(getattr(sys.modules.get("aiobotocore"), "__version__", "?"))
        patches = Patches()
        hooks = _Hooks(self.name, version, recorder, problems, patches)
        hooks.wrap(module, "AioBaseClient", "_make_api_call", hooks.around_async)
        hooks.wrap(sys.modules.get("aiobotocore.endpoint"), "AioEndpoint", "_needs_retry", hooks.after_attempt_async)
        return patches


class _Hooks(ClientHooks):
    def _watched(self, events: Any, call: Call, reader: StreamReader) -> Any:
        return Reading(events, call, reader)

    def _watch_body(self, call: Call, body: Any, headers: Mapping[str, str]) -> None:
        """Look at a body as it is read. All ways of reading come down to one method of the HTTP response."""
        call.reader = reader = BodyReader(headers)
        # Older bodies are proxies of the response.
        raw: Any = fields(body).get("_raw_stream", getattr(body, "__wrapped__", None))
        if hasattr(raw, "aiter_raw"):  # httpx
            _watch_pieces(call, raw, reader)
        elif hasattr(getattr(raw, "content", None), "read"):  # aiohttp
            raw.content = _Content(raw.content, call, reader)
            end_with_close(raw, weakref.ref(call))
        else:
            call.notes = (*call.notes, "body_not_read")
            call.finish()


class _Content:
    """The body of aiohttp's response, which looks at what is read. It takes its call with it when it is dropped."""

    def __init__(self, inner: Any, call: Call, reader: BodyReader) -> None:
        self._inner = inner
        self._call = call
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def read(self, n: int = -1) -> bytes:
        call = self._call
        try:
            data: bytes = await self._inner.read(n)
        except BaseException as error:
            call.fail(error)
            raise
        if call.is_open:
            try:
                self._reader.feed(data)
                if self._reader.has_ended(n, data):
                    call.finish()
            except Exception as error:  # noqa: BLE001 - the boundary: the application gets its body
                call.stop_reading(error)
                call.finish()
        return data


class _LastPiece:
    """Ends the call with the last byte of a body, whether its end is looked for or not."""

    def __init__(self, call: Call, reader: BodyReader) -> None:
        self._alive = weakref.ref(call)
        self._reader = reader

    def feed(self, data: bytes) -> bool:
        self._reader.feed(data)
        if self._reader.has_ended(len(data), data) and (call := self._alive()) is not None:
            call.finish()
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        return self._reader.answer(is_complete=is_complete)


def _watch_pieces(call: Call, raw: Any, reader: BodyReader) -> None:
    """Look at the body of httpx's response."""
    methods: Any = raw.__class__
    itself = weakref.ref(raw)
    reading: list[weakref.ref[Any]] = []

    def aiter_raw(*args: Any, **kwargs: Any) -> Any:
        pieces = methods.aiter_raw(itself(), *args, **kwargs)
        reading.append(weakref.ref(pieces))
        return Reading(pieces, call, _LastPiece(call, reader))

    raw.__dict__["aiter_raw"] = aiter_raw
    end_when_closed(raw, call, lambda: reading[-1]() if reading else None, Call.abandon)


AIOBOTOCORE: Final = Aiobotocore()
