"""Ollama's documents: what a request asks and what an answer says.

``prompt_eval_count`` and ``eval_count`` come with the last document of an answer, whole or streamed
(https://docs.ollama.com/api/usage). Thinking is counted with the rest of the output. Answers have no id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation._answer import Answer, Counted, Endpoint
from spanledger.instrumentation._openai_usage import read_usage as read_openai_usage
from spanledger.instrumentation._reading import fields, integer, items, size, snapshot, text, to_json
from spanledger.instrumentation._requests import copy_fields
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall
from spanledger.semconv.usage import Usage

_COUNTS: Final = ("prompt_eval_count", "eval_count")
_OPTIONS: Final = (
    ("temperature", gen_ai.GEN_AI_REQUEST_TEMPERATURE, (int, float)),
    ("top_p", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
    ("top_k", gen_ai.GEN_AI_REQUEST_TOP_K, (int,)),
    ("num_predict", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("seed", gen_ai.GEN_AI_REQUEST_SEED, (int,)),
    ("frequency_penalty", gen_ai.GEN_AI_REQUEST_FREQUENCY_PENALTY, (int, float)),
    ("presence_penalty", gen_ai.GEN_AI_REQUEST_PRESENCE_PENALTY, (int, float)),
)


def _read_request(request: Mapping[str, Any], found: dict[str, Any]) -> None:
    options = fields(request.get("options"))
    copy_fields(_OPTIONS, options, found)
    if (limit := found.get(gen_ai.GEN_AI_REQUEST_MAX_TOKENS)) is not None and limit < 0:
        del found[gen_ai.GEN_AI_REQUEST_MAX_TOKENS]  # -1: no limit
    stops = tuple(stop for stop in items(options.get("stop")) if isinstance(stop, str))
    if stops:
        found[gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES] = stops
    if request.get("format"):
        found[gen_ai.GEN_AI_OUTPUT_TYPE] = "json"


def _tool_results(body: Mapping[str, Any]) -> list[ToolCall]:
    """Tool results after the last answer of the model; earlier ones were handed over by earlier calls."""
    found: list[ToolCall] = []
    for one in reversed(items(body.get("messages"))):
        message = fields(one)
        if message.get("role") != "tool":
            break
        output = message.get("content")
        found.append(
            ToolCall(
                name=text(message.get("tool_name")),
                kind="result",
                output_bytes=size(output),
                output=output if isinstance(output, str) else None,
            )
        )
    found.reverse()
    return found


def _used_tools(calls: Any) -> list[ToolCall]:
    found: list[ToolCall] = []
    for call in calls if isinstance(calls, (list, tuple)) else ():  # pyright: ignore[reportUnknownVariableType]
        function = fields(fields(call).get("function"))
        arguments = to_json(function.get("arguments"))
        found.append(ToolCall(name=text(function.get("name")), input_bytes=size(arguments), input=arguments))
    return found


def _counted(known: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return {name: known[name] for name in _COUNTS if known.get(name) is not None} or None


def _read_response(response: Mapping[str, Any]) -> Answer:
    reason = text(response.get("done_reason"))
    return Answer(
        model=text(response.get("model")),
        usage=_counted(response),
        finish_reasons=(reason,) if reason else (),
        tool_calls=_used_tools(fields(response.get("message")).get("tool_calls")),
    )


def _read_usage(answer: Answer) -> Counted:
    usage = answer.usage or {}
    return Counted(
        usage=Usage(
            input_uncached=integer(usage.get("prompt_eval_count")),
            output_text=integer(usage.get("eval_count")),
            partial=answer.is_partial,
        )
    )


def _said(thinking: str, said: str, calls: list[ToolCall], reason: str) -> list[Any]:
    thought = [{"type": "reasoning", "content": thinking}] if thinking else []
    used = [content.tool_call("", call.name, call.input) for call in calls]
    return [{"role": "assistant", "parts": [*thought, *content.parts(said), *used], "finish_reason": reason}]


def _texts(known: Mapping[str, Any]) -> tuple[str, str]:
    """What a document holds of the model's thinking and of its answer; ``generate`` has no message."""
    place = fields(known.get("message")) or known
    return text(place.get("thinking")), text(place.get("content", place.get("response")))


def _output_messages(response: Mapping[str, Any]) -> list[Any]:
    calls = _used_tools(fields(response.get("message")).get("tool_calls"))
    return _said(*_texts(response), calls, text(response.get("done_reason")))


def _chat_asked(body: Mapping[str, Any]) -> dict[str, Any]:
    return content.asked(body.get("messages"), tools=body.get("tools"))


def _prompt_asked(body: Mapping[str, Any]) -> dict[str, Any]:
    return content.asked(body.get("prompt", body.get("input")), system=body.get("system"))


class Reader:
    """Reads a stream of documents, of which the last one counts and says why it is the last."""

    __slots__ = ("_captures", "_is_done", "_last", "_reason", "_texts", "_tools", "_usage")

    def __init__(self, _hides_usage: bool, captures: bool) -> None:
        self._captures = captures
        self._last: Any = None
        self._is_done = False
        self._reason = ""
        self._usage: Mapping[str, Any] | None = None
        self._tools: list[ToolCall] = []
        self._texts: list[tuple[str, str]] = []

    def feed(self, chunk: Any) -> bool:
        known = fields(chunk)
        self._last = chunk
        if (calls := fields(known.get("message")).get("tool_calls")) is not None:
            self._tools += _used_tools(calls)
        if known.get("done"):
            self._is_done = True
            self._reason = text(known.get("done_reason"))
            self._usage = _counted(known)
        if self._captures:
            self._texts.append(_texts(known))
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        # A stream that was left after its last document has told everything.
        is_partial = not is_complete and not self._is_done
        answer = Answer(
            model=text(fields(self._last).get("model")),
            usage=self._usage,
            finish_reasons=(self._reason,) if self._reason else (),
            tool_calls=self._tools,
            is_partial=is_partial,
            notes=("stream_ended_early",) if is_partial else (),
        )
        if self._captures:
            thinking, said = ("".join(pieces) for pieces in zip(("", ""), *self._texts, strict=True))
            answer.messages = _said(thinking, said, self._tools, self._reason)
        return answer


def _read_scores(response: Mapping[str, Any]) -> Answer:
    usage = response.get("usage")
    return Answer(model=text(response.get("model")), usage=snapshot(usage) if usage is not None else None)


CHAT: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_CHAT,
    request_keys=("options", "format"),
    read_request=_read_request,
    read_response=_read_response,
    read_usage=_read_usage,
    tool_results=_tool_results,
    new_reader=Reader,
    input_messages=_chat_asked,
    output_messages=_output_messages,
)
GENERATE: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_TEXT_COMPLETION,
    request_keys=("options", "format"),
    read_request=_read_request,
    read_response=_read_response,
    read_usage=_read_usage,
    new_reader=Reader,
    input_messages=_prompt_asked,
    output_messages=_output_messages,
)
EMBEDDINGS: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_EMBEDDINGS,
    read_response=_read_response,
    read_usage=_read_usage,
    input_messages=_prompt_asked,
)
SCORES: Final = Endpoint(
    operation=gen_ai.GEN_AI_OPERATION_NAME_VALUE_TEXT_COMPLETION,
    read_response=_read_scores,
    read_usage=read_openai_usage,
)
