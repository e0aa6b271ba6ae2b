"""Attempts of a request that an SDK makes up for itself: each is an event of the call's span, at the time it failed.

SDKs send a request again when it broke off or was answered with certain statuses. That stays one call, of which only
the last attempt can be billed.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns
from typing import Any, Final

from spanledger.instrumentation._attributes import ERROR_TYPE
from spanledger.instrumentation._call import Call, identities
from spanledger.semconv import names

FAILED_ATTEMPT: Final = "spanledger.failed_attempt"
"""The span event of an attempt that the SDK made up for itself. Nothing is billed for it."""


def refused(response: Any) -> dict[str, Any]:
    """An attempt that was answered with an error status: by its HTTP response (httpx or httpx2)."""
    status = response.status_code
    return {ERROR_TYPE: str(status), names.HTTP_STATUS: status, **identities(response.headers)}


def raised(error: BaseException | None) -> dict[str, Any]:
    """An attempt that raised; many errors hold the response that they were made of."""
    response = getattr(error, "response", None)
    if hasattr(getattr(response, "headers", None), "raw"):
        return refused(response)
    return {ERROR_TYPE: type(error).__qualname__}


def note(call: Call, attempt: Mapping[str, Any], failed_ns: int | None = None) -> None:
    """Another attempt of the call follows one that failed at ``failed_ns`` (ns since the epoch; ``None``: now)."""
    if call.span is not None:
        call.span.add_event(FAILED_ATTEMPT, dict(attempt), failed_ns)


def note_either(call: Call, response: Any, error: BaseException | None) -> None:
    """`note` an attempt by its response, or by what it raised where there is none."""
    note(call, raised(error) if response is None else refused(response))


def keep(call: Call, attempt: Mapping[str, Any]) -> None:
    """An attempt failed, and only the next one, if it is made, tells that it was not the last."""
    call.last_failure = (time_ns(), attempt)


def note_kept(call: Call) -> None:
    """An attempt begins: the one that failed before it, if any, was made up for."""
    failure = getattr(call, "last_failure", None)
    if failure is not None:
        del call.last_failure
        call.resends += 1
        note(call, failure[1], failure[0])
