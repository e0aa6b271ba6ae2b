"""Cohere's documents: chat of both API versions, embeddings, reranking and what is left of the older endpoints.

Every answer counts twice: ``tokens`` is what the model saw and made, ``billed_units`` what the invoice says. They
differ, because Cohere does not bill the tokens of the templates that it wraps around a prompt
(https://docs.cohere.com/docs/how-does-cohere-pricing-work); so usage is what was billed, wherever an answer tells it.
Counts come as doubles. Neither version names the model that answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation import _openai_chat as openai
from spanledger.instrumentation._answer import Answer, Counted, Endpoint
from spanledger.instrumentation._reading import fields, integer, items, size, snapshot, text, to_json
from spanledger.instrumentation._requests import copy_fields
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall
from spanledger.semconv.usage import Usage

Document = Mapping[str, Any]

BILLED_BY_TOKENS: Final = "billed_units_missing"
"""Note: the answer did not say what is billed (a private deployment): usage is what the model saw and made."""
CACHE_BEYOND_BILL: Final = "cache_beyond_billed_tokens"
"""Note: more tokens came from the cache than were billed, so that no billed class can hold them."""

_REQUEST: Final = (
    ("temperature", gen_ai.GEN_AI_REQUEST_TEMPERATURE, (int, float)),
    ("p", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
    ("k", gen_ai.GEN_AI_REQUEST_TOP_K, (int,)),
    ("frequency_penalty", gen_ai.GEN_AI_REQUEST_FREQUENCY_PENALTY, (int, float)),
    ("presence_penalty", gen_ai.GEN_AI_REQUEST_PRESENCE_PENALTY, (int, float)),
    ("max_tokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("seed", gen_ai.GEN_AI_REQUEST_SEED, (int,)),
)
_KEYS: Final = (*(key for key, _, _ in _REQUEST), "stop_sequences", "response_format")
# What is billed by use: the unit's name in the price book.
_UNITS: Final = (
    ("search_units", "rerank_searches"),
    ("classifications", "classifications"),
    ("pages", "input_document_pages"),
    ("images", "images"),
)


def _read_request(request: Document, found: dict[str, Any]) -> None:
    copy_fields(_REQUEST, request, found)
    stops = tuple(stop for stop in items(request.get("stop_sequences")) if isinstance(stop, str))
    if stops:
        found[gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES] = stops
    if kind := text(fields(request.get("response_format")).get("type")):
        found[gen_ai.GEN_AI_OUTPUT_TYPE] = "text" if kind == "text" else "json"


def read_usage(answer: Answer) -> Counted:
    """The classes of ``usage`` (version 2) or ``meta`` (version 1)."""
    usage = answer.usage or {}
    billed = fields(usage.get("billed_units"))
    counts = {name: count for unit, name in _UNITS if (count := integer(billed.get(unit))) is not None}
    told = billed
    notes: tuple[str, ...] = ()
    if not any(isinstance(count, (int, float)) for count in billed.values()):
        told = fields(usage.get("tokens"))
        notes = (BILLED_BY_TOKENS,) if told else ()
    inputs, images = _inputs(told)
    cached = integer(usage.get("cached_tokens"))
    if cached is not None and inputs is not None:
        # There is no rate of its own for cached tokens; the split is told all the same.
        if cached <= inputs:
            inputs -= cached
        else:
            cached, notes = None, (*notes, CACHE_BEYOND_BILL)
    return Counted(
        usage=Usage(
            input_uncached=inputs,
            cache_read=cached if inputs is not None else None,
            input_image=images,
            output_text=integer(told.get("output_tokens")),
            counts=counts,
            partial=answer.is_partial,
        ),
        notes=notes,
    )


def _inputs(told: Document) -> tuple[int | None, int | None]:
    """Text and image tokens; embeddings of pictures tell them apart."""
    whole, images = integer(told.get("input_tokens")), integer(told.get("image_tokens"))
    texts = integer(told.get("text_tokens"))
    if images is None:
        return (texts if whole is None else whole), None
    if texts is None and whole is not None and whole >= images:
        texts = whole - images
    return texts, images


def _usage_of(document: Document) -> Document | None:
    told = document.get("usage", document.get("meta"))
    return snapshot(told) if told is not None else None


def _failure(reason: str) -> str:
    """The reason, where the answer ended with a failure; ``ERROR_LIMIT`` is a context that was full."""
    return reason if reason in ("ERROR", "ERROR_TOXIC", "TIMEOUT") else ""


def _reasons(*told: Any) -> tuple[str, ...]:
    return tuple(reason for reason in told if isinstance(reason, str) and reason)


# Chat, version 2


def _tool_uses(calls: Any) -> list[ToolCall]:
    found: list[ToolCall] = []
    for call in items(calls):
        known = fields(call)
        function = fields(known.get("function"))
        asked = function.get("arguments")
        found.append(
            ToolCall(
                name=text(function.get("name")),
                id=text(known.get("id")),
                input_bytes=size(asked),
                input=asked if isinstance(asked, str) else None,
            )
        )
    return found


def _read_chat(response: Document) -> Answer:
    reason = text(response.get("finish_reason"))
    return Answer(
        id=text(response.get("id")),
        usage=_usage_of(response),
        finish_reasons=_reasons(reason),
        tool_calls=_tool_uses(fields(response.get("message")).get("tool_calls")),
        error_type=_failure(reason),
    )


def _said(response: Document) -> list[Any]:
    return [content.message(fields(response.get("message")), finish_reason=text(response.get("finish_reason")))]


def _asked(body: Document) -> dict[str, Any]:
    return content.asked(body.get("messages"), tools=body.get("tools"))


class ChatReader:
    """Reads the events of a chat; the last one, ``message-end``, has the usage.

    Args:
        captures: keep the texts as well.
    """

    __slots__ = ("_captures", "_end", "_id", "_texts", "_tools")

    def __init__(self, _hides_usage: bool, captures: bool) -> None:
        self._captures = captures
        self._id = ""
        self._end: Document = {}
        self._tools: dict[int, dict[str, Any]] = {}
        self._texts: dict[tuple[int, str], list[str]] = {}

    def feed(self, event: Any) -> bool:
        kind = event.get("type")
        if kind == "content-delta":
            if self._captures:
                self._keep(event)
        elif kind == "message-end":
            self._end = snapshot(event.get("delta"))
            self._id = text(event.get("id")) or self._id
        elif kind == "message-start":
            self._id = text(event.get("id"))
        elif kind in ("tool-call-start", "tool-call-delta"):
            self._add_tool(event)
        return False

    def _keep(self, event: Document) -> None:
        told = fields(fields(fields(event.get("delta")).get("message")).get("content"))
        for kind in ("text", "thinking"):
            if piece := text(told.get(kind)):
                self._texts.setdefault((event.get("index") or 0, kind), []).append(piece)

    def _add_tool(self, event: Document) -> None:
        call = fields(fields(fields(event.get("delta")).get("message")).get("tool_calls"))
        function = fields(call.get("function"))
        tool = self._tools.setdefault(event.get("index") or 0, {"id": "", "name": "", "arguments": []})
        tool["id"] = tool["id"] or text(call.get("id"))
        tool["name"] = tool["name"] or text(function.get("name"))
        tool["arguments"].append(text(function.get("arguments")))

    def answer(self, *, is_complete: bool) -> Answer:
        usage = self._end.get("usage")
        reason = text(self._end.get("finish_reason"))
        is_partial = not is_complete and usage is None
        calls = [
            ToolCall(name=tool["name"], id=tool["id"], input_bytes=size(arguments), input=arguments)
            for _, tool in sorted(self._tools.items())
            for arguments in ("".join(tool["arguments"]),)
        ]
        return Answer(
            id=self._id,
            usage=snapshot(usage) if usage is not None else None,
            finish_reasons=_reasons(reason),
            tool_calls=calls,
            error_type=_failure(reason),
            is_partial=is_partial,
            notes=("stream_ended_early",) if is_partial else (),
            messages=self._messages(calls, reason) if self._captures else (),
        )

    def _messages(self, calls: list[ToolCall], reason: str) -> list[Any]:
        parts: list[dict[str, Any]] = [
            {"type": "text" if kind == "text" else "reasoning", "content": "".join(pieces)}
            for (_, kind), pieces in sorted(self._texts.items())
        ]
        parts += [content.tool_call(call.id, call.name, call.input) for call in calls]
        return [{"role": "assistant", "parts": parts, "finish_reason": reason}]


# Chat, version 1, and what is older


def _read_reply(response: Document) -> Answer:
    reason = text(response.get("finish_reason"))
    generated = [fields(one).get("finish_reason") for one in items(response.get("generations"))]
    return Answer(
        id=text(response.get("response_id")) or text(response.get("generation_id")) or text(response.get("id")),
        usage=_usage_of(response),
        finish_reasons=_reasons(reason, *generated),
        tool_calls=[
            ToolCall(name=text(call.get("name")), input_bytes=size(arguments), input=arguments)
            for call in map(fields, items(response.get("tool_calls")))
            for arguments in (to_json(call.get("parameters")),)
        ],
        error_type=_failure(reason),
    )


def _reply_said(response: Document) -> list[Any]:
    parts = content.parts(response.get("text"))
    parts += [
        content.tool_call("", call.get("name"), call.get("parameters"))
        for call in map(fields, items(response.get("tool_calls")))
    ]
    return [{"role": "assistant", "parts": parts, "finish_reason": text(response.get("finish_reason"))}]


def _generated(response: Document) -> list[Any]:
    return [
        {
            "role": "assistant",
            "parts": content.parts(one.get("text")),
            "finish_reason": text(one.get("finish_reason")),
        }
        for one in map(fields, items(response.get("generations")))
    ]


_ROLES: Final = {"user": "user", "chatbot": "assistant", "system": "system", "tool": "tool"}


def _conversation(body: Document) -> dict[str, Any]:
    """Version 1 has the earlier messages, the new one and the instructions in three places."""
    messages: list[Any] = [
        {"role": _ROLES.get(text(one.get("role")).lower(), "user"), "content": one.get("message")}
        for one in map(fields, items(body.get("chat_history")))
    ]
    messages.append({"role": "user", "content": body.get("message")})
    preamble = body.get("preamble")
    return content.asked(
        messages, system=preamble if isinstance(preamble, str) else None, tools=items(body.get("tools")) or None
    )


def _prompt(body: Document) -> dict[str, Any]:
    return content.asked(body.get("prompt", body.get("text")))


def _embedded(body: Document) -> dict[str, Any]:
    return content.asked([{"role": "user", "content": one} for one in items(body.get("texts"))])


def _tool_results(body: Document) -> list[ToolCall]:
    return [
        ToolCall(
            name=text(fields(result.get("call")).get("name")),
            kind="result",
            output_bytes=size(result.get("outputs")),
            output=to_json(result.get("outputs")),
        )
        for result in map(fields, items(body.get("tool_results")))
    ]


class ReplyReader:
    """Reads the lines of a version 1 stream; the last one, ``stream-end``, repeats the whole answer with its usage."""

    __slots__ = ("_captures", "_end", "_id", "_reason")

    def __init__(self, _hides_usage: bool, captures: bool) -> None:
        self._captures = captures
        self._id = ""
        self._reason = ""
        self._end: Document | None = None

    def feed(self, event: Any) -> bool:
        kind = event.get("event_type")
        if kind == "stream-end":
            self._reason = text(event.get("finish_reason"))
            self._end = fields(event.get("response"))
        elif kind == "stream-start":
            self._id = text(event.get("generation_id"))
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        is_partial = not is_complete and self._end is None
        answer = _read_reply(self._end or {})
        answer.id = answer.id or self._id
        answer.finish_reasons = answer.finish_reasons or _reasons(self._reason)
        answer.error_type = answer.error_type or _failure(self._reason)
        answer.is_partial = is_partial
        if is_partial:
            answer.notes = ("stream_ended_early",)
        elif self._captures and self._end is not None:
            answer.messages = (_generated if "generations" in self._end else _reply_said)(self._end)
        return answer


# Jobs, which are looked up until they are done: one call each, whatever they hold


def _read_embed_job(response: Document) -> Answer:
    """A job over a dataset."""
    return Answer(
        model=text(response.get("model")),
        id=text(response.get("job_id")),
        usage=_usage_of(response),
        is_billable=response.get("status") == "complete",
    )


def _read_batch(response: Document) -> Answer:
    """A batch, which tells its tokens as texts, and not which of them are billed."""
    batch = fields(response.get("batch"))
    identifier = text(batch.get("id"))
    tokens = {
        name: int(told) for name in ("input_tokens", "output_tokens") if (told := str(batch.get(name))).isdecimal()
    }
    return Answer(
        model=text(batch.get("model")),
        id=identifier,
        usage={"tokens": tokens} if tokens else None,
        is_batch=True,
        batch_id=identifier,
        is_billable=batch.get("status") == "BATCH_STATUS_COMPLETED",
    )


CHAT: Final = Endpoint(
    operation="chat",
    request_keys=_KEYS,
    read_request=_read_request,
    read_response=_read_chat,
    read_usage=read_usage,
    tool_results=openai.CHAT.tool_results,
    new_reader=ChatReader,
    input_messages=_asked,
    output_messages=_said,
)
CHAT_V1: Final = Endpoint(
    operation="chat",
    request_keys=_KEYS,
    read_request=_read_request,
    read_response=_read_reply,
    read_usage=read_usage,
    tool_results=_tool_results,
    new_reader=ReplyReader,
    input_messages=_conversation,
    output_messages=_reply_said,
)
GENERATE: Final = Endpoint(
    operation="text_completion",
    request_keys=_KEYS,
    read_request=_read_request,
    read_response=_read_reply,
    read_usage=read_usage,
    new_reader=ReplyReader,
    input_messages=_prompt,
    output_messages=_generated,
)


def _metered(operation: str, asked: Callable[[Document], dict[str, Any]] | None = None) -> Endpoint:
    """An endpoint whose answer is no text: its usage is all that is read."""
    return Endpoint(
        operation=operation,
        read_request=_read_request,
        read_response=_read_reply,
        read_usage=read_usage,
        input_messages=asked,
    )


EMBED: Final = _metered("embeddings", _embedded)
RERANK: Final = _metered("rerank")
CLASSIFY: Final = _metered("classification")
SUMMARIZE: Final = _metered("text_completion", _prompt)
PARSE: Final = _metered("ocr")
TRANSCRIPTIONS: Final = _metered("transcription")
EMBED_JOB: Final = replace(EMBED, read_response=_read_embed_job, input_messages=None, starts_late=True)
BATCH: Final = replace(EMBED_JOB, operation="batch", read_response=_read_batch)
