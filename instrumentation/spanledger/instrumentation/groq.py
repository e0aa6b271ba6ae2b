"""The Groq SDK: OpenAI's API, with Groq's own facts beside it (``x_groq``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _openai_chat as chat
from spanledger.instrumentation import _openai_media as media
from spanledger.instrumentation._answer import Answer, Endpoint
from spanledger.instrumentation._batches import openai_item, openai_items
from spanledger.instrumentation._reading import fields, snapshot, text
from spanledger.instrumentation._stainless import Sdk


def _read_chat(response: Mapping[str, Any]) -> Answer:
    answer = chat.CHAT.read_response(response)
    answer.request_id = text(fields(response.get("x_groq")).get("id"))
    return answer


def _read_transcript(response: Mapping[str, Any]) -> Answer:
    answer = media.TRANSCRIPTIONS.read_response(response)
    answer.request_id = text(fields(response.get("x_groq")).get("id"))
    return answer


class _Told:
    """What ``x_groq`` said in the chunks of a stream: the first has the request's id, the last the usage."""

    __slots__ = ("error", "request_id", "usage")

    def __init__(self) -> None:
        self.request_id = ""
        self.error = ""
        self.usage: Mapping[str, Any] | None = None

    def hear(self, told: Mapping[str, Any]) -> None:
        self.request_id = text(told.get("id")) or self.request_id
        self.error = text(told.get("error")) or self.error
        if (usage := told.get("usage")) is not None:
            self.usage = snapshot(usage)

    def add_to(self, answer: Answer) -> Answer:
        answer.request_id = self.request_id
        if answer.usage is None and self.usage is not None:
            answer.usage = self.usage
            answer.is_partial = False
            answer.notes = ()
        if self.error:
            answer.error_type = "stream_error"
            answer.is_partial = answer.usage is None
        return answer


class _Reader(chat.ChatReader):
    """Reads a stream, whose usage comes unasked in ``x_groq``."""

    __slots__ = ("_told",)

    def __init__(self, hides_usage: bool) -> None:
        super().__init__(hides_usage)
        self._told = _Told()

    def feed(self, chunk: Any) -> bool:
        told = fields(chunk).get("x_groq")
        if told is not None:
            self._told.hear(fields(told))
        return super().feed(chunk)

    def answer(self, *, is_complete: bool) -> Answer:
        return self._told.add_to(super().answer(is_complete=is_complete))


class _CapturingReader(chat.CapturingChatReader):
    """Keeps the generated texts as well."""

    __slots__ = ("_told",)

    def __init__(self, hides_usage: bool) -> None:
        super().__init__(hides_usage)
        self._told = _Told()

    def feed(self, chunk: Any) -> bool:
        self._told.hear(fields(fields(chunk).get("x_groq")))
        return super().feed(chunk)

    def answer(self, *, is_complete: bool) -> Answer:
        return self._told.add_to(super().answer(is_complete=is_complete))


def _new_reader(hides_usage: bool, captures: bool) -> chat.ChatReader:
    return _CapturingReader(hides_usage) if captures else _Reader(hides_usage)


# Nothing is asked for in streams: Groq tells their usage to everybody.
_CHAT: Final = replace(
    chat.CHAT, read_response=_read_chat, new_reader=_new_reader, ask_for_usage=None, attributes=MappingProxyType({})
)
_TRANSCRIPTIONS: Final = replace(media.TRANSCRIPTIONS, read_response=_read_transcript)
_ROOT: Final = "/openai/v1"
_POSTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        f"{_ROOT}/chat/completions": _CHAT,
        f"{_ROOT}/embeddings": chat.EMBEDDINGS,
        f"{_ROOT}/audio/speech": media.SPEECH,
        f"{_ROOT}/audio/transcriptions": _TRANSCRIPTIONS,
        f"{_ROOT}/audio/translations": _TRANSCRIPTIONS,
    }
)
_BATCHED: Final[Mapping[str, Endpoint]] = MappingProxyType({"chat.completion": replace(_CHAT, starts_late=True)})
_FILE: Final = replace(
    chat.EMBEDDINGS,
    input_messages=None,
    starts_late=True,
    read_items=partial(openai_items, endpoints=_BATCHED),
    read_item=partial(openai_item, endpoints=_BATCHED),
)


def _find(method: str, url: str) -> Endpoint | None:
    if method == "post":
        return _POSTS.get(url)
    if method == "get" and url.startswith(f"{_ROOT}/files/") and url.endswith("/content"):
        return _FILE
    return None


GROQ: Final = Sdk(
    name="groq",
    wire="groq",
    clients=("Groq", "AsyncGroq"),
    find=_find,
)
