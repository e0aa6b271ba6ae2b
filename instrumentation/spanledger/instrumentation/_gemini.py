"""Gemini's documents, as the Gemini API and Vertex AI send them: what a request asks and what an answer says.

Gemini counts the prompt inclusively (``promptTokenCount`` holds the cached content), and everything else beside it:
``toolUsePromptTokenCount`` is further input, ``thoughtsTokenCount`` further output, so that
``totalTokenCount = prompt + toolUsePrompt + candidates + thoughts``
(https://ai.google.dev/api/generate-content#UsageMetadata). Counts of 0 are left out of the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from spanledger.instrumentation._answer import Answer, Counted, Endpoint
from spanledger.instrumentation._content import tool_call
from spanledger.instrumentation._reading import fields, integer, items, size, text, to_json
from spanledger.instrumentation._requests import copy_fields
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall
from spanledger.semconv.usage import Usage, known_sum

MAX_KEPT_CHARACTERS: Final = 8 * 1024 * 1024
"""A larger body is let go unread: its usage stays unknown."""
_TIER_HEADER: Final = "x-gemini-service-tier"
"""The tier that served a request, which may be another than was asked for (ai.google.dev, priority inference)."""

_GENERATION: Final = (
    ("maxOutputTokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("temperature", gen_ai.GEN_AI_REQUEST_TEMPERATURE, (int, float)),
    ("topP", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
    ("topK", gen_ai.GEN_AI_REQUEST_TOP_K, (int, float)),
    ("frequencyPenalty", gen_ai.GEN_AI_REQUEST_FREQUENCY_PENALTY, (int, float)),
    ("presencePenalty", gen_ai.GEN_AI_REQUEST_PRESENCE_PENALTY, (int, float)),
    ("seed", gen_ai.GEN_AI_REQUEST_SEED, (int,)),
)


def _read_request(request: Mapping[str, Any], found: dict[str, Any]) -> None:
    asked = fields(request.get("generationConfig"))
    copy_fields(_GENERATION, asked, found)
    stops = tuple(stop for stop in items(asked.get("stopSequences")) if isinstance(stop, str))
    if stops:
        found[gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES] = stops
    choices = asked.get("candidateCount")
    if isinstance(choices, int) and choices != 1:
        found[gen_ai.GEN_AI_REQUEST_CHOICE_COUNT] = choices
    if level := text(fields(asked.get("thinkingConfig")).get("thinkingLevel")):
        found[gen_ai.GEN_AI_REQUEST_REASONING_LEVEL] = level.lower()
    if kind := text(asked.get("responseMimeType")):
        found[gen_ai.GEN_AI_OUTPUT_TYPE] = "json" if kind == "application/json" else "text"


def _read_embedding_request(request: Mapping[str, Any], found: dict[str, Any]) -> None:
    first = fields(next(iter(items(request.get("requests"))), None))
    told = (
        first.get("outputDimensionality"),
        fields(request.get("parameters")).get("outputDimensionality"),
        fields(request.get("embedContentConfig")).get("outputDimensionality"),
        request.get("outputDimensionality"),
    )
    dimensions = next((one for one in told if isinstance(one, int)), None)
    if dimensions is not None:
        found[gen_ai.GEN_AI_EMBEDDINGS_DIMENSION_COUNT] = dimensions


def _tool_results(body: Mapping[str, Any]) -> list[ToolCall]:
    """Function responses in the last content; earlier ones were handed over by earlier calls."""
    contents = items(body.get("contents"))
    if not contents:
        return []
    found: list[ToolCall] = []
    for part in items(fields(contents[-1]).get("parts")):
        told = fields(fields(part).get("functionResponse"))
        if told:
            output = told.get("response")
            found.append(
                ToolCall(
                    name=text(told.get("name")),
                    id=text(told.get("id")),
                    kind="result",
                    # the SDK's own function calling reports what was raised under this key
                    is_error="error" in fields(output),
                    output_bytes=size(output),
                    output=None if output is None else to_json(output),
                )
            )
    return found


def read_usage(answer: Answer) -> Counted:
    """Token classes of a usage document."""
    usage = answer.usage
    counts = dict(answer.counts or {})
    if not usage:
        return Counted(usage=Usage(counts=counts, partial=answer.is_partial))
    prompt = integer(usage.get("promptTokenCount"))
    cached = integer(usage.get("cachedContentTokenCount"))
    tools = integer(usage.get("toolUsePromptTokenCount"))
    thoughts = integer(usage.get("thoughtsTokenCount"))
    said = integer(usage.get("candidatesTokenCount"))
    total = integer(usage.get("totalTokenCount"))
    if said is None and total is not None and not answer.is_partial and total == known_sum(prompt, tools, thoughts):
        said = 0  # nothing but thoughts, or nothing at all: the total says so

    notes: list[str] = []
    given = _by_modality(usage.get("promptTokensDetails"))
    of_tools = _by_modality(usage.get("toolUsePromptTokensDetails"))
    from_cache = _by_modality(usage.get("cacheTokensDetails"))
    media = {
        kind: given.get(kind, 0) + of_tools.get(kind, 0) - from_cache.get(kind, 0)
        for kind in ("AUDIO", "IMAGE")
        if given.get(kind) or of_tools.get(kind)
    }
    uncached = known_sum(prompt, tools)
    if uncached is not None:
        uncached -= cached or 0
    if cached and media and not from_cache:
        notes.append("cache_modality_unknown")
    if (uncached or 0) < sum(media.values()) or any(count < 0 for count in media.values()):
        media = {}
        notes.append("inconsistent_usage")
    if uncached is not None:
        uncached -= sum(media.values())
        if uncached < 0:
            uncached, cached = known_sum(prompt, tools), None
            notes.append("inconsistent_usage")
    cached_audio = from_cache.get("AUDIO", 0)
    if cached is not None and 0 < cached_audio <= cached:
        # has a price of its own
        counts["cache_read_audio"] = cached_audio
        cached -= cached_audio

    made = _by_modality(usage.get("candidatesTokensDetails"))
    if said is not None and made.get("AUDIO", 0) + made.get("IMAGE", 0) > said:
        made = {}
        notes.append("inconsistent_usage")
    return Counted(
        usage=Usage(
            input_uncached=uncached,
            cache_read=cached,
            input_audio=media.get("AUDIO") or None,
            input_image=media.get("IMAGE") or None,
            output_text=None if said is None else said - made.get("AUDIO", 0) - made.get("IMAGE", 0),
            reasoning=thoughts,
            output_audio=made.get("AUDIO") or None,
            output_image=made.get("IMAGE") or None,
            counts=counts,
            partial=answer.is_partial,
        ),
        notes=tuple(notes),
    )


def _by_modality(details: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in items(details):
        known = fields(one)
        found[text(known.get("modality")).upper()] = integer(known.get("tokenCount")) or 0
    return found


def tier_of(usage: Mapping[str, Any]) -> str:
    """Vertex AI tells the tier as a kind of traffic (``ON_DEMAND_PRIORITY``, ``PROVISIONED_THROUGHPUT``)."""
    traffic = text(usage.get("trafficType")).lower()
    if traffic in ("", "on_demand", "traffic_type_unspecified"):
        return text(usage.get("serviceTier")) or ("standard" if traffic == "on_demand" else "")
    return traffic.removeprefix("on_demand_")


def _candidates(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (fields(one) for one in items(document.get("candidates")))


def _parts(content: Any) -> list[Mapping[str, Any]]:
    return [fields(part) for part in items(fields(content).get("parts"))]


def _calls_of(document: Mapping[str, Any]) -> Iterator[ToolCall]:
    for candidate in _candidates(document):
        for part in _parts(candidate.get("content")):
            asked = fields(part.get("functionCall"))
            if asked:
                arguments = to_json(asked.get("args") or {})
                yield ToolCall(
                    name=text(asked.get("name")),
                    id=text(asked.get("id")),
                    input_bytes=size(arguments),
                    input=arguments,
                )


def _searches(document: Mapping[str, Any]) -> int:
    """Queries to Google Search that ground an answer."""
    return sum(
        len(items(fields(candidate.get("groundingMetadata")).get("webSearchQueries")))
        for candidate in _candidates(document)
    )


def billed_searches(queries: int, model: str) -> int:
    """Up to Gemini 2.5 a grounded prompt is billed, since Gemini 3 each query (ai.google.dev, Gemini API pricing)."""
    return min(queries, 1) if model.startswith(("gemini-1", "gemini-2")) else queries


def _merged(documents: list[Mapping[str, Any]], *, is_complete: bool) -> Answer:
    """One answer from its document, or from the chunks of its stream. Usage is a running total: the last one counts."""
    model, identifier, usage, blocked, queries = "", "", dict[str, Any](), "", 0
    reasons: dict[int, str] = {}
    calls: list[ToolCall] = []
    for document in documents:
        model = text(document.get("modelVersion")) or model
        identifier = text(document.get("responseId")) or identifier
        usage = {**usage, **fields(document.get("usageMetadata"))}
        blocked = text(fields(document.get("promptFeedback")).get("blockReason")) or blocked
        for candidate in _candidates(document):
            if reason := text(candidate.get("finishReason")):
                reasons[integer(candidate.get("index")) or 0] = reason
        calls += _calls_of(document)
        queries = max(queries, _searches(document))
    # A stream that was left after its end was told has told all that is billed.
    is_partial = not (is_complete or reasons or blocked)
    notes = ("stream_ended_early",) if is_partial else ()
    return Answer(
        model=model.removeprefix("models/"),
        id=identifier,
        usage=usage or None,
        service_tier=tier_of(usage),
        finish_reasons=tuple(reasons[index] for index in sorted(reasons)),
        tool_calls=calls,
        is_partial=is_partial,
        counts={"web_searches": billed_searches(queries, model)} if queries else None,
        notes=(*notes, f"prompt_blocked:{blocked}") if blocked else notes,
    )


def _read_response(response: Mapping[str, Any]) -> Answer:
    return _merged([response], is_complete=True)


def _read_embeddings(response: Mapping[str, Any]) -> Answer:
    usage = dict(fields(response.get("usageMetadata")))
    if not usage:
        # Vertex AI's older models tell the tokens of each text
        told = [
            integer(fields(fields(fields(one).get("embeddings")).get("statistics")).get("token_count"))
            for one in items(response.get("predictions"))
        ]
        if told and None not in told:
            usage["promptTokenCount"] = known_sum(*told)
    return Answer(usage=usage or None, service_tier=tier_of(usage))


class Bodies:
    """Keeps an answer's bodies, one or a stream of them, and reads them later, off the application's thread."""

    def __init__(
        self,
        read: Callable[[list[Mapping[str, Any]], bool], Answer],
        messages: Callable[[list[Mapping[str, Any]]], list[Any]] | None,
    ) -> None:
        self._read = read
        self._messages = messages
        self._bodies: list[str] = []
        self._characters = 0
        self._is_cut = False
        self._tier = ""

    def feed(self, response: Any) -> bool:
        """Take a response of the SDK's HTTP layer: a JSON text in ``body``, and ``headers``."""
        body: str = response.body
        if not self._characters:
            headers: Mapping[str, str] = response.headers or {}
            self._tier = next((tier for name, tier in headers.items() if name.lower() == _TIER_HEADER), "")
        self._characters += len(body)
        if self._characters <= MAX_KEPT_CHARACTERS:
            self._bodies.append(body)
        else:
            self._is_cut = True
            if self._bodies:
                self._bodies[-1] = body  # what counts stands in the last one
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        documents = [fields(json.loads(body)) for body in self._bodies if body]
        answer = self._read(documents, is_complete)
        answer.service_tier = self._tier or answer.service_tier
        if self._is_cut:
            answer.notes = (*answer.notes, "body_not_read")
        if self._messages is not None:
            answer.messages = self._messages(documents)
        return answer


