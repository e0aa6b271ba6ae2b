"""Amazon Bedrock's documents: what a request asks and what an answer says, for Converse and for models' own bodies.

Converse counts disjointly: ``inputTokens`` is the uncached prompt alone, cache reads and writes stand beside it
(Bedrock user guide, prompt caching). So do the token headers of InvokeModel (``x-amzn-bedrock-input-token-count``) and
the metrics that Bedrock adds to the last chunk of a stream; models whose body says nothing are counted by those alone.
Whose body it is shows in its fields: an ARN says nothing about the model behind it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation._answer import Answer, Counted, Endpoint
from spanledger.instrumentation._anthropic_messages import MESSAGES
from spanledger.instrumentation._bodies import MAX_DOCUMENT_BYTES, document_of
from spanledger.instrumentation._openai_usage import read_usage as read_openai_usage
from spanledger.instrumentation._reading import NO_FIELDS, fields, integer, items, size, text, to_json
from spanledger.instrumentation._requests import copy_fields
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall
from spanledger.semconv.usage import TOKEN_CLASSES, Usage

Document = Mapping[str, Any]

_COUNTS: Final = "amazon-bedrock-invocationMetrics"
_TIER_HEADER: Final = "x-amzn-bedrock-service-tier"
_LATENCY_HEADER: Final = "x-amzn-bedrock-performanceconfig-latency"
_ARGUMENTS: Final = (
    ("max_tokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("maxTokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("max_new_tokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("max_gen_len", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("maxTokenCount", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("temperature", gen_ai.GEN_AI_REQUEST_TEMPERATURE, (int, float)),
    ("top_p", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
    ("topP", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
    ("p", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
    ("top_k", gen_ai.GEN_AI_REQUEST_TOP_K, (int,)),
    ("topK", gen_ai.GEN_AI_REQUEST_TOP_K, (int,)),
    ("k", gen_ai.GEN_AI_REQUEST_TOP_K, (int,)),
)
_STOPS: Final = ("stop_sequences", "stopSequences", "stop")


def _copy_arguments(asked: Document, found: dict[str, Any]) -> None:
    copy_fields(_ARGUMENTS, asked, found)
    for name in _STOPS:
        stops = tuple(stop for stop in items(asked.get(name)) if isinstance(stop, str))
        if stops:
            found[gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES] = stops


def _read_converse_request(request: Document, found: dict[str, Any]) -> None:
    _copy_arguments(fields(request.get("inferenceConfig")), found)
    guardrail = text(fields(request.get("guardrailConfig")).get("guardrailIdentifier"))
    if guardrail:
        found[gen_ai.AWS_BEDROCK_GUARDRAIL_ID] = guardrail


def _read_invoke_request(request: Document, found: dict[str, Any]) -> None:
    asked = body_of(request)
    for place in (asked, fields(asked.get("inferenceConfig")), fields(asked.get("textGenerationConfig"))):
        _copy_arguments(place, found)
    if guardrail := text(request.get("guardrailIdentifier")):
        found[gen_ai.AWS_BEDROCK_GUARDRAIL_ID] = guardrail


def body_of(request: Document) -> Document:
    """The JSON document of an InvokeModel request; empty for one that is read from a file, or too large."""
    body = request.get("body")
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    if not isinstance(body, (bytes, bytearray)) or len(body) > MAX_DOCUMENT_BYTES:
        return {}
    return document_of(bytes(body))


# Answers


def _read_usage(answer: Answer) -> Counted:
    """The token classes, which were worked out when the answer was read."""
    classes: dict[str, Any] = dict(answer.usage or {})
    return Counted(usage=Usage(counts=answer.counts or {}, partial=answer.is_partial, **classes))


def _converse_classes(usage: Document) -> dict[str, int | None]:
    """A usage document of Converse or of a Nova body, which names the cache a little differently."""
    written = _first(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    by_lifetime = {
        text(fields(one).get("ttl")): integer(fields(one).get("inputTokens"))
        for one in items(usage.get("cacheDetails"))
    }
    written_5m, written_1h = by_lifetime.get("5m"), by_lifetime.get("1h")
    if written_5m is not None or written_1h is not None:
        left = (written or 0) - (written_5m or 0) - (written_1h or 0)
        written = left if left > 0 else None
    return {
        "input_uncached": _first(usage, "inputTokens"),
        "cache_read": _first(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        "cache_write": written,
        "cache_write_5m": written_5m,
        "cache_write_1h": written_1h,
        "output_text": _first(usage, "outputTokens"),
    }


def _header_classes(headers: Mapping[str, str]) -> dict[str, int | None]:
    def count(name: str) -> int | None:
        value = headers.get(f"x-amzn-bedrock-{name}-token-count", "")
        return int(value) if value.isdecimal() else None

    return {
        "input_uncached": count("input"),
        "cache_read": count("cache-read-input"),
        "cache_write": count("cache-write-input"),
        "output_text": count("output"),
    }


def _metric_classes(metrics: Document) -> dict[str, int | None]:
    return {
        "input_uncached": _first(metrics, "inputTokenCount"),
        "cache_read": _first(metrics, "cacheReadInputTokenCount"),
        "cache_write": _first(metrics, "cacheWriteInputTokenCount"),
        "output_text": _first(metrics, "outputTokenCount"),
    }


def _filled(classes: Mapping[str, int | None], further: Mapping[str, int | None]) -> dict[str, int | None]:
    """The classes, and those of the further source whose side was not told: input, cache or output."""
    found = dict(classes)
    for names in (("input_uncached",), ("cache_read",), _WRITES, ("output_text", "reasoning")):
        if all(found.get(name) is None for name in names):
            found.update({name: further[name] for name in names if further.get(name) is not None})
    return found


_WRITES: Final = ("cache_write", "cache_write_5m", "cache_write_1h")


def _first(document: Document, *names: str) -> int | None:
    return next((count for name in names if (count := integer(document.get(name))) is not None), None)


def _known(classes: Mapping[str, int | None]) -> Mapping[str, int] | None:
    found = {name: count for name, count in classes.items() if count is not None}
    return found or None


def _counted_by(reader: Callable[[Answer], Counted], usage: Document) -> tuple[dict[str, int | None], dict[str, int]]:
    counted = reader(Answer(usage=usage)).usage
    return {name: getattr(counted, name) for name in TOKEN_CLASSES}, dict(counted.counts)


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


def _tool_results(body: Document) -> list[ToolCall]:
    """Tool results in the last message; earlier ones were handed over by earlier calls."""
    messages = items(body.get("messages"))
    found: list[ToolCall] = []
    for block in items(fields(messages[-1]).get("content")) if messages else []:
        told = fields(fields(block).get("toolResult"))
        if told:
            call_id = text(told.get("toolUseId"))
            found.append(
                ToolCall(
                    name=_name_of(messages, call_id),
                    id=call_id,
                    kind="result",
                    is_error=told.get("status") == "error",
                    output_bytes=size(told.get("content")),
                )
            )
    return found


def _name_of(messages: list[Any], call_id: str) -> str:
    for message in reversed(messages):
        for block in items(fields(message).get("content")):
            asked = fields(fields(block).get("toolUse"))
            if asked and asked.get("toolUseId") == call_id:
                return text(asked.get("name"))
    return ""


def _tier(document: Document, headers: Mapping[str, str]) -> str:
    """The tier that served the request; latency-optimised inference has prices of its own."""
    latency = text(fields(document.get("performanceConfig")).get("latency")) or headers.get(_LATENCY_HEADER, "")
    if latency == "optimized":
        return "performance"
    return text(fields(document.get("serviceTier")).get("type")) or headers.get(_TIER_HEADER, "")


def _reasons(*told: Any) -> tuple[str, ...]:
    return tuple(reason for reason in told if isinstance(reason, str) and reason)


def read_converse(document: Document) -> Answer:
    """The answer of Converse, as botocore parsed it."""
    message = fields(fields(document.get("output")).get("message"))
    return Answer(
        usage=_known(_converse_classes(fields(document.get("usage")))),
        service_tier=_tier(document, {}),
        finish_reasons=_reasons(document.get("stopReason")),
        tool_calls=_tool_uses(message.get("content")),
    )


def converse_said(document: Document) -> list[Any]:
    """The generated message in the conventions' shape."""
    message = fields(fields(document.get("output")).get("message"))
    parts = [_part(fields(block)) for block in items(message.get("content"))]
    return [{"role": "assistant", "parts": parts, "finish_reason": text(document.get("stopReason"))}]


