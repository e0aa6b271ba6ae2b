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
from spanledger.instrumentation._answer import Endpoint, StreamReader
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import ClientFacts, facts_at
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
        hooks = _Hooks(version, recorder, problems, patches)
        for name, wrapper in (("Client", hooks.request), ("AsyncClient", hooks.request_async)):
            client = getattr(module, name, None)
            if client is None or "_request" not in vars(client):
                problems.missing(self.name, version, f"{name}._request")
            else:
                patches.wrap(client, "_request", wrapper)
        return patches


class _Hooks:
    """The wrappers. Both methods take ``(cls, method, path, json=..., stream=False)``."""

    def __init__(self, version: str, recorder: Recorder, problems: Problems, patches: Patches) -> None:
        self._version = version
        self._recorder = recorder
        self._problems = problems
        self._patches = patches

    def request(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        endpoint = self._find(args)
        if endpoint is None:
            return wrapped(*args, **kwargs)
        if kwargs.get("stream"):
            return self._stream(endpoint, wrapped(*args, **kwargs), instance, kwargs, get_current())
        call = self._begin(endpoint, instance, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        try:
            answer = wrapped(*args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        self._answered(call, answer)
        return answer

    async def request_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        endpoint = self._find(args)
        if endpoint is None:
            return await wrapped(*args, **kwargs)
        if kwargs.get("stream"):
            chunks = await wrapped(*args, **kwargs)
            return self._stream_async(endpoint, chunks, instance, kwargs, get_current())
        call = self._begin(endpoint, instance, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        try:
            answer = await wrapped(*args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        self._answered(call, answer)
        return answer

    def _stream(
        self,
        endpoint: Endpoint,
        chunks: Generator[Any, None, None],
        client: Any,
        kwargs: dict[str, Any],
        asked_in: Context,
    ) -> Generator[Any, None, None]:
        with closing(chunks):
            with _attached(asked_in):
                call = self._begin(endpoint, client, kwargs)
                try:
                    first: list[Any] = list(islice(chunks, 1))
                except BaseException as error:
                    self._failed(call, error)
                    raise
                self._sent(call)
            if call is None:
                yield from first
                yield from chunks
            else:
                yield from watch(chain(first, chunks), call, self._reader(call))

    async def _stream_async(
        self,
        endpoint: Endpoint,
        chunks: AsyncGenerator[Any, None],
        client: Any,
        kwargs: dict[str, Any],
        asked_in: Context,
    ) -> AsyncGenerator[Any, None]:
        async with aclosing(chunks):
            first: list[Any] = []
            with _attached(asked_in):
                call = self._begin(endpoint, client, kwargs)
                try:
                    async for chunk in chunks:
                        first.append(chunk)
                        break
                except BaseException as error:
                    self._failed(call, error)
                    raise
                self._sent(call)
            rest: Any = _joined(first, chunks)
            watching: Any = rest if call is None else watch_async(rest, call, self._reader(call))
            async with aclosing(watching):
                async for chunk in watching:
                    yield chunk

    def _find(self, args: tuple[Any, ...]) -> Endpoint | None:
        if not self._patches.is_active or len(args) < 3 or args[1] != "POST":
            return None
        return _POSTS.get(args[2])

    def _begin(self, endpoint: Endpoint, client: Any, kwargs: dict[str, Any]) -> Call | None:
        try:
            body = fields(kwargs.get("json"))
            return self._recorder.begin(
                endpoint, client, self._facts(client), {**body, "stream": bool(kwargs.get("stream"))}
            )
        except Exception as error:  # noqa: BLE001 - the boundary: the call goes on unrecorded
            self._problems.ours("starting a call", error)
            return None

    def _facts(self, client: Any) -> ClientFacts:
        http = client._client
        return facts_at(
            client,
            base_url=http.base_url,
            credential=text(http.headers.get("authorization")).removeprefix("Bearer ") or None,
            platform="",
            wire="ollama",
            sdk=OLLAMA.name,
            sdk_version=self._version,
            fingerprint_key=self._recorder.settings.fingerprint_key,
        )

    def _failed(self, call: Call | None, error: BaseException) -> None:
        if call is None:
            return
        try:
            status = fields(error).get("status_code")
            call.status_code = status if isinstance(status, int) and status > 0 else None
            call.fail(error)
            self._recorder.leave(call)
        except Exception as ours:  # noqa: BLE001 - the boundary: the caller sees the SDK's error alone
            self._problems.ours("ending a failed call", ours)

    def _answered(self, call: Call, answer: Any) -> None:
        try:
            self._sent(call)
            known = fields(answer)
            call.answer = call.endpoint.read_response(known)
            if self._recorder.settings.capture_content and call.endpoint.output_messages is not None:
                call.answer.messages = call.endpoint.output_messages(known)
            call.finish()
        except Exception as error:  # noqa: BLE001 - the boundary: the caller gets its answer
            call.notes = (*call.notes, "unreadable_answer")
            call.finish()
            self._problems.ours("ending a call", error)

    def _sent(self, call: Call | None) -> None:
        if call is None:
            return
        call.status_code = 200  # the SDK raises for anything else
        self._recorder.leave(call)

    def _reader(self, call: Call) -> StreamReader:
        assert call.endpoint.new_reader is not None
        call.reader = reader = call.endpoint.new_reader(False, self._recorder.settings.capture_content)
        return reader


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