class Images:
    """Counts the images of an answer (Imagen), later; what was filtered out has no bytes and is not billed."""

    def __init__(self) -> None:
        self._body = ""

    def feed(self, response: Any) -> bool:
        self._body = response.body
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        # Megabytes of base64, in which no quote can stand: not worth decoding for a number.
        images = self._body.count('"bytesBase64Encoded":') + self._body.count('"gcsUri":')
        return Answer(counts={"images": images} if images else None, is_partial=not is_complete)


def _read_batch(body: bytes) -> Iterator[tuple[Endpoint, Answer, int]]:
    """The answers inside a batch job that is looked up. One without an id is known by its place in the job."""
    job: Mapping[str, Any] = fields(json.loads(body)) if body else {}
    told = fields(job.get("metadata"))
    output = fields(told.get("output") or job.get("response"))
    name = text(job.get("name")).rpartition("/")[2]
    answered = items(fields(output.get("inlinedResponses")).get("inlinedResponses"))
    for index, one in enumerate(answered):
        document = fields(fields(one).get("response"))
        if not document:
            continue  # it failed, and is not billed
        answer = _read_response(document)
        answer.model = answer.model or text(told.get("model")).rpartition("/")[2]
        answer.id = answer.id or f"{name}/{index}"
        answer.is_batch = True
        answer.batch_id = name
        yield BATCHED, answer, _nanoseconds(text(told.get("createTime")))


