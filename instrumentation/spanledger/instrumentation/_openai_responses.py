"""OpenAI's Responses API: what a request asks and what an answer says.

A background response (``background=True``) answers at once without usage; who polls for it with ``responses.retrieve``
gets the same id with the usage. So its polls witness the call as well, from the one on that finds it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation._answer import Answer, Endpoint
from spanledger.instrumentation._openai_usage import read_usage
from spanledger.instrumentation._reading import fields, integer, items, size, snapshot, text
from spanledger.instrumentation._requests import copy_fields
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall

_REQUEST: Final = (
    ("temperature", gen_ai.GEN_AI_REQUEST_TEMPERATURE, (int, float)),
    ("top_p", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
    ("max_output_tokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("service_tier", gen_ai.OPENAI_REQUEST_SERVICE_TIER, (str,)),
    ("previous_response_id", gen_ai.GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID, (str,)),
)
_KEYS: Final = (*(key for key, _, _ in _REQUEST), "reasoning", "conversation")

_ENDED: Final = frozenset(["completed", "incomplete", "failed", "cancelled"])
_SNAPSHOT_EVENTS: Final = frozenset(
    [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
)
_CALLS: Final = frozenset(["function_call", "custom_tool_call", "mcp_call"])
_CALL_OUTPUTS: Final = frozenset(["function_call_output", "custom_tool_call_output"])
# Built-in tools that are billed per use, beside their tokens.
_BILLED_PER_USE: Final[Mapping[str, str]] = MappingProxyType(
    {"web_search_call": "web_searches", "file_search_call": "storage_searches"}
)


def _read_request(request: Mapping[str, Any], found: dict[str, Any]) -> None:
    copy_fields(_REQUEST, request, found)
    if effort := text(fields(request.get("reasoning")).get("effort")):
        found[gen_ai.GEN_AI_REQUEST_REASONING_LEVEL] = effort
    conversation = request.get("conversation")
    if named := text(conversation) or text(fields(conversation).get("id")):
        found[gen_ai.GEN_AI_CONVERSATION_ID] = named


def _tool_results(body: Mapping[str, Any]) -> list[ToolCall]:
    """Tool outputs at the end of the input; earlier ones were handed over by earlier calls."""
    given = items(body.get("input"))
    found: list[ToolCall] = []
    for index in range(len(given) - 1, -1, -1):
        item = fields(given[index])
        if item.get("type") not in _CALL_OUTPUTS:
            break
        call_id = text(item.get("call_id"))
        output = item.get("output")
        found.append(
            ToolCall(
                name=_name_of(given, index, call_id),
                id=call_id,
                kind="result",
                output_bytes=size(output),
                output=output if isinstance(output, str) else None,
            )
        )
    found.reverse()
    return found


def _name_of(given: list[Any], before: int, call_id: str) -> str:
    for item in reversed(given[:before]):
        known = fields(item)
        if known.get("call_id") == call_id and known.get("type") in _CALLS:
            return text(known.get("name"))
    return ""  # with `previous_response_id` the call itself is not sent again


def _used_tool(item: Mapping[str, Any]) -> ToolCall:
    asked = item.get("arguments", item.get("input"))
    output = item.get("output")  # of an MCP tool, which the provider calls itself
    return ToolCall(
        name=text(item.get("name")),
        id=text(item.get("call_id")) or text(item.get("id")),
        is_error=None if item.get("type") != "mcp_call" else item.get("error") is not None,
        input_bytes=size(asked),
        output_bytes=size(output),
        input=asked if isinstance(asked, str) else None,
        output=output if isinstance(output, str) else None,
    )


def _read_response(response: Mapping[str, Any]) -> Answer:
    usage = response.get("usage")
    tools: list[ToolCall] = []
    counts: dict[str, int] = {}
    kinds: list[str] = []
    for item in items(response.get("output")):
        known = fields(item)
        kind = text(known.get("type"))
        kinds.append(kind)
        if kind in _CALLS:
            tools.append(_used_tool(known))
        elif (counted := _BILLED_PER_USE.get(kind)) and _is_billed(known):
            counts[counted] = counts.get(counted, 0) + 1
    tool_usage = fields(response.get("tool_usage"))
    searches = integer(fields(tool_usage.get("web_search")).get("num_requests"))
    if searches is not None:  # what the provider counts itself, discounted searches left out
        counts.pop("web_searches", None)
        if searches:
            counts["web_searches"] = searches
    uncounted = _uncounted(kinds, tool_usage)
    status = text(response.get("status"))
    reason = text(fields(response.get("incomplete_details")).get("reason"))
    return Answer(
        model=text(response.get("model")),
        id=text(response.get("id")),
        usage=snapshot(usage) if usage is not None else None,
        service_tier=text(response.get("service_tier")),
        finish_reasons=((reason or status),) if status in _ENDED else (),
        tool_calls=tools,
        error_type=(text(fields(response.get("error")).get("code")) or "failed") if status == "failed" else "",
        counts=counts | {name: number for _, name, number in uncounted},
        notes=tuple(note for note, _, _ in uncounted),
        attributes={gen_ai.GEN_AI_RESPONSE_STATUS: status} if status else None,
    )


def _uncounted(kinds: list[str], tool_usage: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Built-in tools that are billed, of which an answer does not tell how much: a note, a count and how often.

    The counts have no rate: what they cost is open, and the cost says so.
    """
    found: list[tuple[str, str, int]] = []
    drawn = kinds.count("image_generation_call")
    if drawn or fields(tool_usage.get("image_gen")).get("total_tokens"):
        # It runs another model, whose tokens stand apart and have their own prices.
        found.append(("image_tool_not_counted", "image_tool_calls", drawn or 1))
    if run := kinds.count("code_interpreter_call"):
        # Billed by the container, which answers share.
        found.append(("code_interpreter_not_counted", "code_interpreter_uses", run))
    return found


