"""LiteLLM's answers, in the OpenAI shapes that it translates every provider's into: what they say.

LiteLLM counts inclusively: ``prompt_tokens`` holds cache reads and writes, ``completion_tokens`` reasoning, whatever
the provider does. It invents response ids (``chatcmpl-<uuid>``) and, for Claude, estimates reasoning tokens with a
tokenizer; neither is taken over (https://docs.litellm.ai/docs/completion/usage).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _anthropic_messages as messages
from spanledger.instrumentation import _cohere as cohere
from spanledger.instrumentation import _openai_chat as chat
from spanledger.instrumentation import _openai_media as media
from spanledger.instrumentation import _openai_responses as responses
from spanledger.instrumentation._answer import Answer, Counted, Endpoint
from spanledger.instrumentation._bodies import MAX_DOCUMENT_BYTES
from spanledger.instrumentation._openai_usage import INCONSISTENT
from spanledger.instrumentation._openai_usage import read_usage as read_openai_usage
from spanledger.instrumentation._reading import fields, integer, items, snapshot, text
from spanledger.semconv.usage import Usage, known_sum

_INVENTED: Final = re.compile(r"(?:chatcmpl-|cmpl-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
_ENCODED: Final = "resp_"
_TOLD_ID: Final = ";response_id:"


def _read_usage(answer: Answer) -> Counted:
    usage = answer.usage
    if not usage:
        return Counted(usage=Usage(counts=answer.counts or {}, partial=answer.is_partial))
    inputs, outputs = integer(usage.get("prompt_tokens")), integer(usage.get("completion_tokens"))
    of_input = fields(usage.get("prompt_tokens_details"))
    of_output = fields(usage.get("completion_tokens_details"))
    written = fields(of_input.get("cache_creation_token_details"))
    parts: dict[str, int | None] = {
        "cache_read": integer(of_input.get("cached_tokens")),
        "cache_write_5m": integer(written.get("ephemeral_5m_input_tokens")),
        "cache_write_1h": integer(written.get("ephemeral_1h_input_tokens")),
        "input_audio": integer(of_input.get("audio_tokens")) or None,
        "input_image": integer(of_input.get("image_tokens")) or None,
    }
    in_all = integer(usage.get("cache_creation_input_tokens", of_input.get("cache_creation_tokens")))
    lifetimes = known_sum(parts["cache_write_5m"], parts["cache_write_1h"])
    if in_all is not None and in_all != lifetimes:
        parts |= {"cache_write": in_all, "cache_write_5m": None, "cache_write_1h": None}
    made: dict[str, int | None] = {
        # Anthropic counts no reasoning tokens: LiteLLM would be guessing
        "reasoning": None if "claude" in answer.model else integer(of_output.get("reasoning_tokens")),
        "output_audio": integer(of_output.get("audio_tokens")) or None,
        "output_image": integer(of_output.get("image_tokens")) or None,
    }
    notes: tuple[str, ...] = ()
    if inputs is not None and inputs < (known_sum(*parts.values()) or 0):
        parts, notes = {}, (INCONSISTENT,)
    if outputs is not None and outputs < (known_sum(*made.values()) or 0):
        made, notes = {}, (INCONSISTENT,)
    counts = dict(answer.counts or {})
    searches = integer(fields(usage.get("server_tool_use")).get("web_search_requests"))
    if searches or (searches := integer(of_input.get("web_search_requests"))):
        counts["web_searches"] = searches
    classes: dict[str, Any] = {**parts, **made}
    return Counted(
        usage=Usage(
            input_uncached=None if inputs is None else inputs - (known_sum(*parts.values()) or 0),
            output_text=None if outputs is None else outputs - (known_sum(*made.values()) or 0),
            counts=counts,
            partial=answer.is_partial,
            **classes,
        ),
        notes=notes,
    )


def identify(answer: Answer, told: Mapping[str, Any]) -> None:
    """Give an answer the id that the provider gave it, where LiteLLM kept it; never one that LiteLLM invented.

    Args:
        answer: the answer; changed.
        told: LiteLLM's record of the call, which holds the provider's own document for answers that are no streams.
    """
    identifier = _decoded(answer.id)
    if not identifier or _INVENTED.match(identifier):
        original = told.get("original_response")
        document: Mapping[str, Any] = {}
        if isinstance(original, str) and original.startswith("{") and len(original) <= MAX_DOCUMENT_BYTES:
            try:
                document = fields(json.loads(original))
            except ValueError:
                document = {}
        identifier = text(document.get("id")) or text(document.get("responseId"))
    answer.id = "" if _INVENTED.match(identifier) else identifier


def _decoded(identifier: str) -> str:
    """LiteLLM writes where a response lives into its id: ``resp_<base64 of litellm:...;response_id:...>``."""
    if not identifier.startswith(_ENCODED):
        return identifier
    try:
        inside = base64.b64decode(identifier[len(_ENCODED) :] + "==", validate=False).decode()
    except (binascii.Error, UnicodeDecodeError):
        return identifier
    return inside.partition(_TOLD_ID)[2] if _TOLD_ID in inside else identifier


class ChunksReader:
    """Reads a stream by the chunks that LiteLLM itself keeps: there, usage stands that the caller did not ask for."""

    def __init__(self, kept: list[Any], captures: bool) -> None:
        self._kept = kept
        self._captures = captures

    def feed(self, _chunk: Any) -> bool:
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        reader = chat.CapturingChatReader(False) if self._captures else chat.CompletionReader(False)
        usage: dict[str, Any] = {}
        for chunk in list(self._kept):
            reader.feed(chunk)
            _merge(usage, snapshot(fields(chunk).get("usage")))
        answer = reader.answer(is_complete=is_complete)
        answer.is_partial = not (is_complete or answer.finish_reasons)
        answer.notes = ("stream_ended_early",) if answer.is_partial else ()
        if answer.is_partial:
            # What the first chunk says of the output is a placeholder.
            usage.pop("completion_tokens", None)
            usage.pop("completion_tokens_details", None)
        answer.usage = usage or None
        identify(answer, MappingProxyType({}))
        return answer


def _merge(usage: dict[str, Any], told: Mapping[str, Any]) -> None:
    """A chunk that has nothing to say of a class says 0, or nothing."""
    for name, value in told.items():
        if isinstance(value, dict):
            known: dict[str, Any] = usage.setdefault(name, {})
            _merge(known, value)  # pyright: ignore[reportUnknownArgumentType]
        elif value or (value is not None and name not in usage):
            usage[name] = value


class EventsReader(responses.ResponseReader):
    """Reads the events of a streamed response."""

    __slots__ = ()

    def answer(self, *, is_complete: bool) -> Answer:
        answer = super().answer(is_complete=is_complete)
        identify(answer, MappingProxyType({}))
        return answer


def _read_text(response: Mapping[str, Any]) -> Answer:
    """An answer without choices that hold messages (embeddings, legacy completions)."""
    usage = response.get("usage")
    reasons = (text(fields(choice).get("finish_reason")) for choice in items(response.get("choices")))
    return Answer(
        model=text(response.get("model")),
        id=text(response.get("id")),
        usage=snapshot(usage) if usage is not None else None,
        finish_reasons=tuple(filter(None, reasons)),
    )


def _read_made(endpoint: Endpoint) -> Callable[[Mapping[str, Any]], Answer]:
    """Read pictures and texts of sounds: where a provider tells no usage, LiteLLM puts zeros in its place."""

    def read(response: Mapping[str, Any]) -> Answer:
        answer = endpoint.read_response(response)
        if answer.usage is not None and not any(isinstance(n, int) and n for n in answer.usage.values()):
            answer.usage = None
        return answer

    return read


def _above(endpoint: Endpoint, **changes: Any) -> Endpoint:
    """An endpoint of OpenAI's as a library offers it that may or may not use the OpenAI SDK."""
    return replace(endpoint, starts_late=True, yields=True, ask_for_usage=None, new_reader=None, **changes)


CHAT: Final = _above(chat.CHAT, read_usage=_read_usage, attributes=MappingProxyType({}))
COMPLETIONS: Final = _above(chat.COMPLETIONS, read_usage=_read_usage, read_response=_read_text)
EMBEDDINGS: Final = _above(chat.EMBEDDINGS, read_usage=_read_usage, read_response=_read_text)
RESPONSES: Final = _above(responses.RESPONSES, read_usage=read_openai_usage)
RERANK: Final = _above(cohere.RERANK)
IMAGES: Final = _above(media.IMAGES, read_response=_read_made(media.IMAGES))
TRANSCRIPTIONS: Final = _above(media.TRANSCRIPTIONS, read_response=_read_made(media.TRANSCRIPTIONS))
SPEECH: Final = _above(media.SPEECH)
MESSAGES: Final = _above(messages.MESSAGES)
