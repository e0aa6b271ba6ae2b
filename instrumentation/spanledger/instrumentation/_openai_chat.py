"""OpenAI chat completions, legacy completions and embeddings: what a request asks and what an answer says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation._answer import Answer, Endpoint
from spanledger.instrumentation._openai_usage import read_usage
from spanledger.instrumentation._reading import fields, items, size, snapshot, text
from spanledger.instrumentation._requests import copy_fields
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall

_REQUEST: Final = (
    ("temperature", gen_ai.GEN_AI_REQUEST_TEMPERATURE, (int, float)),
    ("top_p", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
    ("frequency_penalty", gen_ai.GEN_AI_REQUEST_FREQUENCY_PENALTY, (int, float)),
    ("presence_penalty", gen_ai.GEN_AI_REQUEST_PRESENCE_PENALTY, (int, float)),
    ("max_tokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("max_completion_tokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("seed", gen_ai.GEN_AI_REQUEST_SEED, (int,)),
    ("service_tier", gen_ai.OPENAI_REQUEST_SERVICE_TIER, (str,)),
    ("reasoning_effort", gen_ai.GEN_AI_REQUEST_REASONING_LEVEL, (str,)),
)
_KEYS: Final = (*(key for key, _, _ in _REQUEST), "stop", "n", "response_format")


def read_request(request: Mapping[str, Any], found: dict[str, Any]) -> None:
    """What a request asks, as span attributes."""
    copy_fields(_REQUEST, request, found)
    stop = request.get("stop")
    if isinstance(stop, str):
        found[gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES] = (stop,)
    elif isinstance(stop, (list, tuple)):
        found[gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES] = tuple(s for s in stop if isinstance(s, str))  # pyright: ignore[reportUnknownVariableType]
    choices = request.get("n")
    if isinstance(choices, int) and choices != 1:
        found[gen_ai.GEN_AI_REQUEST_CHOICE_COUNT] = choices
    kind = text(fields(request.get("response_format")).get("type"))
    if kind:
        found[gen_ai.GEN_AI_OUTPUT_TYPE] = "text" if kind == "text" else "json"


def _tool_results(body: Mapping[str, Any]) -> list[ToolCall]:
    """Tool results after the last answer of the model; earlier ones were handed over by earlier calls."""
    messages = items(body.get("messages"))
    found: list[ToolCall] = []
    for index in range(len(messages) - 1, -1, -1):
        message = fields(messages[index])
        if message.get("role") != "tool":
            break
        call_id = text(message.get("tool_call_id"))
        output = message.get("content")
        found.append(
            ToolCall(
                name=_name_of(messages, index, call_id),
                id=call_id,
                kind="result",
                output_bytes=size(output),
                output=output if isinstance(output, str) else None,
            )
        )
    found.reverse()
    return found


def _name_of(messages: list[Any], before: int, call_id: str) -> str:
    for message in reversed(messages[:before]):
        for call in items(fields(message).get("tool_calls")):
            if fields(call).get("id") == call_id:
                return text(fields(fields(call).get("function")).get("name"))
    return ""


def _used_tools(message: Mapping[str, Any]) -> list[ToolCall]:
    found: list[ToolCall] = []
    for call in items(message.get("tool_calls")):
        known = fields(call)
        # a custom tool has `custom: {name, input}` in the place of `function: {name, arguments}`
        function = fields(known.get("function") or known.get("custom"))
        asked = function.get("arguments", function.get("input"))
        found.append(
            ToolCall(
                name=text(function.get("name")),
                id=text(known.get("id")),
                input_bytes=size(asked),
                input=asked if isinstance(asked, str) else None,
            )
        )
    return found


def _read_response(response: Mapping[str, Any]) -> Answer:
    usage = response.get("usage")
    reasons: list[str] = []
    tools: list[ToolCall] = []
    for choice in items(response.get("choices")):
        known = fields(choice)
        if reason := known.get("finish_reason"):
            reasons.append(text(reason))
        message = fields(known.get("message"))
        if message.get("tool_calls"):
            tools += _used_tools(message)
    return Answer(
        model=text(response.get("model")),
        id=text(response.get("id")),
        usage=snapshot(usage) if usage is not None else None,
        service_tier=text(response.get("service_tier")),
        finish_reasons=tuple(reasons),
        tool_calls=tools,
    )


def _output_messages(response: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for choice in items(response.get("choices")):
        known = fields(choice)
        said = fields(known.get("message")) or {"role": "assistant", "content": known.get("text")}
        found.append(content.message(said, finish_reason=text(known.get("finish_reason"))))
    return found


def _input_messages(body: Mapping[str, Any]) -> dict[str, Any]:
    return content.asked(body.get("messages", body.get("prompt", body.get("input"))), tools=body.get("tools"))


class ChatReader:
    """Reads a stream of chat completion chunks.

    Usage comes with the last chunk, which has no choices; a few hosts send a running total with every chunk instead,
    of which the last counts.
    """

    __slots__ = ("_finish_reasons", "_hides_usage", "_last", "_tools", "_usage")

    def __init__(self, hides_usage: bool) -> None:
        self._hides_usage = hides_usage
        self._last: Any = None
        self._usage: Mapping[str, Any] | None = None
        self._finish_reasons: dict[int, str] = {}
        self._tools: dict[tuple[int, int], dict[str, Any]] = {}

    def feed(self, chunk: Any) -> bool:
        # The hot path: a chunk of the SDK's own model, with a piece of text in it.
        try:
            choices = chunk.choices
            if choices:
                self._last = chunk
                choice = choices[0]
                if choice.finish_reason is not None or choice.delta.tool_calls is not None:
                    self._look_at(choices)
            usage = chunk.usage
        except AttributeError:
            return self.feed_fields(chunk, fields(chunk))
        return False if usage is None else self._count(chunk, usage, choices)

    def feed_fields(self, chunk: Any, known: Mapping[str, Any]) -> bool:
        """`feed` for documents, and for models that are not chat's."""
        choices = known.get("choices")
        if choices:
            self._last = chunk
            self._look_at(choices)
        usage = known.get("usage")
        return False if usage is None else self._count(chunk, usage, choices)

    def _count(self, chunk: Any, usage: Any, choices: Any) -> bool:
        self._usage = snapshot(usage)
        if choices:
            return False
        if self._last is None:
            self._last = chunk
        return self._hides_usage

    def _look_at(self, choices: list[Any]) -> None:
        for choice in choices:
            known = fields(choice)
            index = known.get("index") or 0
            if reason := text(known.get("finish_reason")):
                self._finish_reasons[index] = reason
            for call in items(fields(known.get("delta")).get("tool_calls")):
                self._add_tool(index, fields(call))

    def _add_tool(self, choice: int, call: Mapping[str, Any]) -> None:
        tool = self._tools.setdefault((choice, call.get("index") or 0), {"id": "", "name": "", "bytes": 0})
        function = fields(call.get("function") or call.get("custom"))
        tool["id"] = tool["id"] or text(call.get("id"))
        tool["name"] = tool["name"] or text(function.get("name"))
        tool["bytes"] += size(function.get("arguments", function.get("input"))) or 0

    def answer(self, *, is_complete: bool) -> Answer:
        last = fields(self._last)
        # A stream that was left after its usage had come has told all that is billed.
        is_partial = not is_complete and self._usage is None
        return Answer(
            model=text(last.get("model")),
            id=text(last.get("id")),
            usage=self._usage,
            service_tier=text(last.get("service_tier")),
            finish_reasons=tuple(self._finish_reasons[index] for index in sorted(self._finish_reasons)),
            tool_calls=[
                ToolCall(name=tool["name"], id=tool["id"], input_bytes=tool["bytes"])
                for _, tool in sorted(self._tools.items())
            ],
            is_partial=is_partial,
            notes=("stream_ended_early",) if is_partial else (),
        )


