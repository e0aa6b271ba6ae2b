"""Anthropic messages: what a request asks and what an answer says.

Anthropic counts disjointly: ``input_tokens`` is the uncached prompt alone, cache reads and writes stand beside it;
``output_tokens`` includes thinking (https://docs.anthropic.com/en/api/messages).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from spanledger.instrumentation import _content as content
from spanledger.instrumentation._answer import Answer, Counted, Endpoint
from spanledger.instrumentation._reading import fields, integer, items, size, snapshot, text, to_json
from spanledger.instrumentation._requests import copy_fields
from spanledger.semconv import gen_ai
from spanledger.semconv.observation import ToolCall
from spanledger.semconv.usage import OTHER_MODELS, Usage, known_sum

_REQUEST: Final = (
    ("max_tokens", gen_ai.GEN_AI_REQUEST_MAX_TOKENS, (int,)),
    ("temperature", gen_ai.GEN_AI_REQUEST_TEMPERATURE, (int, float)),
    ("top_p", gen_ai.GEN_AI_REQUEST_TOP_P, (int, float)),
    ("top_k", gen_ai.GEN_AI_REQUEST_TOP_K, (int,)),
    ("service_tier", "anthropic.request.service_tier", (str,)),
)
_KEYS: Final = (*(key for key, _, _ in _REQUEST), "stop_sequences", "thinking")


_TOOL_USES: Final = frozenset(["tool_use", "server_tool_use", "mcp_tool_use"])
_BILLED_PER_USE: Final = (("web_search_requests", "web_searches"), ("web_fetch_requests", "web_fetches"))
_EVENTS: Final = frozenset(["message_start", "content_block_start", "content_block_stop", "message_delta"])


def _read_request(request: Mapping[str, Any], found: dict[str, Any]) -> None:
    copy_fields(_REQUEST, request, found)
    stops = [stop for stop in items(request.get("stop_sequences")) if isinstance(stop, str)]
    if stops:
        found[gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES] = tuple(stops)
    budget = fields(request.get("thinking")).get("budget_tokens")
    if isinstance(budget, int):
        found["anthropic.thinking.budget_tokens"] = budget


def _tool_results(body: Mapping[str, Any]) -> list[ToolCall]:
    """Tool results in the last message; earlier ones were handed over by earlier calls."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return []
    content = fields(messages[-1]).get("content")
    if not isinstance(content, list):
        return []
    found: list[ToolCall] = []
    for block in content:  # pyright: ignore[reportUnknownVariableType]
        known = fields(block)
        if known.get("type") != "tool_result":
            continue
        call_id = text(known.get("tool_use_id"))
        output = known.get("content")
        found.append(
            ToolCall(
                name=_name_of(messages, call_id),  # pyright: ignore[reportUnknownArgumentType]
                id=call_id,
                kind="result",
                is_error=bool(known.get("is_error")),
                output_bytes=size(output),
                output=output if isinstance(output, str) else None,
            )
        )
    return found


def _name_of(messages: list[Any], call_id: str) -> str:
    for message in reversed(messages):
        for block in items(fields(message).get("content")):
            known = fields(block)
            if known.get("id") == call_id:
                return text(known.get("name"))
    return ""


def _read_usage(answer: Answer) -> Counted:
    """Token classes of a usage document; of a stream, of the fields of all its events merged."""
    usage = answer.usage
    if not usage:
        return Counted(usage=Usage(partial=answer.is_partial))
    counted = _classes(usage)
    notes: list[str] = []
    uncounted: dict[str, int] = {}
    for iteration in items(usage.get("iterations")):
        known = fields(iteration)
        if known.get("type") == "compaction":
            # Billed, and left out of the totals (docs.anthropic.com, context compaction).
            counted = {name: known_sum(count, _classes(known).get(name)) for name, count in counted.items()}
        elif known.get("type") == "advisor_message":
            # Another model's tokens, at that model's rates: without a rate here the cost has no upper bound.
            notes.append("advisor_not_counted")
            uncounted["advisor_messages"] = uncounted.get("advisor_messages", 0) + 1
        elif known.get("type") == "fallback_message":
            # The totals hold the tokens of the model that declined as well, which has rates of its own.
            notes.append(f"fallback_model:{text(known.get('model'))[:60]}")
            uncounted[OTHER_MODELS] = uncounted.get(OTHER_MODELS, 0) + 1
    used = fields(usage.get("server_tool_use"))
    counts = {name: count for told, name in _BILLED_PER_USE if (count := integer(used.get(told)))}
    classes: dict[str, Any] = dict(counted)
    return Counted(
        usage=Usage(counts=counts | uncounted, partial=answer.is_partial, **classes),
        notes=tuple(notes),
    )


