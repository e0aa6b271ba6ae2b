"""Amazon Bedrock's requests: what is asked of Converse and InvokeModel, and how their answers are read."""

from __future__ import annotations

from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation._answer import Endpoint
from spanledger.instrumentation._anthropic_messages import MESSAGES
from spanledger.instrumentation._bedrock_answers import (
    new_chunk_reader,
    new_converse_reader,
    read_bare_body,
    read_converse,
)
from spanledger.instrumentation._bedrock_usage import Document, read_usage
from spanledger.instrumentation._bodies import MAX_DOCUMENT_BYTES, document_of
from spanledger.instrumentation._reading import fields, items, size, text
from spanledger.instrumentation._requests import copy_fields
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall

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


def converse_said(document: Document) -> list[Any]:
    """The generated message in the conventions' shape."""
    message = fields(fields(document.get("output")).get("message"))
    parts = [_part(fields(block)) for block in items(message.get("content"))]
    return [{"role": "assistant", "parts": parts, "finish_reason": text(document.get("stopReason"))}]


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


INVOKE_OPERATIONS: Final = ("chat", "text_completion", "embeddings", "rerank", "image_generation")
_PAINTERS: Final = ("image", "canvas", "stability.", "stable-")


def invoke_operation(model: str, body: Any) -> str:
    """What an InvokeModel request is, in the conventions' words, by the model's name and the body's fields."""
    if "embed" in model:
        return gen_ai.GEN_AI_OPERATION_NAME_VALUE_EMBEDDINGS
    if "rerank" in model:
        return "rerank"
    if any(word in model for word in _PAINTERS):
        return "image_generation"
    if _mentions(body, '"prompt"', '"inputText"') and not _mentions(body, '"messages"'):
        return gen_ai.GEN_AI_OPERATION_NAME_VALUE_TEXT_COMPLETION
    return gen_ai.GEN_AI_OPERATION_NAME_VALUE_CHAT


CONVERSE: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_CHAT,
    request_keys=("inferenceConfig", "guardrailConfig"),
    read_request=_read_converse_request,
    read_response=read_converse,
    read_usage=read_usage,
    tool_results=_tool_results,
    new_reader=new_converse_reader,
    input_messages=_converse_asked,
    output_messages=converse_said,
)
INVOKE: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_CHAT,
    request_keys=("body", "guardrailIdentifier"),
    read_request=_read_invoke_request,
    read_response=read_bare_body,
    read_usage=read_usage,
    tool_results=_invoke_tool_results,
    new_reader=new_chunk_reader,
    input_messages=_invoke_asked,
)
