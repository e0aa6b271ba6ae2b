"""What Amazon Bedrock answers, whole and streamed: Converse's documents, and the bodies of models behind InvokeModel.

Whose body it is shows in its fields: an ARN says nothing about the model behind it. Models whose body says nothing of
usage are counted by Bedrock's headers and metrics alone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation._answer import Answer
from spanledger.instrumentation._anthropic_messages import MESSAGES
from spanledger.instrumentation._bedrock_usage import (
    Document,
    converse_classes,
    counted_by,
    filled,
    first,
    header_classes,
    known,
    metric_classes,
)
from spanledger.instrumentation._bodies import MAX_DOCUMENT_BYTES, document_of
from spanledger.instrumentation._openai_usage import read_usage as read_openai_usage
from spanledger.instrumentation._reading import NO_FIELDS, fields, integer, items, size, text, to_json
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall

_COUNTS: Final = "amazon-bedrock-invocationMetrics"
_TIER_HEADER: Final = "x-amzn-bedrock-service-tier"
_LATENCY_HEADER: Final = "x-amzn-bedrock-performanceconfig-latency"
_RESULTS: Final = ("results", "outputs", "generations", "choices")
_PICTURES: Final = ("images", "artifacts")
_REASONS: Final = ("stop_reason", "stopReason", "finish_reason", "completionReason")
_IDS: Final = ("id", "generation_id", "response_id")


def _tool_uses(blocks: Any) -> list[ToolCall]:
    found: list[ToolCall] = []
    for block in items(blocks):
        asked = fields(fields(block).get("toolUse"))
        if asked:
            arguments = to_json(asked.get("input"))
            found.append(
                ToolCall(
                    name=text(asked.get("name")),
                    id=text(asked.get("toolUseId")),
                    input_bytes=size(arguments),
                    input=arguments,
                )
            )
    return found


def _tier(document: Document, headers: Mapping[str, str]) -> str:
    """The tier that served the request; latency-optimised inference has prices of its own."""
    latency = text(fields(document.get("performanceConfig")).get("latency")) or headers.get(_LATENCY_HEADER, "")
    if latency == "optimized":
        return "performance"
    return text(fields(document.get("serviceTier")).get("type")) or headers.get(_TIER_HEADER, "")


def _reasons(*told: Any) -> tuple[str, ...]:
    return tuple(reason for reason in told if isinstance(reason, str) and reason)


def _routed(document: Document) -> str:
    """The model that a prompt router chose, which is billed as if it had been asked itself."""
    return text(fields(fields(document.get("trace")).get("promptRouter")).get("invokedModelId"))


def read_converse(document: Document) -> Answer:
    """The answer of Converse, as botocore parsed it."""
    message = fields(fields(document.get("output")).get("message"))
    return Answer(
        model=_routed(document),
        usage=known(converse_classes(fields(document.get("usage")))),
        service_tier=_tier(document, {}),
        finish_reasons=_reasons(document.get("stopReason")),
        tool_calls=_tool_uses(message.get("content")),
    )


def read_body(document: Document, headers: Mapping[str, str]) -> Answer:
    """The answer of InvokeModel: a model's own body, and Bedrock's headers (names in lower case)."""
    answer = _read_family([document])
    answer.usage = known(filled(answer.usage or {}, header_classes(headers)))
    answer.service_tier = _tier({}, headers) or answer.service_tier
    return answer


def _read_family(documents: list[Document]) -> Answer:
    """An answer from its document or the chunks of its stream, by the fields that only one family has."""
    kinds = {text(document.get("type")) for document in documents}
    if "message" in kinds:
        return _of_claude(MESSAGES.read_response(documents[0]))
    if "message_start" in kinds:
        assert MESSAGES.new_reader is not None
        reader = MESSAGES.new_reader(False, False)
        for document in documents:
            reader.feed(document)
        return _of_claude(reader.answer(is_complete=True))
    if any("contentBlockDelta" in document or "messageStop" in document for document in documents):
        # Nova streams the events of Converse
        return _read_converse_events(
            [(kind, fields(event)) for document in documents for kind, event in document.items()]
        )
    classes: dict[str, int | None] = {}
    counts: dict[str, int] = {}
    reasons: dict[str, None] = {}
    calls: list[ToolCall] = []
    identifier = model = ""
    for document in documents:
        told = _told_by(document)
        classes.update({name: count for name, count in told.items() if count is not None})
        usage = fields(document.get("usage"))
        if "prompt_tokens" in usage:
            openai_classes, counts = counted_by(read_openai_usage, usage)
            classes.update(openai_classes)
        results = [fields(one) for name in _RESULTS for one in items(document.get(name))]
        for place in (document, *results):
            for name in _REASONS:
                if reason := text(place.get(name)):
                    reasons[reason] = None
        calls += _tool_uses(fields(fields(document.get("output")).get("message")).get("content"))
        if made := sum(len(items(document.get(name))) for name in _PICTURES):
            counts = {**counts, "images": counts.get("images", 0) + made}
        identifier = next(filter(None, (text(document.get(name)) for name in _IDS)), identifier)
        model = text(document.get("model")) or model
    return Answer(
        id=identifier,
        usage=known(classes),
        finish_reasons=tuple(reasons),
        tool_calls=calls,
        counts=counts,
        attributes={gen_ai.GEN_AI_RESPONSE_MODEL: model} if model else None,
    )


def _told_by(document: Document) -> dict[str, int | None]:
    """Counts in a body of Nova, or in a body or a chunk of Llama or Titan."""
    nova = fields(document.get("usage"))
    if "inputTokens" in nova:
        return converse_classes(nova)
    said = [integer(fields(result).get("tokenCount")) for result in items(document.get("results"))]
    titan = sum(count for count in said if count is not None) if said and None not in said else None
    return {
        "input_uncached": first(document, "prompt_token_count", "inputTextTokenCount"),
        "output_text": (
            titan if titan is not None else first(document, "generation_token_count", "totalOutputTextTokenCount")
        ),
    }


def _of_claude(answer: Answer) -> Answer:
    """Claude's own answer. What is billed is the profile that was asked for, so its model is told and not priced."""
    classes, counts = counted_by(MESSAGES.read_usage, answer.usage or {})
    answer.usage = known(classes)
    answer.counts = counts
    answer.attributes = {gen_ai.GEN_AI_RESPONSE_MODEL: answer.model} if answer.model else None
    answer.model = ""
    return answer


