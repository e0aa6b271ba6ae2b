"""The Google Gen AI SDK (Gemini API and Vertex AI): which of its requests are billed, and how to hear of them.

Every method (``models``, ``chats``, ``aio``, automatic function calling) sends its requests through four methods of one
class, once per billed request, retries inside; so these four are patched.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _gemini as gemini
from spanledger.instrumentation._answer import Endpoint, StreamReader
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import ClientFacts, facts_at
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, items, text
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._streams import watch, watch_async

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
        """Patch the imported SDK; what it lacks is reported to `problems`, and the rest still works."""
        version = str(getattr(module, "__version__", "?"))
        patches = Patches()
        hooks = _Hooks(version, recorder, problems, patches)
        sender = getattr(getattr(module, "_api_client", None), "BaseApiClient", None)
        for method, wrapper in (
            ("request", hooks.request),
            ("request_streamed", hooks.request_streamed),
            ("async_request", hooks.async_request),
            ("async_request_streamed", hooks.async_request_streamed),
        ):
            if sender is None or method not in vars(sender):
                problems.missing(self.name, version, f"BaseApiClient.{method}")
            else:
                patches.wrap(sender, method, wrapper)
        return patches


class _Hooks:
    """The wrappers. All four methods take ``(http_method, path, request_dict, http_options=None)``."""

    def __init__(self, version: str, recorder: Recorder, problems: Problems, patches: Patches) -> None:
        self._version = version
        self._recorder = recorder
        self._problems = problems
        self._patches = patches

    def request(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self._begin(instance, args, kwargs, is_stream=False)
        if call is None:
            return wrapped(*args, **kwargs)
        try:
            answer = wrapped(*args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        self._answered(call, answer)
        return answer

    async def async_request(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self._begin(instance, args, kwargs, is_stream=False)
        if call is None:
            return await wrapped(*args, **kwargs)
        try:
            answer = await wrapped(*args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        self._answered(call, answer)
        return answer

    def request_streamed(
        self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Generator[Any, None, None]:
        # The SDK's method is a generator too: the request is sent when the first chunk is asked for.
        call = self._begin(instance, args, kwargs, is_stream=True)
        chunks = wrapped(*args, **kwargs)
        if call is None:
            yield from chunks
            return
        first: list[Any] = []
        try:
            for chunk in chunks:
                first.append(chunk)
                break
        except BaseException as error:
            self._failed(call, error)
            raise
        self._sent(call)
        yield from watch(chain(first, chunks), call, self._reader(call))

    async def async_request_streamed(
        self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        call = self._begin(instance, args, kwargs, is_stream=True)
        if call is None:
            return await wrapped(*args, **kwargs)
        try:
            chunks = await wrapped(*args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        self._sent(call)
        return watch_async(chunks, call, self._reader(call))

    def _begin(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_stream: bool) -> Call | None:
        if not self._patches.is_active:
            return None
        try:
            method, path, body = (
                args[place] if len(args) > place else kwargs[name]
                for place, name in enumerate(("http_method", "path", "request_dict"))
            )
            endpoint, model = _find(method, path, body)
            if endpoint is None:
                return None
            options = args[3] if len(args) > 3 else kwargs.get("http_options")
            facts = self._facts(client, fields(options).get("base_url"))
            return self._recorder.begin(endpoint, client, facts, {**body, "model": model, "stream": is_stream})
        except Exception as error:  # noqa: BLE001 - the boundary: the call goes on unrecorded
            self._problems.ours("starting a call", error)
            return None

    def _facts(self, client: Any, base_url: Any) -> ClientFacts:
        return facts_at(
            client,
            base_url=text(base_url) or text(fields(client.__dict__.get("_http_options")).get("base_url")),
            credential=client.__dict__.get("api_key"),
            platform="google_vertex" if client.vertexai else "",
            wire="google",
            sdk=GOOGLE_GENAI.name,
            sdk_version=self._version,
            fingerprint_key=self._recorder.settings.fingerprint_key,
        )

    def _failed(self, call: Call, error: BaseException) -> None:
        try:
            known = fields(error)
            status = known.get("code")
            call.status_code = status if isinstance(status, int) and not isinstance(status, bool) else None
            call.fail(error, code=text(known.get("status")))
            self._recorder.leave(call)
        except Exception as ours:  # noqa: BLE001 - the boundary: the caller sees the SDK's error alone
            self._problems.ours("ending a failed call", ours)

    def _answered(self, call: Call, answer: Any) -> None:
        try:
            self._sent(call)
            if call.endpoint.read_items is None:
                self._reader(call).feed(answer)
            elif _BATCH_ANSWERS in answer.body:
                call.document = answer.body.encode()
            call.finish()
        except Exception as error:  # noqa: BLE001 - the boundary: the caller gets its answer
            call.notes = (*call.notes, "unreadable_answer")
            call.finish()
            self._problems.ours("ending a call", error)

    def _sent(self, call: Call) -> None:
        call.status_code = 200  # the SDK raises for anything else
        self._recorder.leave(call)

    def _reader(self, call: Call) -> StreamReader:
        assert call.endpoint.new_reader is not None
        call.reader = reader = call.endpoint.new_reader(False, self._recorder.settings.capture_content)
        return reader


GOOGLE_GENAI: Final = GoogleGenAI()
