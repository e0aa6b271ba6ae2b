"""Calls of SDKs that are watched where a request is sent: a method goes in with the request's body and comes out with
an HTTP response (httpx or httpx2), of which the SDK makes its types, streams and exceptions afterwards, undisturbed.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any

from spanledger.instrumentation._bodies import document_of, watch_response
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._hooks import MethodHooks
from spanledger.instrumentation._reading import text


class Exchanges(MethodHooks):
    """Wrappers for the methods that send requests.

    Attributes:
        has_lines: streams may be JSON lines as well as server-sent events.
    """

    has_lines = False

    @abstractmethod
    def error_name(self, status: int) -> str:
        """The name of the exception that the SDK raises for an HTTP status."""

    def read_answer(self, call: Call, answer: Any, _told: Any) -> Any:
        """A response came, read or still on the wire."""
        call.responded(answer)
        if answer.status_code >= 400:
            call.refuse(self.error_name(answer.status_code), code=_code(answer))
            return answer
        new_reader = call.endpoint.new_reader if call.is_stream else None
        captures = self.recorder.settings.capture_content
        watch_response(
            call, answer, partial(new_reader, False, captures) if new_reader else None, has_lines=self.has_lines
        )
        return answer


def _code(response: Any) -> str:
    """The provider's word for an error, where the body is read already; never its message, which may quote content."""
    if not response.is_closed:
        return ""
    told = document_of(response.content)
    return text(told.get("type")) or text(told.get("code"))