def read_body(document: Document, headers: Mapping[str, str]) -> Answer:
    """The answer of InvokeModel: a model's own body, and Bedrock's headers (names in lower case)."""
    answer = _read_family([document])
    answer.usage = _known(_filled(answer.usage or {}, _header_classes(headers)))
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
            openai_classes, counts = _counted_by(read_openai_usage, usage)
            classes.update(openai_classes)
        results = [fields(one) for name in _RESULTS for one in items(document.get(name))]
        for place in (document, *results):
            for name in _REASONS:
                if reason := text(place.get(name)):
                    reasons[reason] = None
        calls += _tool_uses(fields(fields(document.get("output")).get("message")).get("content"))
        identifier = next(filter(None, (text(document.get(name)) for name in _IDS)), identifier)
        model = text(document.get("model")) or model
    return Answer(
        id=identifier,
        usage=_known(classes),
        finish_reasons=tuple(reasons),
        tool_calls=calls,
        counts=counts,
        attributes={gen_ai.GEN_AI_RESPONSE_MODEL: model} if model else None,
    )


_RESULTS: Final = ("results", "outputs", "generations", "choices")
_REASONS: Final = ("stop_reason", "stopReason", "finish_reason", "completionReason")
_IDS: Final = ("id", "generation_id", "response_id")


