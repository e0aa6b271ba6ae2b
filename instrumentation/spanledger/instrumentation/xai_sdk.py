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
from spanledger.instrumentation._answer import Answer, Endpoint
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._hooks import Hooks
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


@dataclass(frozen=True, slots=True)
class _Told:
    """How to read a response, and the request that it answers."""

    method: _Method
    request: Any


_DEFERRED: Final = _Told(_UNARY["GetCompletion"], None)
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
        hooks = _Hooks(self.name, version, recorder, problems, patches)
        for style in _STYLES:
            for part, name, is_needed in _SENDERS:
                place = sys.modules.get(f"{module.__name__}.{style}.{part}")
                owner = getattr(place, name, None)
                if owner is not None:
                    patches.put(owner, "_stub", _Stub(hooks, is_async=style == "aio"))
                elif is_needed:
                    hooks.missing(f"{style}.{part}.{name}")
            for part in _TRACED:
                place = sys.modules.get(f"{module.__name__}.{style}.{part}")
                if hasattr(place, "tracer"):
                    patches.put(place, "tracer", _QuietTracer(vars(place)["tracer"], patches))
            chat = sys.modules.get(f"{module.__name__}.{style}.chat")
            hooks.wrap(chat, "Chat", "_defer", hooks.defer_async if style == "aio" else hooks.defer)
        hooks.wrap(sys.modules.get(f"{module.__name__}.client"), "BaseClient", "__init__", hooks.made)
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
            return partial(hooks.stream, self, wrapped)
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


class _Hooks(Hooks):
    """What is done around requests."""

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
            self.problems.ours("looking at a client", error)
        return made

    def unary(self, method: _Method, stub: _Watching, wrapped: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        call = self.begin(self._start, method.endpoint, stub, request)
        return self.send(call, wrapped, (request, *args), kwargs, _Told(method, request))

    async def unary_async(
        self, method: _Method, stub: _Watching, wrapped: Any, request: Any, *args: Any, **kwargs: Any
    ) -> Any:
        call = self.begin(self._start, method.endpoint, stub, request)
        return await self.send_async(call, wrapped, (request, *args), kwargs, _Told(method, request))

    def stream(self, stub: _Watching, wrapped: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        """The request is sent when its answer is read, in either style."""
        call = self.begin(self._start, xai.CHAT, stub, request, True)
        return self.send(call, wrapped, (request, *args), kwargs)

    def defer(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.begin(self._start_deferred, instance)
        return self.send(call, wrapped, args, kwargs, _DEFERRED)

    async def defer_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.begin(self._start_deferred, instance)
        return await self.send_async(call, wrapped, args, kwargs, _DEFERRED)

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
        source = self.begin(self._start, _BATCH, stub, request)
        if source is None:
            return
        try:
            self.recorder.leave(source)
            for found in xai.batch_answers(page, batch_id=request.batch_id):
                self.recorder.witness(source, *found)
        except Exception as error:  # noqa: BLE001 - the boundary: the application gets its page
            self.problems.ours("reading an answer of a batch", error)
        finally:
            source.finish()

    def _start_deferred(self, chat: Any) -> Call | None:
        return self._start(xai.CHAT, chat._stub, chat._proto)

    def _start(self, endpoint: Endpoint, stub: Any, request: Any, is_stream: bool = False) -> Call | None:
        body = {
            "model": getattr(request, "model", ""),
            "stream": is_stream,
            xai.REQUEST: request,
            xai.CONVERSATION: stub.conversation,
        }
        host, key, client = stub.stub.__dict__.get(_ORIGIN, (_HOST, None, None))
        owner = client() if client is not None else None
        facts = self.facts_at(stub.stub, base_url=f"https://{host}", credential=key, wire="xai")
        return self.recorder.begin(endpoint, stub.stub if owner is None else owner, facts, body)

    def read_error(self, call: Call, error: BaseException, _told: Any) -> None:
        status = _status_of(error)
        # Of a stream the reader answers; a poll that failed is no call.
        if status and call.reader is None and not call.endpoint.starts_late:
            call.answer = Answer(attributes={_STATUS: status})
        call.fail(error, code=status)

    def read_answer(self, call: Call, answer: Any, told: Any) -> Any:
        if call.is_stream:
            watcher: Any = Reading if hasattr(answer, "__aiter__") else watch
            return watcher(answer, call, self.reader(call), self.failed)
        call.answer = told.method.read(told.request, answer, self.recorder.settings.capture_content)
        call.finish()
        return answer


def _status_of(error: BaseException) -> str:
    """The name of the gRPC status that an error of gRPC tells; ``""`` for any other error."""
    code = getattr(error, "code", None)
    return text(getattr(code(), "name", "")) if callable(code) else ""


XAI_SDK: Final = XaiSdk()