def read_results(body: bytes, *, file: str) -> Iterator[tuple[Endpoint, Answer, int]]:
    """The answers in a batch's file of results; nothing for any other file. One without an id is known by its key."""
    if not body.startswith(b"{") or b'"response"' not in body:
        return
    for line in body.splitlines():
        try:
            known = fields(json.loads(line))
        except ValueError:
            return  # no file of results
        document = fields(known.get("response"))
        if "usageMetadata" not in document or "candidates" not in document:
            continue  # it failed, and is not billed
        answer = _read_response(document)
        answer.id = answer.id or f"{file}/{text(known.get('key'))}"
        answer.is_batch = True
        yield BATCHED, answer, 0


def _nanoseconds(moment: str) -> int:
    """Since the epoch, of an RFC 3339 text; 0 when it is none."""
    try:
        return int(datetime.fromisoformat(moment).timestamp()) * 1_000_000_000
    except ValueError:
        return 0


def _new_images_reader(_hides_usage: bool, _captures: bool) -> Images:
    return Images()


def _read_generated(documents: list[Mapping[str, Any]], is_complete: bool) -> Answer:
    return _merged(documents, is_complete=is_complete)


def _read_embedded(documents: list[Mapping[str, Any]], _is_complete: bool) -> Answer:
    return _read_embeddings(documents[0] if documents else {})


