"""Mistral's documents: OpenAI's chat completions with differences, document recognition, and conversations.

Differences: the served tier stands in the usage document; seconds of sound stand beside the tokens; ``prompt_tokens``
holds cached tokens (https://docs.mistral.ai/inference/conversations/advanced/prompt-caching), but not the tokens that
connectors fed to the model in a conversation. Document recognition is billed by the page, and dearer when structured
annotations are asked for (https://docs.mistral.ai/models/ocr-3-25-12), which only the request tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation import _openai_chat as openai
from spanledger.instrumentation import _openai_media as media
from spanledger.instrumentation import _openai_responses as responses
from spanledger.instrumentation._answer import Answer, Counted, Endpoint
from spanledger.instrumentation._bodies import document_of
from spanledger.instrumentation._openai_usage import read_usage as read_openai_usage
from spanledger.instrumentation._reading import fields, integer, items, size, snapshot, text, to_json
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall
from spanledger.semconv.usage import Usage

Document = Mapping[str, Any]

_KEYS: Final = (
    *(key for key in openai.CHAT.request_keys if key != "service_tier"),
    "random_seed",
    "agent_id",
)
# What a conversation's connectors did, by the names that the price book has for it.
_CONNECTORS: Final = {"web_search": "web_searches", "code_interpreter": "code_executions"}


def _read_request(request: Document, found: dict[str, Any]) -> None:
    openai.read_request(request, found)
    seed = request.get("random_seed")
    if isinstance(seed, int) and not isinstance(seed, bool):
        found[gen_ai.GEN_AI_REQUEST_SEED] = seed
    if agent := text(request.get("agent_id")):
        found[gen_ai.GEN_AI_AGENT_ID] = agent


def read_usage(answer: Answer) -> Counted:
    """OpenAI's classes, and the seconds of sound in the prompt."""
    seconds = integer((answer.usage or {}).get("prompt_audio_seconds"))
    if seconds:
        answer.counts = {**(answer.counts or {}), "input_audio_seconds": seconds}
    return read_openai_usage(answer)


def _with_tier(answer: Answer) -> Answer:
    answer.service_tier = answer.service_tier or text((answer.usage or {}).get("service_tier"))
    return answer


def _read_response(response: Document) -> Answer:
    return _with_tier(openai.CHAT.read_response(response))


class ChatReader(openai.ChatReader):
    """Reads a stream of chunks; the last one has the usage, unasked."""

    __slots__ = ()

    def answer(self, *, is_complete: bool) -> Answer:
        return _with_tier(super().answer(is_complete=is_complete))


class CapturingChatReader(openai.CapturingChatReader):
    """Keeps the generated texts as well."""

    __slots__ = ()

    def answer(self, *, is_complete: bool) -> Answer:
        return _with_tier(super().answer(is_complete=is_complete))


def _new_reader(hides_usage: bool, captures: bool) -> openai.ChatReader:
    return CapturingChatReader(hides_usage) if captures else ChatReader(hides_usage)


def _read_unwritten(response: Document) -> Answer:
    """An answer without a generated text: its 0 completion tokens are no class of its own."""
    answer = _read_response(response)
    if answer.usage is not None and not answer.usage.get("completion_tokens"):
        answer.usage = {name: count for name, count in answer.usage.items() if name != "completion_tokens"}
    return answer


def _read_answered(response: Document) -> Answer:
    return _with_tier(responses.RESPONSES.read_response(response))


# Document recognition


def _read_pages(response: Document) -> Answer:
    return Answer(model=text(response.get("model")), counts=_pages(response, "input_document_pages"))


def _read_annotated_pages(response: Document) -> Answer:
    return Answer(model=text(response.get("model")), counts=_pages(response, "input_annotated_document_pages"))


def _pages(response: Document, name: str) -> Mapping[str, int] | None:
    pages = integer(fields(response.get("usage_info")).get("pages_processed"))
    return None if pages is None else {name: pages}


# Sound


def _heard(answer: Answer) -> Counted:
    """A transcription is billed by the second; its tokens are not (https://docs.mistral.ai/models/overview)."""
    seconds = integer((answer.usage or {}).get("prompt_audio_seconds"))
    return Counted(usage=Usage(counts={"input_audio_seconds": seconds} if seconds else {}, partial=answer.is_partial))


# Batch jobs


def _is_annotated(response: Document) -> bool:
    images = (image for page in map(fields, items(response.get("pages"))) for image in items(page.get("images")))
    return bool(response.get("document_annotation")) or any(fields(image).get("image_annotation") for image in images)


def _endpoint_of(response: Document) -> Endpoint | None:
    """How to read an answer, by what only one kind of it has."""
    if "usage_info" in response:
        return OCR_ANNOTATED if _is_annotated(response) else OCR
    return {"chat.completion": CHAT, "list": EMBEDDINGS}.get(text(response.get("object")))


def read_result(path: str, line: bytes) -> tuple[Endpoint, Answer, int] | None:
    """The answer in a line of a downloaded file, if that is a batch job's output; ``None`` for any other file.

    What failed is not billed. An answer without an id gets one that is the same at every download, so that it is
    counted once.
    """
    if b'"custom_id"' not in line:
        return None
    known = document_of(line)
    response = fields(known.get("response"))
    answered = fields(response.get("body"))
    endpoint = _endpoint_of(answered)
    if response.get("status_code") != 200 or endpoint is None:
        return None
    answer = endpoint.read_response(answered)
    answer.is_batch = True
    answer.id = answer.id or f"{path.split('/')[-2]}/{text(known.get('custom_id'))}"
    return endpoint, answer, (integer(answered.get("created")) or 0) * 1_000_000_000


# Conversations


def _conversation_keys(request: Document, found: dict[str, Any]) -> None:
    _read_request({**fields(request.get("completion_args")), "agent_id": request.get("agent_id")}, found)


