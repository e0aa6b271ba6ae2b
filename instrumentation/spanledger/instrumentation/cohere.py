"""The Cohere SDK: which of its requests are billed, and how to hear of them.

Every method of every client sends its request through the two methods of one class (and of its asynchronous twin), so
these are patched, and raw responses come with them. Besides, embeddings of many texts are sent in batches from threads,
to which the caller's context (its span and labels) has to be carried.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _attempts as attempts
from spanledger.instrumentation import _cohere as cohere
from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import ClientFacts
from spanledger.instrumentation._exchanges import Exchanges
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import fields, text
from spanledger.instrumentation._recorder import Recorder

_POSTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        "v2/chat": cohere.CHAT,
        "v2/embed": cohere.EMBED,
        "v2/rerank": cohere.RERANK,
        "v2/parse": cohere.PARSE,
        "v2/audio/transcriptions": cohere.TRANSCRIPTIONS,
        "v1/chat": cohere.CHAT_V1,
        "v1/embed": cohere.EMBED,
        "v1/rerank": cohere.RERANK,
        "v1/generate": cohere.GENERATE,
        "v1/summarize": cohere.SUMMARIZE,
        "v1/classify": cohere.CLASSIFY,
    }
)
_JOBS: Final[Mapping[str, Endpoint]] = MappingProxyType({"v1/embed-jobs": cohere.EMBED_JOB, "v2/batches": cohere.BATCH})
# The SDK's own table, of which it makes exceptions after we have seen the response.
_ERRORS: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "BadRequestError",
        401: "UnauthorizedError",
        403: "ForbiddenError",
        404: "NotFoundError",
        422: "UnprocessableEntityError",
        429: "TooManyRequestsError",
        498: "InvalidTokenError",
        499: "ClientClosedRequestError",
        500: "InternalServerError",
        501: "NotImplementedError",
        503: "ServiceUnavailableError",
        504: "GatewayTimeoutError",
    }
)
# Who bills the clients of cloud platforms. Their base URL is Cohere's; a hook of the HTTP client turns requests around.
_PLATFORM_HOOKS: Final[Mapping[str, str]] = MappingProxyType(
    {"cohere.aws_client": "aws_bedrock", "cohere.oci_client": "oracle"}
)

# What the SDK asks how long to wait, when an attempt was answered with a failure or raised, and another one follows.
_BEFORE_RETRIES: Final = ("_retry_timeout", "_retry_timeout_from_retries")


def _find(method: str, path: str) -> Endpoint | None:
    if method == "POST":
        return _POSTS.get(path)
    return _JOBS.get(path.rpartition("/")[0]) if method == "GET" else None


@dataclass(frozen=True, slots=True)
class Cohere:
    """The SDK as the runtime knows it."""

    name: str = "cohere"

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch an imported module of the SDK; what it lacks is reported to `problems`, and the rest still works."""
        patches = Patches()
        hooks = _Hooks(self.name, _version(), recorder, problems, patches)
        if module.__name__ == "cohere.client":
            hooks.wrap(module, "Client", "embed", hooks.embed)
            return patches
        hooks.wrap(module, "HttpClient", "request", hooks.around)
        hooks.wrap(module, "HttpClient", "stream", hooks.stream)
        hooks.wrap(module, "AsyncHttpClient", "request", hooks.around_async)
        hooks.wrap(module, "AsyncHttpClient", "stream", hooks.stream_async)
        for function in _BEFORE_RETRIES:
            if function in vars(module):
                patches.wrap(module, function, hooks.retrying)
        return patches


def _version() -> str:
    from importlib import metadata

    return metadata.version("cohere")


class _Hooks(Exchanges):
    """The wrappers. All methods take ``(path, *, method, base_url=None, json=None, retries=0, ...)``."""

    has_lines = True

    def start(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        if kwargs.get("retries"):
            # The method calls itself to try again, inside the call that is open. Older versions count from 2.
            if (call := self.current()) is not None:
                call.resends += 1
            return None
        path = args[0] if args else kwargs.get("path")
        endpoint = _find(text(kwargs.get("method")), text(path))
        if endpoint is None:
            return None
        facts = self._facts(instance, kwargs.get("base_url"))
        return self.recorder.begin(endpoint, instance, facts, fields(kwargs.get("json") or kwargs.get("data")))

    def retrying(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.in_attempts(attempts.note_either, kwargs.get("response"), sys.exc_info()[1])
        return wrapped(*args, **kwargs)

    def error_name(self, status: int) -> str:
        return _ERRORS.get(status, "ApiError")

    def _facts(self, client: Any, base_url: Any) -> ClientFacts:
        own = client.base_url
        # What gives the headers is a method of the object that holds the key; asking for them would make one anew.
        holder = getattr(client.base_headers, "__self__", None)
        return self.facts_at(
            client,
            base_url=text(base_url) or text(own() if callable(own) else own),
            credential=fields(holder).get("_token"),
            platform=_platform(client.httpx_client),
            wire="cohere",
        )

    @contextmanager
    def _streaming(self, wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Any]:
        call = self.begin(self.start, client, args, kwargs)
        with ExitStack() as stack:
            try:
                response = stack.enter_context(wrapped(*args, **kwargs))
            except BaseException as error:
                self.failed(call, error)
                raise
            if call is not None:
                self.answered(call, response)
            yield response

    def stream(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._streaming(wrapped, instance, args, kwargs)

    @asynccontextmanager
    async def _streaming_async(
        self, wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        call = self.begin(self.start, client, args, kwargs)
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(wrapped(*args, **kwargs))
            except BaseException as error:
                self.failed(call, error)
                raise
            if call is not None:
                self.answered(call, response)
            yield response

    def stream_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._streaming_async(wrapped, instance, args, kwargs)

    def embed(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            if self.patches.is_active:
                twin = copy.copy(instance)
                twin._executor = _InContext(instance._executor)
                wrapped = partial(wrapped.__func__, twin)
        except Exception as error:  # noqa: BLE001 - the boundary: the call goes on, its spans stand alone
            self.problems.ours("carrying the context to threads", error)
        return wrapped(*args, **kwargs)


class _InContext:
    """A thread pool whose threads work in the context of whoever gives them work."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def map(self, function: Any, *arguments: Any, **options: Any) -> Any:
        context = copy_context()

        def work(*each: Any) -> Any:
            return context.copy().run(function, *each)  # a context cannot be entered twice at a time

        return self._executor.map(work, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


def _platform(http_client: Any) -> str:
    for hook in fields(getattr(http_client, "event_hooks", None)).get("request", ()):
        platform = _PLATFORM_HOOKS.get(text(getattr(hook, "__module__", "")))
        if platform == "aws_bedrock":
            # One hook serves both of Amazon's services; which one it signs for is bound into it.
            bound = [cell.cell_contents for cell in hook.__closure__ or ()]
            return "aws_sagemaker" if "sagemaker" in bound else platform
        if platform:
            return platform
    return ""


COHERE: Final = Cohere()
