"""LiteLLM as a client: ``completion``, ``embedding``, ``responses``, ``rerank`` and more, and their asynchronous twins.

LiteLLM's public functions are decorated with ``litellm.utils.client``, which keeps the function that makes the request
in its closure. That one is wrapped: it runs once per attempt (retries and fallbacks, a ``Router``'s included), not at
all when an answer comes from LiteLLM's cache, and whoever imported the decorated function before us calls through it.

Below it LiteLLM uses an SDK (OpenAI's, for many providers) or its own HTTP client. Where the SDK is instrumented, its
span is the one that is recorded, with the labels that LiteLLM was given; else LiteLLM's answer is read.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from time import perf_counter_ns
from types import CellType, MappingProxyType, SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

from spanledger.instrumentation import _litellm as shapes
from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._call import HEADERS, Call
from spanledger.instrumentation._clients import ClientFacts
from spanledger.instrumentation._hooks import Hooks
from spanledger.instrumentation._labels import attribute_names, labelled
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, text
from spanledger.instrumentation._recorder import Recorder

# By function: how to read it, and its first two parameters, which may be given by position.
_FUNCTIONS: Final[Mapping[str, tuple[Endpoint, tuple[str, str]]]] = MappingProxyType(
    {
        "completion": (shapes.CHAT, ("model", "messages")),
        "acompletion": (shapes.CHAT, ("model", "messages")),
        "text_completion": (shapes.COMPLETIONS, ("prompt", "model")),
        "atext_completion": (shapes.COMPLETIONS, ("prompt", "model")),
        "embedding": (shapes.EMBEDDINGS, ("model", "input")),
        "aembedding": (shapes.EMBEDDINGS, ("model", "input")),
        "responses": (shapes.RESPONSES, ("input", "model")),
        "aresponses": (shapes.RESPONSES, ("input", "model")),
        "rerank": (shapes.RERANK, ("model", "query")),
        "arerank": (shapes.RERANK, ("model", "query")),
        "image_generation": (shapes.IMAGES, ("prompt", "model")),
        "aimage_generation": (shapes.IMAGES, ("prompt", "model")),
        "transcription": (shapes.TRANSCRIPTIONS, ("model", "file")),
        "atranscription": (shapes.TRANSCRIPTIONS, ("model", "file")),
        "speech": (shapes.SPEECH, ("model", "input")),
        "aspeech": (shapes.SPEECH, ("model", "input")),
        "anthropic_messages": (shapes.MESSAGES, ("max_tokens", "messages")),
    }
)
_HALVES: Final = (
    "acompletion",
    "atext_completion",
    "aembedding",
    "aresponses",
    "arerank",
    "aimg_generation",
    "atranscription",
    "aspeech",
)
_KEPT: Final = "original_function"
_STREAMS: Final = (
    ("litellm.litellm_core_utils.streaming_handler", "CustomStreamWrapper"),
    ("litellm.responses.streaming_iterator", "SyncResponsesAPIStreamingIterator"),
    ("litellm.responses.streaming_iterator", "ResponsesAPIStreamingIterator"),
)
_MOCKS: Final = ("mock_response", "mock_tool_calls", "mock_timeout")
_CALL: Final = "_spanledger_call"
_IS_READING: Final = "_spanledger_is_reading"
_PROVIDER_HEADER: Final = "llm_provider-"
_MAX_PLACES: Final = 1000
# Labels among what LiteLLM is told about a call, the better name first.
_LABELS: Final = (
    ("team_id", ("user_api_key_team_id", "team_id")),
    ("feature", ("feature",)),
    ("session_id", ("session_id",)),
    ("user_id", ("user_api_key_end_user_id", "user_id", "trace_user_id", "user_api_key_user_id")),
    ("model_group", ("model_group",)),
    ("key_alias", ("user_api_key_alias",)),
)


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """The SDK as the runtime knows it."""

    name: str = "litellm"

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch the imported SDK; what it lacks is reported to `problems`, and the rest still works."""
        version = _version()
        patches = Patches()
        hooks = _Hooks(self.name, version, recorder, problems, patches)
        for name, (endpoint, parameters) in _FUNCTIONS.items():
            cell = _cell(fields(module).get(name))
            if cell is None:
                hooks.missing(f"litellm.{name}.{_KEPT}")
                continue
            is_async = inspect.iscoroutinefunction(cell.cell_contents)
            attempt = hooks.attempt_async if is_async else hooks.attempt
            patches.wrap_cell(cell, partial(attempt, endpoint, parameters))
        for module_name, class_name in _STREAMS:
            stream: Any = fields(sys.modules.get(module_name)).get(class_name)
            methods: list[tuple[str, Any]] = [
                (method, wrapper)
                for method, wrapper in (
                    ("__next__", hooks.next_chunk),
                    ("__anext__", hooks.next_chunk_async),
                    ("close", hooks.close),
                    ("aclose", hooks.aclose),
                )
                if stream is not None and method in vars(stream)
            ]
            if stream is not None and methods:
                hooks.streams = (*hooks.streams, stream)
            else:
                hooks.missing(f"{class_name}.__next__")
            for method, wrapper in methods:
                patches.wrap(stream, method, wrapper)
        return patches


