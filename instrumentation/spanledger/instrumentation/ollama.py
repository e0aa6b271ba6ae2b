"""The Ollama SDK: which of its requests ask a model, and how to hear of them.

Every method sends its request through ``Client._request`` or its async twin, so these two are patched. A streamed
request is sent when the first piece is asked for; the call starts then.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version as version_of
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, Final

from opentelemetry.context import Context, attach, detach, get_current

from spanledger.instrumentation import _ollama as documents
from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._hooks import MethodHooks
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, text
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._streams import watch, watch_async

_POSTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        "/api/chat": documents.CHAT,
        "/api/generate": documents.GENERATE,
        "/api/embed": documents.EMBEDDINGS,
        "/api/embeddings": documents.EMBEDDINGS,
        "/v1/systemone": documents.SCORES,
    }
)


@dataclass(frozen=True, slots=True)
class Ollama:
    """The SDK as the runtime knows it."""

    name: str = "ollama"

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch the imported SDK; what it lacks is reported to `problems`, and the rest still works."""
        version = version_of(self.name)  # the SDK's module does not tell
        patches = Patches()
        hooks = _Hooks(self.name, version, recorder, problems, patches)
        hooks.wrap(module, "Client", "_request", hooks.request)
        hooks.wrap(module, "AsyncClient", "_request", hooks.request_async)
        return patches


class _Hooks(MethodHooks):
    """The wrappers. Both methods take ``(cls, method, path, json=..., stream=False)``."""

    def request(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._streams(args, kwargs):
            return self.around(wrapped, instance, args, kwargs)
        return self._stream(wrapped(*args, **kwargs), instance, args, kwargs, get_current())

    async def request_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._streams(args, kwargs):
            return await self.around_async(wrapped, instance, args, kwargs)
        return self._stream_async(await wrapped(*args, **kwargs), instance, args, kwargs, get_current())

    def _streams(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return self.patches.is_active and bool(kwargs.get("stream")) and _find(args) is not None

    def _stream(
        self,
        chunks: Generator[Any, None, None],
        client: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        asked_in: Context,
    ) -> Generator[Any, None, None]:
        with closing(chunks):
            with _attached(asked_in):
                call = self.begin(self.start, client, args, kwargs)
                try:
                    first: list[Any] = list(islice(chunks, 1))
                except BaseException as error:
                    self.failed(call, error)
                    raise
                whole = chain(first, chunks)
                answer = whole if call is None else self.answered(call, whole)
            yield from answer

    async def _stream_async(
        self,
        chunks: AsyncGenerator[Any, None],
        client: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        asked_in: Context,
    ) -> AsyncGenerator[Any, None]:
        async with aclosing(chunks):
            first: list[Any] = []
            with _attached(asked_in):
                call = self.begin(self.start, client, args, kwargs)
                try:
                    async for chunk in chunks:
                        first.append(chunk)
                        break
                except BaseException as error:
                    self.failed(call, error)
                    raise
                whole: Any = _joined(first, chunks)
                answer = whole if call is None else self.answered(call, whole)
            async with aclosing(answer):
                async for chunk in answer:
                    yield chunk

    def start(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        endpoint = _find(args)
        if endpoint is None:
            return None
        http = instance._client
        facts = self.facts_at(
            instance,
            base_url=http.base_url,
            credential=text(http.headers.get("authorization")).removeprefix("Bearer ") or None,
            wire="ollama",
        )
        body = {**fields(kwargs.get("json")), "stream": bool(kwargs.get("stream"))}
        return self.recorder.begin(endpoint, instance, facts, body)

    def read_error(self, call: Call, error: BaseException, _told: Any) -> None:
        status = fields(error).get("status_code")
        call.status_code = status if isinstance(status, int) and status > 0 else None
        call.fail(error)

    def read_answer(self, call: Call, answer: Any, _told: Any) -> Any:
        call.status_code = 200  # the SDK raises for anything else
        if not call.is_stream:
            self.finish(call, answer)
            return answer
        watcher: Any = watch_async if hasattr(answer, "__aiter__") else watch
        return watcher(answer, call, self.reader(call))


def _find(args: tuple[Any, ...]) -> Endpoint | None:
    return _POSTS.get(args[2]) if len(args) > 2 and args[1] == "POST" else None


@contextmanager
def _attached(context: Context) -> Generator[None, None, None]:
    """A stream belongs where it was asked for, also when it is read elsewhere."""
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


async def _joined(first: list[Any], rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    for chunk in first:
        yield chunk
    async for chunk in rest:
        yield chunk


OLLAMA: Final = Ollama()
