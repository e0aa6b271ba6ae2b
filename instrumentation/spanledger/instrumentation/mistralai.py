"""The Mistral SDK: which of its requests are billed, and how to hear of them.

Every method sends its request through one of two methods of one class, retries inside; so these are patched. The
clients for Azure and Google Cloud, which come with the SDK, have copies of that class of their own.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs

from spanledger.instrumentation import _mistral as mistral
from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import ClientFacts
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, items, text
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._speakeasy import Retried

_POSTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        "chat/completions": mistral.CHAT,
        "agents/completions": mistral.CHAT,
        "fim/completions": mistral.FIM,
        "embeddings": mistral.EMBEDDINGS,
        "moderations": mistral.MODERATIONS,
        "classifications": mistral.MODERATIONS,
        "ocr": mistral.OCR,
        "responses": mistral.RESPONSES,
        "audio/speech": mistral.SPEECH,
    }
)
_TRANSCRIPTIONS: Final = "/audio/transcriptions"
_CONVERSATION: Final = re.compile(r"/conversations(?:/[^/]+(?:/restart)?)?/?$")
_FILE: Final = re.compile(r"/files/[^/]+/content$")
_PREDICT: Final = ("rawPredict", "streamRawPredict")  # Google Cloud, whose path says nothing of what is asked
_ANNOTATIONS: Final = ("bbox_annotation_format", "document_annotation_format")
_BEARER: Final = "Bearer "


def _find(path: str, body: Mapping[str, Any]) -> Endpoint | None:
    *_, parent, last = ("", *path.rstrip("/").split("/"))
    found = _POSTS.get(f"{parent}/{last}") or _POSTS.get(last)
    if found is mistral.OCR and any(body.get(name) for name in _ANNOTATIONS):
        return mistral.OCR_ANNOTATED
    if found is None and last.endswith(_PREDICT):
        return mistral.CHAT if "messages" in body else mistral.FIM
    if found is None and _CONVERSATION.search(path):
        return mistral.CONVERSATION
    return found


@dataclass(frozen=True, slots=True)
class Mistral:
    """The SDK as the runtime knows it."""

    name: str = "mistralai"

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch an imported module of the SDK; what it lacks is reported to `problems`, and the rest still works."""
        version = str(getattr(getattr(module, "SDKConfiguration", None), "sdk_version", "?"))
        patches = Patches()
        hooks = _Hooks(self.name, version, recorder, problems, patches)
        hooks.platform = _platform(module.__name__)
        hooks.wrap(module, "BaseSDK", "do_request", hooks.around)
        hooks.wrap(module, "BaseSDK", "do_request_async", hooks.around_async)
        home = module.__name__.rpartition(".")[0]
        hooks.watch_attempts(home)
        tracing = sys.modules.get(f"{home}._hooks.tracing")
        if tracing is not None:
            _replace_own_spans(tracing, hooks)
        return patches


def _replace_own_spans(tracing: Any, hooks: _Hooks) -> None:
    """Keep the SDK from making spans of its own beside ours, for a tracer provider that gets ours.

    It asks for a tracer at every request, naming a provider that was given to the SDK itself (Mistral's own telemetry),
    which goes on getting the SDK's spans. Before version 2 it had the global one alone, and asked once.
    """
    ask, start = "get_or_create_otel_tracer", "get_traced_request_and_span"
    for name in (ask, start):
        if name not in vars(tracing):
            hooks.missing(f"_hooks.tracing.{name}")
            return
    if "provider" in signature(tracing.get_or_create_otel_tracer).parameters:
        hooks.patches.wrap(tracing, ask, hooks.tracer)
    else:
        hooks.patches.wrap(tracing, start, hooks.request_and_span)


def _platform(module: str) -> str:
    """Who bills the clients of a module, whatever their host is."""
    if "azure" in module:
        return "azure_openai"
    return "google_vertex" if "gcp" in module else ""


class _Hooks(Retried):
    """The wrappers. Both methods take ``(hook_ctx, request, ...)`` and are made for every request."""

    platform = ""
    """Who bills the clients of this module, whatever their host is; ``""``: the host says."""

    def start(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        request = args[1] if len(args) > 1 else kwargs["request"]
        # What makes the requests of one client is many objects; they share its configuration.
        owner = instance.sdk_configuration
        if request.method == "GET" and _FILE.search(request.url.path):
            return self.recorder.begin(mistral.RESULTS, owner, self._facts(owner, request), {})
        if request.method != "POST":
            return None
        if request.url.path.endswith(_TRANSCRIPTIONS):
            asked = {"model": _form_field(request, "model"), "stream": kwargs.get("stream") is True}
            return self.recorder.begin(mistral.TRANSCRIPTIONS, owner, self._facts(owner, request), asked)
        if "json" not in request.headers.get("content-type", ""):
            return None
        path = request.url.path
        if _find(path, {}) is None:
            return None  # most requests are none of ours: their bodies stay unread
        body = fields(json.loads(request.content))
        endpoint = _find(path, body)
        if endpoint is None:
            return None
        return self.recorder.begin(endpoint, owner, self._facts(owner, request), body)

    def error_name(self, status: int) -> str:
        return "HTTPValidationError" if status == 422 else "SDKError"

    def _facts(self, owner: Any, request: Any) -> ClientFacts:
        url = request.url
        # Google's tokens last an hour and name nobody.
        credential = "" if self.platform == "google_vertex" else request.headers.get("authorization", "")
        return self.facts_at(
            owner,
            base_url=f"{url.scheme}://{url.netloc.decode('ascii')}",
            credential=credential.removeprefix(_BEARER),
            platform=self.platform,
            wire="mistral",
        )

    def tracer(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = wrapped(*args, **kwargs)
        if self._is_recorded() and kwargs.get("provider") is None and not args:
            return False, found[1]
        return found

    def request_and_span(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._is_recorded() and "request" in kwargs:
            return kwargs["request"], None
        return wrapped(*args, **kwargs)

    def _is_recorded(self) -> bool:
        return self.current() is not None


def _form_field(request: Any, name: str) -> str:
    """A text field of a form; a file in it is not read."""
    if "urlencoded" in request.headers.get("content-type", ""):
        return next(iter(parse_qs(request.content.decode()).get(name, ())), "")
    parts = fields(getattr(request, "stream", None)).get("fields")
    return next((text(part.value) for part in items(parts) if part.name == name), "")


MISTRAL: Final = Mistral()