class EventReader:
    """Keeps the raw events of an event stream (``headers``, ``payload``) and reads them later."""

    def __init__(self, read: Callable[[list[tuple[str, Document]]], Answer], skip: bytes, captures: bool) -> None:
        self._read = read
        self._skip = skip
        self._captures = captures
        self._events: list[tuple[str, bytes]] = []
        self._bytes = 0
        self._error = ""
        self.on_error: Callable[[], object] | None = None
        """Called when the stream reports an error: the SDK raises it and reads no further."""

    def feed(self, event: Any) -> bool:
        headers: Mapping[str, Any] = event.headers
        if headers.get(":message-type", "event") != "event":
            self._error = text(headers.get(":exception-type")) or text(headers.get(":error-code")) or "error"
            if self.on_error is not None:
                self.on_error()
            return False
        payload: bytes = event.payload
        kind = text(headers.get(":event-type"))
        # Pieces of text say nothing about usage.
        if self._captures or kind != "contentBlockDelta" or self._skip not in payload:
            self._bytes += len(payload)
            if self._bytes <= MAX_DOCUMENT_BYTES or not self._events:
                self._events.append((kind, payload))
            else:
                self._events[-1] = (kind, payload)  # what is billed stands in the last one
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        answer = self._read([(kind, document_of(payload)) for kind, payload in self._events])
        # Usage comes with the last event; a stream that was left after it has told all that is billed.
        has_told = bool(answer.usage) and "output_text" in (answer.usage or {}) and not answer.is_partial
        answer.is_partial = not has_told and not (is_complete and not self._error)
        answer.error_type = self._error
        if answer.is_partial:
            answer.notes = (*answer.notes, "stream_ended_early")
        return answer


def _read_converse_events(events: list[tuple[str, Document]]) -> Answer:
    answer = Answer()
    tools: list[dict[str, Any]] = []
    for kind, event in events:
        if kind == "contentBlockStart":
            asked = fields(fields(event.get("start")).get("toolUse"))
            if asked:
                tools.append({"name": text(asked.get("name")), "id": text(asked.get("toolUseId")), "said": ""})
        elif kind == "contentBlockDelta" and tools:
            tools[-1]["said"] += text(fields(fields(event.get("delta")).get("toolUse")).get("input"))
        elif kind == "messageStop":
            answer.finish_reasons = _reasons(event.get("stopReason"))
        elif kind == "metadata":
            answer.usage = known(converse_classes(fields(event.get("usage"))))
            answer.service_tier = _tier(event, {})
            answer.model = _routed(event)
    answer.tool_calls = [
        ToolCall(name=tool["name"], id=tool["id"], input_bytes=size(tool["said"]), input=tool["said"]) for tool in tools
    ]
    return answer


def _read_captured_events(events: list[tuple[str, Document]]) -> Answer:
    answer = _read_converse_events(events)
    said = "".join(text(fields(event.get("delta")).get("text")) for _, event in events)
    parts = content.parts(said) + [content.tool_call(tool.id, tool.name, tool.input) for tool in answer.tool_calls]
    answer.messages = [{"role": "assistant", "parts": parts, "finish_reason": "".join(answer.finish_reasons)}]
    return answer


def _read_chunks(events: list[tuple[str, Document]]) -> Answer:
    documents = list(_unpacked(event for _, event in events))
    answer = _read_family(documents)
    metrics = fields(documents[-1].get(_COUNTS)) if documents else NO_FIELDS
    answer.usage = known(filled(answer.usage or {}, metric_classes(metrics)))
    answer.is_partial = not (metrics or answer.finish_reasons)
    return answer


def _unpacked(chunks: Iterable[Document]) -> Iterable[Document]:
    for chunk in chunks:
        packed = text(chunk.get("bytes"))
        if packed:
            yield document_of(base64.b64decode(packed))


def new_converse_reader(_hides_usage: bool, captures: bool) -> EventReader:
    """A reader for ConverseStream."""
    return EventReader(_read_captured_events if captures else _read_converse_events, b'"text"', captures)


def new_chunk_reader(_hides_usage: bool, _captures: bool) -> EventReader:
    """A reader for InvokeModelWithResponseStream."""
    return EventReader(_read_chunks, b"", False)


def read_bare_body(document: Document) -> Answer:
    return read_body(document, {})
