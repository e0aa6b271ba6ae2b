"""The OpenAI SDK: which of its requests are billed, and how to read them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _openai_chat as chat
from spanledger.instrumentation import _openai_media as media
from spanledger.instrumentation import _openai_responses as responses
from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._batches import openai_item, openai_items
from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._recorder import Recorder
from spanledger.instrumentation._stainless import Sdk

_POSTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        "/chat/completions": chat.CHAT,
        "/completions": chat.COMPLETIONS,
        "/embeddings": chat.EMBEDDINGS,
        "/images/generations": media.IMAGES,
        "/images/edits": media.IMAGES,
        "/images/variations": media.IMAGES,
        "/audio/speech": media.SPEECH,
        "/audio/transcriptions": media.TRANSCRIPTIONS,
        "/audio/translations": media.TRANSCRIPTIONS,
        "/responses": responses.RESPONSES,
        "/responses/compact": responses.COMPACT,
        "/decisions": responses.DECISIONS,
    }
)


_LOOKUPS: Final[Mapping[str, Endpoint]] = MappingProxyType({"responses": responses.POLL, "videos": media.VIDEOS})
_BATCHED: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        "chat.completion": replace(chat.CHAT, starts_late=True),
        "text_completion": replace(chat.COMPLETIONS, starts_late=True),
        "list": replace(chat.EMBEDDINGS, starts_late=True),
        "response": replace(responses.RESPONSES, starts_late=True),
    }
)
_FILE: Final = replace(
    chat.EMBEDDINGS,
    input_messages=None,
    starts_late=True,
    read_items=partial(openai_items, endpoints=_BATCHED),
    read_item=partial(openai_item, endpoints=_BATCHED),
)


def _find(method: str, url: str) -> Endpoint | None:
    if method == "post" and (found := _POSTS.get(url)) is not None:
        return found
    # Beta resources ask with a query; applications that ask by themselves (`client.post`) may leave out the slash.
    path = url.partition("?")[0].strip("/")
    if method == "post":
        if path.startswith("responses/") and path.endswith("/cancel"):
            return responses.POLL
        return _POSTS.get(f"/{path}")
    if method == "get":
        kind, _, rest = path.partition("/")
        if kind == "files" and rest.endswith("/content"):
            return _FILE
        if rest and "/" not in rest:
            return _LOOKUPS.get(kind)
    return None


_REQUESTS: Final = Sdk(
    name="openai",
    wire="openai",
    clients=("OpenAI", "AsyncOpenAI"),
    find=_find,
)


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The SDK as the runtime knows it: its requests, and the connections that stay open."""

    name: str = _REQUESTS.name

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch an imported module of the SDK; what it lacks is reported to `problems`, and the rest still works."""
        if module.__name__ == self.name:
            return _REQUESTS.patch(module, recorder, problems)
        from spanledger.instrumentation import _openai_realtime as realtime

        version = str(getattr(sys.modules.get(self.name), "__version__", "?"))
        return realtime.patch(module, self.name, version, recorder, problems)


OPENAI: Final = OpenAI()
