"""The Google Gen AI SDK (Gemini API and Vertex AI): which of its requests are billed, and how to hear of them.

Every method (``models``, ``chats``, ``aio``, automatic function calling) sends its requests through four methods of one
class, once per billed request, retries inside; so these four are patched, and the one inside the retries. A Live
session is heard where its messages are received.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _attempts as attempts
from spanledger.instrumentation import _gemini as gemini
from spanledger.instrumentation import _gemini_live as live
from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._attributes import ERROR_TYPE
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import ClientFacts
from spanledger.instrumentation._hooks import SESSION, MethodHooks
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, items, text
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._streams import watch, watch_async
from spanledger.semconv import names

_POSTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        "generateContent": gemini.GENERATE,
        "streamGenerateContent": gemini.GENERATE,
        "embedContent": gemini.EMBEDDINGS,
        "batchEmbedContents": gemini.EMBEDDINGS,
    }
)
_MODELS: Final = "models/"
_BATCHES: Final = "batches/"
_BATCH_ANSWERS: Final = '"inlinedResponses"'


def _find(method: str, path: str, body: Mapping[str, Any]) -> tuple[Endpoint | None, str]:
    """The endpoint of a request, or ``None`` for what is not billed by the token, and the model in its path."""
    if method == "get" and path.startswith(_BATCHES):
        return gemini.BATCH, ""
    if method != "post":
        return None, ""
    resource, _, action = path.partition("?")[0].rpartition(":")
    endpoint = _POSTS.get(action)
    if action == "predict":
        # texts have a `content` to embed, images a `prompt`; videos are another action, billed by the second
        asked = fields(next(iter(items(body.get("instances"))), None))
        endpoint = gemini.EMBEDDINGS if "content" in asked else gemini.IMAGES if "prompt" in asked else None
    # tuned models and endpoints keep their resource name: there is no other
    return endpoint, resource.rpartition(_MODELS)[2] if _MODELS in resource else resource


@dataclass(frozen=True, slots=True)
class GoogleGenAI:
    """The SDK as the runtime knows it."""

    name: str = "google-genai"

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch an imported module of the SDK; what it lacks is reported to `problems`, and the rest still works."""
        version = str(getattr(sys.modules.get("google.genai"), "__version__", "?"))
        if module.__name__ != "google.genai":
            from spanledger.instrumentation import _gemini_interactions as interactions

            return interactions.patch(module, self.name, version, recorder, problems)
        patches = Patches()
        hooks = _Hooks(self.name, version, recorder, problems, patches)
        senders = getattr(module, "_api_client", None)
        for method, wrapper in (
            ("request", hooks.around),
            ("request_streamed", hooks.request_streamed),
            ("async_request", hooks.around_async),
            ("async_request_streamed", hooks.async_request_streamed),
        ):
            hooks.wrap(senders, "BaseApiClient", method, wrapper)
        hooks.wrap(senders, "BaseApiClient", "download_file", hooks.download)
        hooks.wrap(senders, "BaseApiClient", "async_download_file", hooks.download_async)
        sessions = sys.modules.get(f"{module.__name__}.live")
        hooks.wrap(sessions, "AsyncLive", "connect", hooks.session)
        hooks.wrap(sessions, "AsyncSession", "_receive", hooks.received)
        hooks.wrap(senders, "BaseApiClient", "_request_once", hooks.attempt)
        hooks.wrap(senders, "BaseApiClient", "_async_request_once", hooks.attempt_async)
        return patches


