"""The xAI SDK, which speaks gRPC: which of its requests are billed, and how to hear of them.

Every object of the SDK that sends requests keeps a gRPC stub under ``_stub`` and calls its methods. The stub that it
gets to see is one that watches those that are billed; the stub itself, the channel and the SDK's own types stay what
they are. A deferred chat is several requests and one call: there, the method that polls is patched.

The SDK traces itself as soon as a tracer provider is set. The spans around requests that are recorded here are kept
from being made: one call has one billable span.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from opentelemetry.trace import INVALID_SPAN

from spanledger.instrumentation import _xai as xai
from spanledger.instrumentation._answer import Answer, Endpoint, StreamReader
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import ClientFacts, facts_at
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, text
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._streams import Reading, watch

_HOST: Final = "api.x.ai"
_ORIGIN: Final = "_spanledger_origin"
_STATUS: Final = "rpc.response.status_code"
"""The conventions' attribute for the name of a gRPC status."""
_STYLES: Final = ("sync", "aio")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Method:
    """A method of a stub. ``read`` gets the request, the response and whether content is captured."""

    endpoint: Endpoint
    read: Callable[[Any, Any, bool], Answer]


def _read_chat(_request: Any, response: Any, captures: bool) -> Answer:
    return xai.read_chat(response, captures=captures)


_UNARY: Final[Mapping[str, _Method]] = MappingProxyType(
    {
        "GetCompletion": _Method(endpoint=xai.CHAT, read=_read_chat),
        "CompactContext": _Method(
            endpoint=xai.COMPACT,
            read=lambda _request, response, captures: xai.read_compaction(response, captures=captures),
        ),
        "GenerateImage": _Method(
            endpoint=xai.IMAGES, read=lambda _request, response, captures: xai.read_images(response, captures=captures)
        ),
        "GetDeferredVideo": _Method(
            endpoint=xai.VIDEOS, read=lambda request, response, _captures: xai.read_video(response, request=request)
        ),
    }
)
_BATCH: Final = replace(xai.CHAT, starts_late=True, input_messages=None, tool_results=None)
# Where stubs are kept, and whether a client can do without: the SDK has grown.
_SENDERS: Final = (
    ("chat", "Client", True),
    ("chat", "Chat", True),
    ("image", "Client", True),
    ("video", "Client", False),
    ("batch", "Client", False),
)
_TRACED: Final = ("chat", "image", "video")