def _version() -> str:
    try:
        return metadata.version("litellm")  # the module does not say
    except metadata.PackageNotFoundError:
        return "?"


def _cell(function: Any) -> CellType | None:
    """Where a decorated function keeps the one that makes the request, beneath whatever else was put around it."""
    while function is not None:
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        if _KEPT in names:
            found: CellType = function.__closure__[names.index(_KEPT)]
            return found
        function = getattr(function, "__wrapped__", None)
    return None


class _Hooks(Hooks):
    """What the wrappers do. What a request was asked with is told to the reading of its answer."""

    def __init__(self, sdk: str, version: str, recorder: Recorder, problems: Problems, patches: Patches) -> None:
        super().__init__(sdk, version, recorder, problems, patches)
        self.streams: tuple[type, ...] = ()
        """The classes of its streams, patched."""
        self._places: dict[tuple[str, str, str], ClientFacts] = {}
        self._nobody: Final = SimpleNamespace()
        self._nowhere: Final = self._facts_at(self._nobody, "", "", "")

    def attempt(
        self,
        endpoint: Endpoint,
        parameters: tuple[str, str],
        wrapped: Any,
        _instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """One attempt at a request, through a function whose first parameters may be given by position."""
        asked = {**dict(zip(parameters, args, strict=False)), **kwargs}
        with labelled(self.labels(asked)):
            return self.send(self.begin(self._start, endpoint, asked), wrapped, args, kwargs, asked)

    async def attempt_async(
        self,
        endpoint: Endpoint,
        parameters: tuple[str, str],
        wrapped: Any,
        _instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        asked = {**dict(zip(parameters, args, strict=False)), **kwargs}
        with labelled(self.labels(asked)):
            return await self.send_async(self.begin(self._start, endpoint, asked), wrapped, args, kwargs, asked)

    def labels(self, asked: Mapping[str, Any]) -> dict[str, str]:
        """Whom the call is for, as LiteLLM was told."""
        if not self.patches.is_active:
            return {}
        try:
            told = {**fields(asked.get("litellm_metadata")), **fields(asked.get("metadata"))}
            found = {
                label: next((value for name in names if isinstance(value := told.get(name), str) and value), None)
                for label, names in _LABELS
            }
            if session := text(asked.get("litellm_session_id")):
                found["session_id"] = session
            if not found["user_id"]:
                found["user_id"] = text(asked.get("user"))
            return attribute_names(found)
        except Exception as error:  # noqa: BLE001 - the boundary: the call goes on without these labels
            self.problems.ours("reading the labels of a call", error)
            return {}

    def _start(self, endpoint: Endpoint, asked: Mapping[str, Any]) -> Call | None:
        if _is_half_of_an_asynchronous_one(asked) or any(asked.get(name) is not None for name in _MOCKS):
            return None
        return self.recorder.begin(endpoint, self._nobody, self._nowhere, asked)

    def read_error(self, call: Call, error: BaseException, told: Any) -> None:
        noted = _noted(told)
        if call.is_covered or "api_call_start_time" not in noted:
            call.discard()  # recorded below, or refused before anything was sent
            return
        self._place(call, noted)
        status = getattr(error, "status_code", None)
        call.status_code = status if isinstance(status, int) else None
        call.fail(error)

    def read_answer(self, call: Call, answer: Any, told: Any) -> Any:
        if call.is_covered or inspect.isawaitable(answer):
            call.discard()
            return answer
        noted = _noted(told)
        self._place(call, noted)
        call.status_code = 200  # LiteLLM raises for anything else
        if isinstance(answer, self.streams):
            self._watch(call, answer)
            return answer
        if call.endpoint is shapes.MESSAGES and hasattr(answer, "__aiter__"):
            call.discard()  # its streams are bytes, made for LiteLLM's proxy
            return answer
        found = call.endpoint.read(fields(answer), captures=self.recorder.settings.capture_content)
        shapes.identify(found, noted)
        call.answer = found
        call.headers = _headers(answer)
        call.finish()
        return answer

    def _watch(self, call: Call, stream: Any) -> None:
        known: dict[str, Any] = stream.__dict__
        call.is_stream = True
        captures = self.recorder.settings.capture_content
        if call.endpoint is shapes.RESPONSES:
            call.reader = shapes.EventsReader(False, captures)
        elif isinstance(known.get("chunks"), list):
            call.reader = shapes.ChunksReader(known["chunks"], captures)
        else:
            self.missing(f"{type(stream).__name__}.chunks")
            call.finish()
            return
        known[_CALL] = call  # and so it ends with the stream when that is dropped

    def next_chunk(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        known: dict[str, Any] = instance.__dict__
        call = known.get(_CALL)
        if call is None:
            return wrapped(*args, **kwargs)
        known[_IS_READING] = True
        try:
            chunk = wrapped(*args, **kwargs)
        except StopIteration:
            call.finish()
            raise
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            known[_IS_READING] = False
        _seen(call, chunk)
        return chunk

    async def next_chunk_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        known: dict[str, Any] = instance.__dict__
        call = known.get(_CALL)
        if call is None:
            return await wrapped(*args, **kwargs)
        known[_IS_READING] = True
        try:
            chunk = await wrapped(*args, **kwargs)
        except StopAsyncIteration:
            call.finish()
            raise
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            known[_IS_READING] = False
        _seen(call, chunk)
        return chunk

    def close(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _left(instance)
        return wrapped(*args, **kwargs)

    async def aclose(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _left(instance)
        return await wrapped(*args, **kwargs)

    def _place(self, call: Call, told: Mapping[str, Any]) -> None:
        """Who was called with which model, which LiteLLM has found out by now."""
        provider, model = text(told.get("custom_llm_provider")), text(told.get("model"))
        url = urlsplit(text(fields(told.get("litellm_params")).get("api_base")) or text(told.get("api_base")))
        base_url = f"{url.scheme}://{url.netloc.rpartition('@')[2]}" if url.netloc else ""
        place = (provider, base_url, text(told.get("api_key")))
        facts = self._places.get(place)
        if facts is None:
            facts = self._facts_at(SimpleNamespace(), *place)
            if len(self._places) < _MAX_PLACES:
                self._places[place] = facts
        call.facts = facts
        call.model = model or call.model
        call.billed = facts.billed(call.model)

    def _facts_at(self, holder: Any, provider: str, base_url: str, credential: str) -> ClientFacts:
        return self.facts_at(holder, base_url=base_url, credential=credential, wire=provider)


def _noted(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """LiteLLM's own record of the call."""
    return fields(fields(asked.get("litellm_logging_obj")).get("model_call_details"))


def _is_half_of_an_asynchronous_one(asked: Mapping[str, Any]) -> bool:
    """``acompletion`` calls ``completion``, told so, for a coroutine."""
    return any(asked.get(name) is True for name in _HALVES)


def _left(stream: Any) -> None:
    """A stream was closed: by the application, or by LiteLLM itself, at its end and when it breaks, as it reads."""
    known: dict[str, Any] = stream.__dict__
    call = known.get(_CALL)
    if call is not None and not known.get(_IS_READING):
        call.abandon()


def _seen(call: Call, chunk: Any) -> None:
    if not call.first_chunk_ns:
        call.first_chunk_ns = perf_counter_ns()
    if call.reader is not None and call.is_open:
        try:
            call.reader.feed(chunk)
        except Exception as error:  # noqa: BLE001 - the boundary: the caller gets its chunk whatever we make of it
            call.stop_reading(error)


def _headers(answer: Any) -> dict[str, str]:
    """The provider's ids of the request, from the headers that LiteLLM keeps."""
    kept = fields(fields(getattr(answer, "_hidden_params", None)).get("additional_headers"))
    found: dict[str, str] = {}
    for name, value in kept.items():
        if name.startswith(_PROVIDER_HEADER) and isinstance(value, str):
            attribute = HEADERS.get(name.removeprefix(_PROVIDER_HEADER).lower().encode())
            if attribute is not None:
                found[attribute] = value
    return found


LITELLM: Final = LiteLLM()