class CompletionReader(ChatReader):
    """Reads a stream of legacy completions, whose choices hold text in the place of a delta."""

    __slots__ = ()

    def feed(self, chunk: Any) -> bool:
        return self.feed_fields(chunk, fields(chunk))


class CapturingChatReader(ChatReader):
    """Keeps the generated texts as well, for whoever switched content capture on."""

    __slots__ = ("_arguments", "_texts")

    def __init__(self, hides_usage: bool) -> None:
        super().__init__(hides_usage)
        self._texts: dict[int, list[str]] = {}
        self._arguments: dict[tuple[int, int], str] = {}

    def feed(self, chunk: Any) -> bool:
        for choice in items(fields(chunk).get("choices")):
            known = fields(choice)
            index = known.get("index") or 0
            delta = fields(known.get("delta"))
            self._texts.setdefault(index, []).append(content.said(delta.get("content", known.get("text"))))
            for call in items(delta.get("tool_calls")):
                place = (index, fields(call).get("index") or 0)
                added = text(fields(fields(call).get("function")).get("arguments"))
                self._arguments[place] = self._arguments.get(place, "") + added
        return self.feed_fields(chunk, fields(chunk))

    def answer(self, *, is_complete: bool) -> Answer:
        answer = super().answer(is_complete=is_complete)
        answer.messages = [
            {
                "role": "assistant",
                "parts": content.parts("".join(texts))
                + [
                    content.tool_call(tool["id"], tool["name"], self._arguments.get((choice, place)))
                    for (choice, place), tool in sorted(self._tools.items())
                    if choice == index
                ],
                "finish_reason": self._finish_reasons.get(index, ""),
            }
            for index, texts in sorted(self._texts.items())
        ]
        answer.tool_calls = [
            replace(tool, input=self._arguments.get(place))
            for place, tool in zip(sorted(self._tools), answer.tool_calls, strict=True)
        ]
        return answer


def _new_reader(hides_usage: bool, captures: bool) -> ChatReader:
    return CapturingChatReader(hides_usage) if captures else ChatReader(hides_usage)


def _new_completion_reader(hides_usage: bool, captures: bool) -> ChatReader:
    return CapturingChatReader(hides_usage) if captures else CompletionReader(hides_usage)


def _ask_for_usage(body: Mapping[str, Any]) -> dict[str, Any] | None:
    known = fields(body.get("stream_options"))
    if "include_usage" in known:
        return None  # the caller has decided
    return {**body, "stream_options": {**known, "include_usage": True}}


CHAT: Final = Endpoint(
    operation="chat",
    request_keys=_KEYS,
    read_request=read_request,
    read_response=_read_response,
    read_usage=read_usage,
    tool_results=_tool_results,
    new_reader=_new_reader,
    ask_for_usage=_ask_for_usage,
    input_messages=_input_messages,
    output_messages=_output_messages,
    attributes=MappingProxyType({gen_ai.OPENAI_API_TYPE: gen_ai.OPENAI_API_TYPE_VALUE_CHAT_COMPLETIONS}),
)
COMPLETIONS: Final = Endpoint(
    operation="text_completion",
    request_keys=_KEYS,
    read_request=read_request,
    read_response=_read_response,
    read_usage=read_usage,
    new_reader=_new_completion_reader,
    ask_for_usage=_ask_for_usage,
    input_messages=_input_messages,
    output_messages=_output_messages,
)
EMBEDDINGS: Final = Endpoint(
    operation="embeddings",
    read_response=_read_response,
    read_usage=read_usage,
    input_messages=_input_messages,
)