@dataclass(frozen=True, slots=True)
class XaiSdk:
    """The SDK as the runtime knows it."""

    name: str = "xai-sdk"

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch the imported SDK; what it lacks is reported to `problems`, and the rest still works."""
        version = str(getattr(module, "__version__", "?"))
        patches = Patches()
        hooks = _Hooks(version, recorder, problems, patches)
        missing = partial(problems.missing, self.name, version)
        for style in _STYLES:
            for part, name, is_needed in _SENDERS:
                place = sys.modules.get(f"{module.__name__}.{style}.{part}")
                owner = getattr(place, name, None)
                if owner is not None:
                    patches.put(owner, "_stub", _Stub(hooks, is_async=style == "aio"))
                elif is_needed:
                    missing(f"{style}.{part}.{name}")
            for part in _TRACED:
                place = sys.modules.get(f"{module.__name__}.{style}.{part}")
                if hasattr(place, "tracer"):
                    patches.put(place, "tracer", _QuietTracer(vars(place)["tracer"], patches))
            chat = getattr(sys.modules.get(f"{module.__name__}.{style}.chat"), "Chat", None)
            if chat is None or "_defer" not in vars(chat):
                missing(f"{style}.chat.Chat._defer")
            else:
                patches.wrap(chat, "_defer", hooks.defer_async if style == "aio" else hooks.defer)
        client = getattr(sys.modules.get(f"{module.__name__}.client"), "BaseClient", None)
        if client is None or "__init__" not in vars(client):
            missing("client.BaseClient")
        else:
            patches.wrap(client, "__init__", hooks.made)
        return patches


class _Stub:
    """Stands for the attribute ``_stub``: the stub stays where it was, and is seen through a watching one."""

    def __init__(self, hooks: _Hooks, *, is_async: bool) -> None:
        self._hooks = hooks
        self._is_async = is_async

    def __get__(self, instance: Any, _owner: Any = None) -> Any:
        if instance is None:
            return self
        try:
            stub = instance.__dict__["_stub"]
        except KeyError:
            raise AttributeError("_stub") from None
        return _Watching(self._hooks, stub, instance, self._is_async)

    def __set__(self, instance: Any, value: Any) -> None:
        # A client hands its stub to the chats that it makes.
        instance.__dict__["_stub"] = value.stub if isinstance(value, _Watching) else value


class _Watching:
    """A stub whose billed methods are watched."""

    __slots__ = ("_hooks", "_is_async", "_sender", "stub")

    def __init__(self, hooks: _Hooks, stub: Any, sender: Any, is_async: bool) -> None:
        self._hooks = hooks
        self.stub = stub
        self._sender = sender
        self._is_async = is_async

    def __getattr__(self, name: str) -> Any:
        wrapped = getattr(self.stub, name)
        hooks = self._hooks
        if method := _UNARY.get(name):
            return partial(hooks.unary_async if self._is_async else hooks.unary, method, self, wrapped)
        if name == "GetCompletionChunk":
            return partial(hooks.stream_async if self._is_async else hooks.stream, self, wrapped)
        if name == "ListBatchResults":
            return partial(hooks.results_async if self._is_async else hooks.results, self, wrapped)
        return wrapped

    @property
    def conversation(self) -> str:
        return text(self._sender.__dict__.get("_conversation_id"))


class _QuietTracer:
    """The SDK's tracer, without the spans around requests that are recorded here."""

    def __init__(self, inner: Any, patches: Patches) -> None:
        self._inner = inner
        self._patches = patches

    @contextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        if self._patches.is_active:
            yield INVALID_SPAN
            return
        with self._inner.start_as_current_span(*args, **kwargs) as span:
            yield span

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Hooks:
    """What is done around requests."""

    def __init__(self, version: str, recorder: Recorder, problems: Problems, patches: Patches) -> None:
        self._version = version
        self._recorder = recorder
        self._problems = problems
        self._patches = patches

    def made(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A client was made: keep with its stubs where they send to, with which key and for whom."""
        made = wrapped(*args, **kwargs)
        try:
            key = (args[0] if args else kwargs.get("api_key")) or os.environ.get("XAI_API_KEY")
            host = text(kwargs.get("api_host")) or _HOST
            for part in fields(instance).values():
                stub = fields(part).get("_stub")
                if stub is not None:
                    stub.__dict__[_ORIGIN] = (host, key, weakref.ref(instance))
        except Exception as error:  # noqa: BLE001 - the boundary: the client is made without us
            self._problems.ours("looking at a client", error)
        return made

    def unary(self, method: _Method, stub: _Watching, wrapped: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        call = self._begin(method.endpoint, stub, request)
        if call is None:
            return wrapped(request, *args, **kwargs)
        try:
            response = wrapped(request, *args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        self._answered(call, method, request, response)
        return response

    async def unary_async(
        self, method: _Method, stub: _Watching, wrapped: Any, request: Any, *args: Any, **kwargs: Any
    ) -> Any:
        call = self._begin(method.endpoint, stub, request)
        if call is None:
            return await wrapped(request, *args, **kwargs)
        try:
            response = await wrapped(request, *args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        self._answered(call, method, request, response)
        return response

    def stream(self, stub: _Watching, wrapped: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        call = self._begin(xai.CHAT, stub, request, is_stream=True)
        if call is None:
            return wrapped(request, *args, **kwargs)
        try:
            chunks = wrapped(request, *args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        return watch(chunks, call, self._reading(call), self._failed)

    def stream_async(self, stub: _Watching, wrapped: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        call = self._begin(xai.CHAT, stub, request, is_stream=True)
        if call is None:
            return wrapped(request, *args, **kwargs)
        try:
            chunks = wrapped(request, *args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        return Reading(chunks, call, self._reading(call), self._failed)

    def defer(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self._begin_deferred(instance)
        if call is None:
            return wrapped(*args, **kwargs)
        try:
            response = wrapped(*args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        self._answered(call, _UNARY["GetCompletion"], None, response)
        return response

    async def defer_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self._begin_deferred(instance)
        if call is None:
            return await wrapped(*args, **kwargs)
        try:
            response = await wrapped(*args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        self._answered(call, _UNARY["GetCompletion"], None, response)
        return response

    def results(self, stub: _Watching, wrapped: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        page = wrapped(request, *args, **kwargs)
        self._witness(stub, request, page)
        return page

    async def results_async(self, stub: _Watching, wrapped: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        page = await wrapped(request, *args, **kwargs)
        self._witness(stub, request, page)
        return page

    def _witness(self, stub: _Watching, request: Any, page: Any) -> None:
        """Record the answers of a batch that a page brought."""
        source = self._begin(_BATCH, stub, request)
        if source is None:
            return
        try:
            self._recorder.leave(source)
            for found in xai.batch_answers(page, batch_id=request.batch_id):
                self._recorder.witness(source, *found)
        except Exception as error:  # noqa: BLE001 - the boundary: the application gets its page
            self._problems.ours("reading an answer of a batch", error)
        finally:
            source.finish()

    def _begin_deferred(self, chat: Any) -> Call | None:
        return self._begin(xai.CHAT, chat._stub, chat._proto)

    def _begin(self, endpoint: Endpoint, stub: Any, request: Any, *, is_stream: bool = False) -> Call | None:
        if not self._patches.is_active:
            return None
        try:
            body = {
                "model": getattr(request, "model", ""),
                "stream": is_stream,
                xai.REQUEST: request,
                xai.CONVERSATION: stub.conversation,
            }
            host, key, client = stub.stub.__dict__.get(_ORIGIN, (_HOST, None, None))
            owner = client() if client is not None else None
            facts = self._facts(stub.stub, host, key)
            return self._recorder.begin(endpoint, stub.stub if owner is None else owner, facts, body)
        except Exception as error:  # noqa: BLE001 - the boundary: the call goes on unrecorded
            self._problems.ours("starting a call", error)
            return None

    def _facts(self, stub: Any, host: str, key: Any) -> ClientFacts:
        return facts_at(
            stub,
            base_url=f"https://{host}",
            credential=key,
            platform="",
            wire="xai",
            sdk=XAI_SDK.name,
            sdk_version=self._version,
            fingerprint_key=self._recorder.settings.fingerprint_key,
        )

    def _reading(self, call: Call) -> StreamReader:
        self._recorder.leave(call)
        assert call.endpoint.new_reader is not None
        call.reader = reader = call.endpoint.new_reader(False, self._recorder.settings.capture_content)
        return reader

    def _failed(self, call: Call, error: BaseException) -> None:
        try:
            status = _status_of(error)
            # Of a stream the reader answers; a poll that failed is no call.
            if status and call.reader is None and not call.endpoint.starts_late:
                call.answer = Answer(attributes={_STATUS: status})
            call.fail(error, code=status)
            self._recorder.leave(call)
        except Exception as ours:  # noqa: BLE001 - the boundary: the caller sees the SDK's error alone
            self._problems.ours("ending a failed call", ours)

    def _answered(self, call: Call, method: _Method, request: Any, response: Any) -> None:
        try:
            self._recorder.leave(call)
            call.answer = method.read(request, response, self._recorder.settings.capture_content)
            call.finish()
        except Exception as error:  # noqa: BLE001 - the boundary: the caller gets its answer
            call.notes = (*call.notes, "unreadable_answer")
            call.finish()
            self._problems.ours("ending a call", error)


def _status_of(error: BaseException) -> str:
    """The name of the gRPC status that an error of gRPC tells; ``""`` for any other error."""
    code = getattr(error, "code", None)
    return text(getattr(code(), "name", "")) if callable(code) else ""


XAI_SDK: Final = XaiSdk()