def _is_billed(item: Mapping[str, Any]) -> bool:
    """Searches are billed, opening a page or looking into it is not."""
    return text(fields(item.get("action")).get("type")) in ("", "search")


def _read_polled(response: Mapping[str, Any]) -> Answer:
    answer = _read_response(response)
    answer.is_billable = _witnesses_a_call(response)
    return answer


def _witnesses_a_call(response: Mapping[str, Any]) -> bool:
    """Whether a response that was looked up tells what its own request could not: it ran in the background."""
    return bool(response.get("background")) and text(response.get("status")) in _ENDED


def _input_messages(body: Mapping[str, Any]) -> dict[str, Any]:
    return content.asked(body.get("input"), system=body.get("instructions"), tools=body.get("tools"))


def _output_messages(response: Mapping[str, Any]) -> list[Any]:
    said: list[dict[str, Any]] = []
    for item in items(response.get("output")):
        known = fields(item)
        said += content.parts(known.get("content")) if known.get("type") == "message" else [content.part(known)]
    return [{"role": "assistant", "parts": said, "finish_reason": text(response.get("status"))}]


class ResponseReader:
    """Reads the events of a streamed response: the last event that shows the whole response tells all."""

    __slots__ = ("_captures", "_response")

    def __init__(self, _hides_usage: bool, captures: bool) -> None:
        self._captures = captures
        self._response: Any = None

    def feed(self, event: Any) -> bool:
        try:
            kind = event.type
        except AttributeError:
            kind = fields(event).get("type")
        if kind in _SNAPSHOT_EVENTS:
            self._response = fields(event).get("response")
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        known = fields(self._response)
        answer = _read_response(known)
        if text(known.get("status")) in _ENDED:
            if self._captures:
                answer.messages = _output_messages(known)
        else:
            answer = replace(answer, is_partial=True, notes=(*answer.notes, "stream_ended_early"))
        return answer


class PollReader(ResponseReader):
    """Reads the events of a response that is looked up."""

    __slots__ = ()

    def answer(self, *, is_complete: bool) -> Answer:
        answer = super().answer(is_complete=is_complete)
        answer.is_billable = _witnesses_a_call(fields(self._response))
        return answer


RESPONSES: Final = Endpoint(
    operation="chat",
    request_keys=_KEYS,
    read_request=_read_request,
    read_response=_read_response,
    read_usage=read_usage,
    tool_results=_tool_results,
    new_reader=ResponseReader,
    input_messages=_input_messages,
    output_messages=_output_messages,
    attributes=MappingProxyType({gen_ai.OPENAI_API_TYPE: gen_ai.OPENAI_API_TYPE_VALUE_RESPONSES}),
)
POLL: Final = replace(
    RESPONSES,
    read_response=_read_polled,
    new_reader=PollReader,
    tool_results=None,
    input_messages=None,
    starts_late=True,
)
COMPACT: Final = replace(RESPONSES, output_messages=None)
# Classes and scores for questions about a text: an answer without an id, a state or an output.
DECISIONS: Final = replace(COMPACT, operation="classification", tool_results=None, attributes=MappingProxyType({}))