def _conversed(body: Document) -> dict[str, Any]:
    inputs = body.get("inputs")
    messages = [
        {"role": entry.get("role", "user"), "content": entry.get("content")} if "content" in entry else dict(entry)
        for entry in map(fields, items(inputs))
    ]
    return content.asked(
        messages if isinstance(inputs, list) else inputs, system=body.get("instructions"), tools=body.get("tools")
    )


def _function_results(body: Document) -> list[ToolCall]:
    return [
        ToolCall(
            name="",
            id=text(entry.get("tool_call_id")),
            kind="result",
            output_bytes=size(entry.get("result")),
            output=text(entry.get("result")) or None,
        )
        for entry in map(fields, items(body.get("inputs")))
        if entry.get("type") == "function.result"
    ]


def _read_conversation(response: Document) -> Answer:
    answer = _outputs_of(response.get("outputs"))
    _settle(answer, response.get("usage"), text(response.get("conversation_id")))
    return answer


def _settle(answer: Answer, usage: Any, conversation: str) -> None:
    if usage is not None:
        answer.usage = snapshot(usage)
        told = fields(usage)
        counts = {_CONNECTORS.get(name, name): integer(uses) for name, uses in fields(told.get("connectors")).items()}
        # A part of the prompt that ``prompt_tokens`` leaves out; the total has it.
        counts["input_tool"] = integer(told.get("connector_tokens"))
        answer.counts = {name: count for name, count in counts.items() if count}
    if conversation:
        answer.attributes = {gen_ai.GEN_AI_CONVERSATION_ID: conversation}


def _outputs_of(outputs: Any) -> Answer:
    answer = Answer()
    calls: list[ToolCall] = []
    for entry in map(fields, items(outputs)):
        answer.model = text(entry.get("model")) or answer.model
        answer.id = text(entry.get("id")) or answer.id
        if entry.get("type") == "function.call":
            asked = entry.get("arguments")
            arguments = asked if isinstance(asked, str) else to_json(asked)
            calls.append(
                ToolCall(
                    name=text(entry.get("name")),
                    id=text(entry.get("tool_call_id")),
                    input_bytes=size(arguments),
                    input=arguments,
                )
            )
    answer.tool_calls = calls
    return answer


def _conversation_said(response: Document) -> list[Any]:
    return [
        {"role": "assistant", "parts": content.parts(entry.get("content"))}
        for entry in map(fields, items(response.get("outputs")))
        if entry.get("type") == "message.output"
    ]


class ConversationReader:
    """Reads the events of a conversation; ``conversation.response.done`` has the usage."""

    __slots__ = ("_captures", "_conversation", "_entries", "_error", "_texts", "_usage")

    def __init__(self, _hides_usage: bool, captures: bool) -> None:
        self._captures = captures
        self._conversation = ""
        self._error = ""
        self._usage: Document | None = None
        self._entries: dict[str, dict[str, Any]] = {}
        self._texts: list[str] = []

    def feed(self, event: Any) -> bool:
        kind = event.get("type")
        if kind == "message.output.delta":
            identifier = text(event.get("id"))
            if identifier not in self._entries:
                self._entries[identifier] = {"id": identifier, "model": event.get("model")}
            if self._captures:
                told = event.get("content")
                self._texts.append(content.said(told if isinstance(told, (str, list)) else [told]))
        elif kind == "function.call.delta":
            entry = self._entries.setdefault(
                text(event.get("tool_call_id")), {**event, "type": "function.call", "arguments": ""}
            )
            entry["arguments"] += text(event.get("arguments"))
        elif kind == "conversation.response.started":
            self._conversation = text(event.get("conversation_id"))
        elif kind == "conversation.response.done":
            self._usage = snapshot(event.get("usage"))
        elif kind == "conversation.response.error":
            self._error = "conversation.response.error"
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        answer = _outputs_of(list(self._entries.values()))
        _settle(answer, self._usage, self._conversation)
        answer.error_type = self._error
        if self._usage is None and (self._error or not is_complete):
            answer.is_partial = True
            answer.notes = ("stream_ended_early",)
        if self._texts:
            answer.messages = [{"role": "assistant", "parts": content.parts("".join(self._texts))}]
        return answer


CHAT: Final = replace(
    openai.CHAT,
    request_keys=_KEYS,
    read_request=_read_request,
    read_response=_read_response,
    read_usage=read_usage,
    new_reader=_new_reader,
    ask_for_usage=None,
    attributes={},
)
FIM: Final = replace(CHAT, operation="text_completion", tool_results=None)
EMBEDDINGS: Final = replace(openai.EMBEDDINGS, read_response=_read_unwritten, read_usage=read_usage)
MODERATIONS: Final = replace(EMBEDDINGS, operation="moderation")
OCR: Final = replace(EMBEDDINGS, operation="ocr", read_response=_read_pages, input_messages=None)
OCR_ANNOTATED: Final = replace(OCR, read_response=_read_annotated_pages)
CONVERSATION: Final = Endpoint(
    operation="chat",
    request_keys=("completion_args", "agent_id"),
    read_request=_conversation_keys,
    read_response=_read_conversation,
    read_usage=read_usage,
    tool_results=_function_results,
    new_reader=ConversationReader,
    input_messages=_conversed,
    output_messages=_conversation_said,
)
RESULTS: Final = replace(EMBEDDINGS, input_messages=None, read_item=read_result, starts_late=True)
RESPONSES: Final = replace(responses.RESPONSES, read_response=_read_answered, attributes={})
SPEECH: Final = replace(media.SPEECH, read_usage=read_usage)
TRANSCRIPTIONS: Final = replace(media.TRANSCRIPTIONS, read_usage=_heard)