def _told_by(document: Document) -> dict[str, int | None]:
    """Counts in a body of Nova, or in a body or a chunk of Llama or Titan."""
    nova = fields(document.get("usage"))
    if "inputTokens" in nova:
        return _converse_classes(nova)
    said = [integer(fields(result).get("tokenCount")) for result in items(document.get("results"))]
    titan = sum(count for count in said if count is not None) if said and None not in said else None
    return {
        "input_uncached": _first(document, "prompt_token_count", "inputTextTokenCount"),
        "output_text": (
            titan if titan is not None else _first(document, "generation_token_count", "totalOutputTextTokenCount")
        ),
    }


def _of_claude(answer: Answer) -> Answer:
    """Claude's own answer. What is billed is the profile that was asked for, so its model is told and not priced."""
    classes, counts = _counted_by(MESSAGES.read_usage, answer.usage or {})
    answer.usage = _known(classes)
    answer.counts = counts
    answer.attributes = {gen_ai.GEN_AI_RESPONSE_MODEL: answer.model} if answer.model else None
    answer.model = ""
    return answer


# Streams


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
            answer.usage = _known(_converse_classes(fields(event.get("usage"))))
            answer.service_tier = _tier(event, {})
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
    answer.usage = _known(_filled(answer.usage or {}, _metric_classes(metrics)))
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


# Content


def _part(known: Document) -> dict[str, Any]:
    """A content block of Converse in the conventions' words. Media are named, not copied."""
    if "text" in known:
        return {"type": "text", "content": text(known.get("text"))}
    if asked := fields(known.get("toolUse")):
        return content.tool_call(asked.get("toolUseId"), asked.get("name"), asked.get("input"))
    if told := fields(known.get("toolResult")):
        return {"type": "tool_call_response", "id": text(told.get("toolUseId")), "response": told.get("content")}
    if thought := fields(known.get("reasoningContent")):
        return {"type": "reasoning", "content": text(fields(thought.get("reasoningText")).get("text"))}
    return {"type": next(iter(known), "unknown")}


def _converse_asked(body: Document) -> dict[str, Any]:
    found: dict[str, Any] = {
        gen_ai.GEN_AI_INPUT_MESSAGES: [
            {
                "role": text(fields(message).get("role")),
                "parts": [_part(fields(block)) for block in items(fields(message).get("content"))],
            }
            for message in items(body.get("messages"))
        ]
    }
    if system := items(body.get("system")):
        found[gen_ai.GEN_AI_SYSTEM_INSTRUCTIONS] = [_part(fields(block)) for block in system]
    if tools := items(fields(body.get("toolConfig")).get("tools")):
        found[gen_ai.GEN_AI_TOOL_DEFINITIONS] = tools
    return found


def _invoke_asked(request: Document) -> dict[str, Any]:
    asked = body_of(request)
    if "messages" in asked and "inferenceConfig" in asked:
        return _converse_asked(asked)
    prompt = next((asked[name] for name in ("messages", "prompt", "inputText", "message") if name in asked), None)
    return content.asked(prompt, system=asked.get("system"), tools=asked.get("tools"))


def _invoke_tool_results(request: Document) -> list[ToolCall]:
    if not _mentions(request.get("body"), "tool_result", "toolResult"):
        return []
    body = body_of(request)
    assert MESSAGES.tool_results is not None
    return MESSAGES.tool_results(body) + _tool_results(body)


def _mentions(body: Any, *words: str) -> bool:
    """Whether a request's body holds one of the words, without decoding it."""
    if isinstance(body, (bytes, bytearray)):
        return any(word.encode() in body for word in words)
    return isinstance(body, str) and any(word in body for word in words)


def invoke_operation(model: str, body: Any) -> str:
    """What an InvokeModel request is, in the conventions' words, by the model's name and the body's fields."""
    if "embed" in model:
        return gen_ai.GEN_AI_OPERATION_NAME_VALUE_EMBEDDINGS
    if _mentions(body, '"prompt"', '"inputText"') and not _mentions(body, '"messages"'):
        return gen_ai.GEN_AI_OPERATION_NAME_VALUE_TEXT_COMPLETION
    return gen_ai.GEN_AI_OPERATION_NAME_VALUE_CHAT


def _read_bare_body(document: Document) -> Answer:
    return read_body(document, {})


CONVERSE: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_CHAT,
    request_keys=("inferenceConfig", "guardrailConfig"),
    read_request=_read_converse_request,
    read_response=read_converse,
    read_usage=_read_usage,
    tool_results=_tool_results,
    new_reader=new_converse_reader,
    input_messages=_converse_asked,
    output_messages=converse_said,
)
INVOKE: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_CHAT,
    request_keys=("body", "guardrailIdentifier"),
    read_request=_read_invoke_request,
    read_response=_read_bare_body,
    read_usage=_read_usage,
    tool_results=_invoke_tool_results,
    new_reader=new_chunk_reader,
    input_messages=_invoke_asked,
)
