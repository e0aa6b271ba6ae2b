"""Patches SDKs that Stainless generates (OpenAI, Anthropic, and many that copy them): they share one skeleton.

Every method of such an SDK (``create``, ``parse``, ``stream``, ``with_raw_response``, ``client.post``) sends its
request through ``SyncAPIClient.request`` or its async twin, once per call, retries inside. So two methods are patched
for calls, and two for the HTTP response's headers.
"""

from __future__ import annotations

import copy
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from spanledger.instrumentation import _attempts as attempts
from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._batches import watch_items, watch_items_async
from spanledger.instrumentation._bodies import watch_response
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import facts_of
from spanledger.instrumentation._hooks import Hooks
from spanledger.instrumentation._patching import Patches, definer
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._streams import end_when_closed, watch, watch_async

_RAW_RESPONSE_HEADER = "X-Stainless-Raw-Response"
_RETRY_HEADER = "x-stainless-retry-count"
# What an SDK calls when an attempt has failed and another one follows; which of them it has is a matter of its age.
_BEFORE_RETRIES: Final = ("_sleep_for_retry", "_retry_request")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdk:
    """What differs between SDKs of this kind.

    Attributes:
        name: the module's and the distribution's name.
        wire: the provider whose API it speaks, for hosts that nobody knows.
        clients: the client classes, synchronous and asynchronous.
        find: the endpoint of a request, by method (lower case) and URL path, or ``None`` for what is not billed.
        prepare: a last change to a request that we record: gets the client and the request options.
    """

    name: str
    wire: str
    clients: tuple[str, str]
    find: Callable[[str, str], Endpoint | None]
    prepare: Callable[[Any, Any], None] | None = None

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch the imported SDK."""
        return patch(self, module, recorder, problems)


def patch(sdk: Sdk, module: Any, recorder: Recorder, problems: Problems) -> Patches:
    """Patch one imported SDK; what it lacks is reported to `problems`, and the rest still works."""
    version = str(getattr(module, "__version__", "?"))
    patches = Patches()
    hooks = _Hooks(sdk, module, version, recorder, problems, patches)
    wrappers = ((hooks.request, hooks.process_response), (hooks.request_async, hooks.process_response_async))
    for class_name, (requesting, processing) in zip(sdk.clients, wrappers, strict=True):
        client = getattr(module, class_name, None)
        if client is None:
            hooks.missing(f"{sdk.name}.{class_name}")
            continue
        for method, wrap in (("request", requesting), ("_process_response", processing)):
            owner = definer(client, method)
            if owner is None:
                hooks.missing(f"{sdk.name}.{class_name}.{method}")
            else:
                patches.wrap(owner, method, wrap)
        for method in _BEFORE_RETRIES:
            if (owner := definer(client, method)) is not None:
                patches.wrap(owner, method, hooks.retrying)
    return patches


class _Hooks(Hooks):
    """The wrappers, bound to one SDK."""

    def __init__(
        self, sdk: Sdk, module: Any, version: str, recorder: Recorder, problems: Problems, patches: Patches
    ) -> None:
        super().__init__(sdk.name, version, recorder, problems, patches)
        self._sdk = sdk
        self._model: Any = getattr(module, "BaseModel", ())
        self._stream: Any = getattr(module, "Stream", ())
        self._async_stream: Any = getattr(module, "AsyncStream", ())
        for name, found in (("Stream", self._stream), ("AsyncStream", self._async_stream)):
            if found == ():
                self.missing(f"{sdk.name}.{name}")

    def request(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.begin(self._start, instance, args, kwargs)
        if call is not None:
            args, kwargs = self._prepared(call, instance, args, kwargs)
        return self.send(call, wrapped, args, kwargs)

    async def request_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.begin(self._start, instance, args, kwargs)
        if call is not None:
            args, kwargs = self._prepared(call, instance, args, kwargs)
        return await self.send_async(call, wrapped, args, kwargs)

    def process_response(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self._responded(kwargs)
        try:
            return wrapped(*args, **kwargs)
        except Exception:
            self._keep_body(call, kwargs.get("response"))
            raise

    async def process_response_async(
        self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        call = self._responded(kwargs)
        try:
            return await wrapped(*args, **kwargs)
        except Exception:
            self._keep_body(call, kwargs.get("response"))
            raise

    def _responded(self, kwargs: dict[str, Any]) -> Call | None:
        """A response came to the current call, if there is one."""
        call = self.current()
        if call is None:
            return None
        try:
            call.responded(kwargs["response"])
            call.resends = kwargs.get("retries_taken") or 0
        except Exception as error:  # noqa: BLE001 - the boundary: the SDK goes on without us
            self.problems.ours("reading response headers", error)
        return call

    def _keep_body(self, call: Call | None, response: Any) -> None:
        """An answer came, and is billed, of which the SDK could not make its types (structured output, cut off)."""
        if call is None or not getattr(response, "is_stream_consumed", False):
            return
        try:
            if "json" in response.headers.get("content-type", ""):
                call.document = response.content
        except Exception as error:  # noqa: BLE001 - the boundary: the application sees the SDK's error alone
            self.problems.ours("keeping an answer", error)

    def retrying(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An attempt of the current call has failed, in an answer or an exception, and will be made again."""
        self.in_attempts(attempts.note_either, kwargs.get("response"), sys.exc_info()[1])
        return wrapped(*args, **kwargs)

    def _start(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        options = args[1] if len(args) > 1 else kwargs["options"]
        endpoint = self._sdk.find(options.method, options.url)
        if endpoint is None:
            return None
        facts = facts_of(
            client,
            wire=self._sdk.wire,
            sdk=self._sdk.name,
            sdk_version=self.version,
            fingerprint_key=self.recorder.settings.fingerprint_key,
        )
        return self.recorder.begin(endpoint, client, facts, fields(options.json_data))

    def _prepared(
        self, call: Call, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with which the request of a call is sent."""
        try:
            options = args[1] if len(args) > 1 else kwargs["options"]
            if self._sdk.prepare is not None:
                self._sdk.prepare(client, options)
            if call.is_stream and call.endpoint.ask_for_usage is not None:
                return self._ask_for_usage(call, call.endpoint.ask_for_usage, options, args, kwargs)
        except Exception as error:  # noqa: BLE001 - the boundary: the request goes out as the caller made it
            self.problems.ours("preparing a request", error)
        return args, kwargs

    def _ask_for_usage(
        self,
        call: Call,
        asking: Callable[[Mapping[str, Any]], dict[str, Any] | None],
        options: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Request usage in a stream whose caller did not, where the host is known to accept that."""
        if not (self.recorder.settings.stream_usage and call.facts.accepts_stream_usage):
            return args, kwargs
        headers = options.headers
        if isinstance(headers, dict) and _RAW_RESPONSE_HEADER in headers and call.around is None:
            # The caller sees the bytes: there, the extra chunk could not be hidden. A library above the SDK (LiteLLM)
            # parses it itself, and keeps usage from whoever did not ask for it.
            return args, kwargs
        body = asking(options.json_data)
        if body is None:
            return args, kwargs
        changed = copy.copy(options)
        changed.json_data = body
        call.usage_was_asked_for = True
        if len(args) > 1:
            return (args[0], changed, *args[2:]), kwargs
        return args, {**kwargs, "options": changed}

    def read_error(self, call: Call, error: BaseException, _told: Any) -> None:
        sent: Any = getattr(error, "request", None)
        resends = sent.headers.get(_RETRY_HEADER, "") if hasattr(sent, "headers") else ""
        call.resends = int(resends) if resends.isdecimal() else 0
        call.fail(error)

    def read_answer(self, call: Call, answer: Any, _told: Any) -> Any:
        if isinstance(answer, self._model):
            self.finish(call, answer)
        elif call.endpoint.read_items is not None:
            call.document = _body(answer)
            response = _http_response(answer) if call.document is None else None
            if response is None:
                call.finish()
            else:  # a file that the application reads itself, piece by piece
                watch_response(call, response, None)
        elif call.endpoint.read_item is not None:
            self._watch_items(call, answer)
        elif isinstance(answer, self._stream):
            self._watch(call, answer, watch)
        elif isinstance(answer, self._async_stream):
            self._watch(call, answer, watch_async)
        elif (response := _http_response(answer)) is not None:
            new_reader = call.endpoint.new_reader
            captures = self.recorder.settings.capture_content
            watch_response(call, response, partial(new_reader, False, captures) if new_reader else None)
        else:
            self.finish(call, answer)
        return answer

    def _watch(self, call: Call, stream: Any, watcher: Any) -> None:
        if call.endpoint.new_reader is None:
            call.finish()
            return
        reader = self.reader(call)
        call.is_stream = True
        try:
            stream._iterator = watching = watcher(stream._iterator, call, reader)
        except AttributeError:
            self.missing(f"{type(stream).__name__}._iterator")
            call.finish()
        else:
            end_when_closed(stream.response, call, weakref.ref(watching), Call.abandon)

    def _watch_items(self, call: Call, answer: Any) -> None:
        iterator = getattr(answer, "_iterator", None)
        if iterator is None or call.endpoint.read_item is None:
            call.finish()  # a raw response: the application reads the lines itself
            return
        read_item = partial(call.endpoint.read_item, str(answer.http_response.request.url.path))
        watcher: Any = watch_items_async if hasattr(iterator, "__anext__") else watch_items
        answer._iterator = watcher(iterator, call, read_item)


def _body(answer: Any) -> bytes | None:
    """The body of a response that the SDK has read already."""
    response = getattr(answer, "response", None) or _http_response(answer)
    return response.content if getattr(response, "is_stream_consumed", False) else None


def _http_response(answer: Any) -> Any:
    """The HTTP response inside a raw response of the SDK, or the answer itself when it is one; else ``None``."""
    response = getattr(answer, "http_response", answer)
    return response if hasattr(response, "is_closed") and hasattr(response, "headers") else None