def _classes(usage: Mapping[str, Any]) -> dict[str, int | None]:
    written = integer(usage.get("cache_creation_input_tokens"))
    by_lifetime = fields(usage.get("cache_creation"))
    written_5m = integer(by_lifetime.get("ephemeral_5m_input_tokens"))
    written_1h = integer(by_lifetime.get("ephemeral_1h_input_tokens"))
    unsplit: int | None = written
    if written_5m is not None or written_1h is not None:
        left = (written or 0) - (written_5m or 0) - (written_1h or 0)
        unsplit = left if left > 0 else None
    output = integer(usage.get("output_tokens"))
    thinking = integer(fields(usage.get("output_tokens_details")).get("thinking_tokens"))
    if output is None or (thinking is not None and thinking > output):
        thinking = None
    return {
        "input_uncached": integer(usage.get("input_tokens")),
        "cache_read": integer(usage.get("cache_read_input_tokens")),
        "cache_write": unsplit,
        "cache_write_5m": written_5m,
        "cache_write_1h": written_1h,
        "output_text": None if output is None else output - (thinking or 0),
        "reasoning": thinking,
    }


def _tier(usage: Mapping[str, Any]) -> str:
    """The tier that served the request. Fast mode is a price of its own, on top of any tier."""
    return "fast" if usage.get("speed") == "fast" else text(usage.get("service_tier"))


def _place(usage: Mapping[str, Any]) -> str:
    """Where inference ran: a price of its own, too."""
    told = text(usage.get("inference_geo"))
    return "" if told == "not_available" else told


def _used_tools(content: Any) -> list[ToolCall]:
    found: list[ToolCall] = []
    for block in items(content):
        known = fields(block)
        if known.get("type") in _TOOL_USES:
            asked = to_json(known.get("input"))
            found.append(
                ToolCall(name=text(known.get("name")), id=text(known.get("id")), input_bytes=size(asked), input=asked)
            )
    return found


def _read_response(response: Mapping[str, Any]) -> Answer:
    usage = snapshot(response.get("usage"))
    reason = text(response.get("stop_reason"))
    return Answer(
        model=text(response.get("model")),
        id=text(response.get("id")),
        usage=usage,
        service_tier=_tier(usage),
        inference_geo=_place(usage),
        finish_reasons=(reason,) if reason else (),
        tool_calls=_used_tools(response.get("content")),
    )