class _Hooks(MethodHooks):
    """The wrappers. All four methods take ``(http_method, path, request_dict, http_options=None)``."""

    def request_streamed(
        self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Generator[Any, None, None]:
        # The SDK's method is a generator too: the request is sent when the first chunk is asked for.
        call = self.begin(self._start, instance, args, kwargs, True)
        chunks = wrapped(*args, **kwargs)
        if call is None:
            yield from chunks
            return
        try:
            first: list[Any] = list(islice(chunks, 1))
        except BaseException as error:
            self.failed(call, error)
            raise
        yield from self.answered(call, chain(first, chunks))

    async def async_request_streamed(
        self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return await self.send_async(self.begin(self._start, instance, args, kwargs, True), wrapped, args, kwargs)

    def attempt(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Every attempt of a request goes through here; the SDK's retries are around it."""
        self.in_attempts(attempts.note_kept)
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:
            self.in_attempts(_keep, error)
            raise

    async def attempt_async(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.in_attempts(attempts.note_kept)
        try:
            return await wrapped(*args, **kwargs)
        except Exception as error:
            self.in_attempts(_keep, error)
            raise

    def download(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A file is downloaded, which may hold a batch's answers."""
        return self.send(self.begin(self._start_download, instance, args, kwargs), wrapped, args, kwargs)

    async def download_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.begin(self._start_download, instance, args, kwargs)
        return await self.send_async(call, wrapped, args, kwargs)

    def _start_download(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        file = text(args[0] if args else kwargs.get("path")).partition(":")[0]
        endpoint = replace(gemini.BATCH, read_items=partial(gemini.read_results, file=file))
        return self.recorder.begin(endpoint, client, self._facts(client, ""), {})

    @asynccontextmanager
    async def _open_session(
        self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        async with wrapped(*args, **kwargs) as opened:
            model = text(kwargs.get("model")).rpartition(_MODELS)[2]
            session = live.Session(partial(self.begin, self._start_live, instance), model)
            opened.__dict__[SESSION] = session
            try:
                yield opened
            finally:
                session.close()

    def session(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A session is opened; the method is a context manager."""
        if not self.patches.is_active:
            return wrapped(*args, **kwargs)
        return self._open_session(wrapped, instance, args, kwargs)

    async def received(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        message = await wrapped(*args, **kwargs)
        self.heard(instance, message)
        return message

    def _start_live(self, owner: Any, endpoint: Endpoint, body: Mapping[str, Any]) -> Call | None:
        client = owner._api_client
        call = self.recorder.begin(endpoint, client, self._facts(client, ""), body)
        if call is not None:
            self.recorder.leave(call)
        return call

    def start(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        return self._start(instance, args, kwargs, False)

    def _start(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], is_stream: bool) -> Call | None:
        method, path, body = (
            args[place] if len(args) > place else kwargs[name]
            for place, name in enumerate(("http_method", "path", "request_dict"))
        )
        endpoint, model = _find(method, path, body)
        if endpoint is None:
            return None
        options = args[3] if len(args) > 3 else kwargs.get("http_options")
        facts = self._facts(client, fields(options).get("base_url"))
        return self.recorder.begin(endpoint, client, facts, {**body, "model": model, "stream": is_stream})

    def _facts(self, client: Any, base_url: Any) -> ClientFacts:
        return self.facts_at(
            client,
            base_url=text(base_url) or text(fields(client.__dict__.get("_http_options")).get("base_url")),
            credential=client.__dict__.get("api_key"),
            platform="google_vertex" if client.vertexai else "",
            wire="google",
        )

    def read_error(self, call: Call, error: BaseException, _told: Any) -> None:
        known = fields(error)
        status = known.get("code")
        call.status_code = status if isinstance(status, int) and not isinstance(status, bool) else None
        call.fail(error, code=text(known.get("status")))

    def read_answer(self, call: Call, answer: Any, _told: Any) -> Any:
        call.status_code = 200  # the SDK raises for anything else
        if call.is_stream:
            watcher: Any = watch_async if hasattr(answer, "__aiter__") else watch
            return watcher(answer, call, self.reader(call))
        if call.endpoint.read_items is None:
            self.reader(call).feed(answer)
        elif not hasattr(answer, "body"):  # a file, or nothing: the SDK wrote it to a place of the application's
            call.document = answer if isinstance(answer, bytes) else None
        elif _BATCH_ANSWERS in answer.body:
            call.document = answer.body.encode()
        call.finish()
        return answer


def _keep(call: Call, error: BaseException) -> None:
    attempt = attempts.raised(error)
    status = fields(error).get("code")
    if names.HTTP_STATUS not in attempt and isinstance(status, int):  # aiohttp's response, or none
        attempt |= {ERROR_TYPE: str(status), names.HTTP_STATUS: status}
    attempts.keep(call, attempt)


GOOGLE_GENAI: Final = GoogleGenAI()