def _new_reader(_hides_usage: bool, captures: bool) -> Bodies:
    return Bodies(_read_generated, _said if captures else None)


def _new_embedding_reader(_hides_usage: bool, _captures: bool) -> Bodies:
    return Bodies(_read_embedded, None)


def _part(known: Mapping[str, Any]) -> dict[str, Any]:
    """A part in the conventions' words. Media are named, not copied."""
    if "text" in known:
        return {"type": "reasoning" if known.get("thought") else "text", "content": text(known.get("text"))}
    if called := fields(known.get("functionCall")):
        return tool_call(called.get("id"), called.get("name"), called.get("args"))
    if told := fields(known.get("functionResponse")):
        return {"type": "tool_call_response", "id": text(told.get("id")), "response": told.get("response")}
    if blob := fields(known.get("inlineData")):
        return {"type": "blob", "mime_type": text(blob.get("mimeType")), "base64_bytes": size(blob.get("data"))}
    if file := fields(known.get("fileData")):
        return {"type": "uri", "mime_type": text(file.get("mimeType")), "uri": text(file.get("fileUri"))}
    return dict(known)


def _asked(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        gen_ai.GEN_AI_INPUT_MESSAGES: [
            {
                "role": text(fields(content).get("role")) or "user",
                "parts": [_part(part) for part in _parts(content)],
            }
            for content in items(body.get("contents"))
        ]
    }
    if system := _parts(body.get("systemInstruction")):
        found[gen_ai.GEN_AI_SYSTEM_INSTRUCTIONS] = [_part(part) for part in system]
    if tools := items(body.get("tools")):
        found[gen_ai.GEN_AI_TOOL_DEFINITIONS] = tools
    return found


def _said(documents: list[Mapping[str, Any]]) -> list[Any]:
    messages: dict[int, dict[str, Any]] = {}
    for document in documents:
        for candidate in _candidates(document):
            index = integer(candidate.get("index")) or 0
            message = messages.setdefault(index, {"role": "assistant", "parts": [], "finish_reason": ""})
            message["finish_reason"] = text(candidate.get("finishReason")) or message["finish_reason"]
            parts: list[dict[str, Any]] = message["parts"]
            for part in map(_part, _parts(candidate.get("content"))):
                if parts and "content" in part and parts[-1]["type"] == part["type"]:
                    parts[-1]["content"] += part["content"]  # the next piece of the same text
                else:
                    parts.append(part)
    return [messages[index] for index in sorted(messages)]


GENERATE: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_GENERATE_CONTENT,
    request_keys=("generationConfig",),
    read_request=_read_request,
    read_response=_read_response,
    read_usage=read_usage,
    tool_results=_tool_results,
    new_reader=_new_reader,
    input_messages=_asked,
)
EMBEDDINGS: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_EMBEDDINGS,
    request_keys=("requests", "parameters", "embedContentConfig", "outputDimensionality"),
    read_request=_read_embedding_request,
    read_response=_read_embeddings,
    read_usage=read_usage,
    new_reader=_new_embedding_reader,
)
IMAGES: Final = Endpoint(
    operation="image_generation",
    read_response=_read_embeddings,
    read_usage=read_usage,
    new_reader=_new_images_reader,
)
BATCHED: Final = replace(GENERATE, starts_late=True, new_reader=None)
BATCH: Final = replace(BATCHED, request_keys=(), tool_results=None, input_messages=None, read_items=_read_batch)