class MessageReader:
    """Reads the events of a streamed message. Usage is cumulative: of each field, the last value that is not null."""

    __slots__ = ("_has_output", "_id", "_model", "_open_tools", "_stop_reason", "_tools", "_usage")

    def __init__(self) -> None:
        self._model = ""
        self._id = ""
        self._usage: dict[str, Any] = {}
        self._has_output = False
        self._stop_reason = ""
        self._open_tools: dict[Any, int] = {}  # places in the list, by the index of the block
        self._tools: list[ToolCall] = []

    def feed(self, event: Any) -> bool:
        try:
            kind = event.type
        except AttributeError:
            event = fields(event)
            kind = event.get("type")
        if kind == "content_block_delta":
            if self._open_tools:
                self._add_to_tool(fields(event))
        elif kind in _EVENTS:
            self._look_at(kind, fields(event))
        return False

    def _add_to_tool(self, event: Mapping[str, Any]) -> None:
        place = self._open_tools.get(event.get("index"))
        if place is None:
            return
        tool = self._tools[place]
        added = size(fields(event.get("delta")).get("partial_json")) or 0
        self._tools[place] = replace(tool, input_bytes=(tool.input_bytes or 0) + added)

    def _look_at(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "message_start":
            message = fields(event.get("message"))
            self._model = text(message.get("model"))
            self._id = text(message.get("id"))
            self._merge(message.get("usage"))
        elif kind == "content_block_start":
            block = fields(event.get("content_block"))
            if block.get("type") in _TOOL_USES:
                self._open_tools[event.get("index")] = len(self._tools)
                self._tools.append(ToolCall(name=text(block.get("name")), id=text(block.get("id"))))
        elif kind == "content_block_stop":
            self._open_tools.pop(event.get("index"), None)
        elif kind == "message_delta":
            self._has_output = True
            self._merge(event.get("usage"))
            self._stop_reason = text(fields(event.get("delta")).get("stop_reason")) or self._stop_reason

    def _merge(self, usage: Any) -> None:
        self._usage.update({name: value for name, value in snapshot(usage).items() if value is not None})

    def answer(self, *, is_complete: bool) -> Answer:
        is_partial = not (is_complete or self._stop_reason)
        if not self._has_output:
            # What `message_start` says of the output is a placeholder.
            self._usage.pop("output_tokens", None)
            self._usage.pop("output_tokens_details", None)
        return Answer(
            model=self._model,
            id=self._id,
            usage=self._usage,
            service_tier=_tier(self._usage),
            inference_geo=_place(self._usage),
            finish_reasons=(self._stop_reason,) if self._stop_reason else (),
            tool_calls=self._tools,
            is_partial=is_partial,
            notes=("stream_ended_early",) if is_partial else (),
        )


class CapturingMessageReader(MessageReader):
    """Keeps the generated texts and tool arguments as well, for whoever switched content capture on."""

    __slots__ = ("_blocks", "_places")

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[dict[str, Any]] = []
        self._places: dict[Any, int] = {}

    def feed(self, event: Any) -> bool:
        known = fields(event)
        kind = known.get("type")
        if kind == "content_block_start":
            block = fields(known.get("content_block"))
            self._places[known.get("index")] = len(self._blocks)
            self._blocks.append(
                {"type": text(block.get("type")), "id": block.get("id"), "name": block.get("name"), "said": ""}
            )
        elif kind == "content_block_delta" and (place := self._places.get(known.get("index"))) is not None:
            open_block = self._blocks[place]
            delta = fields(known.get("delta"))
            for name in ("text", "partial_json", "thinking"):
                open_block["said"] += text(delta.get(name))
        return super().feed(event)

    def answer(self, *, is_complete: bool) -> Answer:
        answer = super().answer(is_complete=is_complete)
        said: list[dict[str, Any]] = []
        arguments: list[str] = []
        for block in self._blocks:
            if block["type"] in _TOOL_USES:
                arguments.append(block["said"])
                said.append(content.tool_call(block["id"], block["name"], block["said"]))
            else:
                said.append({"type": "reasoning" if block["type"] == "thinking" else "text", "content": block["said"]})
        answer.messages = [{"role": "assistant", "parts": said, "finish_reason": self._stop_reason}]
        answer.tool_calls = [replace(tool, input=asked) for tool, asked in zip(self._tools, arguments, strict=True)]
        return answer


def _new_reader(_hides_usage: bool, captures: bool) -> MessageReader:
    return CapturingMessageReader() if captures else MessageReader()


def _input_messages(body: Mapping[str, Any]) -> dict[str, Any]:
    return content.asked(body.get("messages"), system=body.get("system"), tools=body.get("tools"))


def _output_messages(response: Mapping[str, Any]) -> list[Any]:
    reason = text(response.get("stop_reason"))
    return [{"role": "assistant", "parts": content.parts(response.get("content")), "finish_reason": reason}]


MESSAGES: Final = Endpoint(
    operation="chat",
    request_keys=_KEYS,
    read_request=_read_request,
    read_response=_read_response,
    read_usage=_read_usage,
    tool_results=_tool_results,
    new_reader=_new_reader,
    input_messages=_input_messages,
    output_messages=_output_messages,
)


def _read_result(path: str, result: Any) -> tuple[Endpoint, Answer, int] | None:
    """One line of a batch's results; what failed, was cancelled or expired is not billed."""
    message = fields(fields(fields(result).get("result")).get("message"))
    if not message:
        return None
    answer = _read_response(message)
    answer.is_batch = True
    answer.batch_id = path.removesuffix("/results").rpartition("/")[2]
    return BATCHED, answer, 0


BATCHED: Final = replace(MESSAGES, starts_late=True)
RESULTS: Final = replace(
    MESSAGES, request_keys=(), tool_results=None, input_messages=None, starts_late=True, read_item=_read_result
)
