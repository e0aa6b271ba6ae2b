"""The Anthropic SDK: which of its requests are billed, and how to read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _anthropic_messages as messages
from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._stainless import Sdk

_POSTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        "/v1/messages": messages.MESSAGES,
        "/v1/messages?beta=true": messages.MESSAGES,
    }
)


_RESULTS: Final = re.compile(r"/v1/messages/batches/([^/?]+)/results")


def _find(method: str, url: str) -> Endpoint | None:
    if method == "post":
        return _POSTS.get(url)
    # The results' URL is the one that the batch itself names: a whole one.
    return messages.RESULTS if method == "get" and _RESULTS.search(url) else None


def _replace_own_span(client: Any, options: Any) -> None:
    """Keep the SDK from making a span of its own for this request.

    From version 2 on the SDK traces itself as soon as a tracer provider is set: a second span for the same call. It
    makes none for a request without a span name. What it would have done besides, sending the trace context of its span
    to the provider, is done here with ours.
    """
    known: dict[str, Any] = options.__dict__
    if not known.get("span_name"):
        return
    known["span_name"] = None
    native = client.__dict__.get("_open_telemetry")
    if native and native["propagation"] and native["traces"]["enabled"]:
        from opentelemetry import propagate  # it reads the entry points of all that is installed

        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        if carrier:
            headers = options.headers
            known["headers"] = {**(headers if isinstance(headers, dict) else {}), **carrier}


ANTHROPIC: Final = Sdk(
    name="anthropic",
    wire="anthropic",
    clients=("Anthropic", "AsyncAnthropic"),
    find=_find,
    prepare=_replace_own_span,
)
