"""Calls of SDKs that are watched where a request is sent: a method goes in with the request's body and comes out with
an HTTP response (httpx or httpx2), of which the SDK makes its types, streams and exceptions afterwards, undisturbed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._bodies import document_of, watch_response
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._clients import ClientFacts
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import text
from spanledger.instrumentation._recorder import Recorder


@dataclass(frozen=True, slots=True)
class Asked:
    """A billed request: how to read its answer, the object that sends it, and its body."""

    endpoint: Endpoint
    client: Any
    facts: ClientFacts
    body: Mapping[str, Any]


class Exchanges(ABC):
    """Wrappers for the methods that send requests.

    Attributes:
        has_lines: streams may be JSON lines as well as server-sent events.
    """

    has_lines = False

    def __init__(self, recorder: Recorder, problems: Problems, patches: Patches) -> None:
        self._recorder = recorder
        self._problems = problems
        self._patches = patches

    @abstractmethod
    def asked(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked | None:
        """What a call of the method asks; ``None`` for what is not billed."""

    @abstractmethod
    def error_name(self, status: int) -> str:
        """The name of the exception that the SDK raises for an HTTP status."""

    def send(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.begin(instance, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        try:
            response = wrapped(*args, **kwargs)
        except BaseException as error:
            self.failed(call, error)
            raise
        self.answered(call, response)
        return response

    async def send_async(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.begin(instance, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        try:
            response = await wrapped(*args, **kwargs)
        except BaseException as error:
            self.failed(call, error)
            raise
        self.answered(call, response)
        return response

    def begin(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Start the call, if it is one that is recorded."""
        if not self._patches.is_active:
            return None
        try:
            asked = self.asked(client, args, kwargs)
            if asked is None:
                return None
            return self._recorder.begin(asked.endpoint, asked.client, asked.facts, asked.body)
        except Exception as error:  # noqa: BLE001 - the boundary: the call goes on unrecorded
            self._problems.ours("starting a call", error)
            return None

    def failed(self, call: Call, error: BaseException) -> None:
        """No response came."""
        try:
            call.fail(error)
            self._recorder.leave(call)
        except Exception as ours:  # noqa: BLE001 - the boundary: the caller sees the SDK's error alone
            self._problems.ours("ending a failed call", ours)

    def answered(self, call: Call, response: Any) -> None:
        """A response came, read or still on the wire."""
        try:
            self._recorder.leave(call)
            call.responded(response)
            if response.status_code >= 400:
                call.refuse(self.error_name(response.status_code), code=_code(response))
                return
            new_reader = call.endpoint.new_reader if call.is_stream else None
            captures = self._recorder.settings.capture_content
            watch_response(
                call, response, partial(new_reader, False, captures) if new_reader else None, has_lines=self.has_lines
            )
        except Exception as error:  # noqa: BLE001 - the boundary: the caller gets its response
            call.notes = (*call.notes, "unreadable_answer")
            call.finish()
            self._problems.ours("ending a call", error)


def _code(response: Any) -> str:
    """The provider's word for an error, where the body is read already; never its message, which may quote content."""
    if not response.is_closed:
        return ""
    told = document_of(response.content)
    return text(told.get("type")) or text(told.get("code"))
