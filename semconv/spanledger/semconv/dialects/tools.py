"""Tool calls that a record mentions: names, ids and sizes, never content."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spanledger.semconv import names
from spanledger.semconv.dialects import values
from spanledger.semconv.observation import ToolCall

MAX_TOOL_CALLS: Final = 128

_NUMBERED: Final = re.compile(
    r"(?:llm\.output_messages\.\d+\.message\.tool_calls\.\d+\.tool_call\.(?P<oi>id|function\.name|function\.arguments)"
    r"|gen_ai\.completion\.\d+\.tool_calls\.\d+\.(?P<tl>id|name|arguments))\Z"
)
_NAMES: Final = ("gen_ai.tool.name", "tool.name", "ai.toolCall.name", "tool_name")
_IDS: Final = ("gen_ai.tool.call.id", "tool_call.id", "ai.toolCall.id", "tool_use_id", "call_id")
_INPUTS: Final = ("gen_ai.tool.call.arguments", "ai.toolCall.args", "tool.parameters", "input.value")
_OUTPUTS: Final = ("gen_ai.tool.call.result", "ai.toolCall.result", "output.value")
_JSON: Final = (names.TOOL_CALLS, "gen_ai.output.messages", "ai.response.toolCalls")


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """Where one shape of attributes holds tool calls."""

    json_name: str
    numbered: tuple[tuple[str, str, str], ...]
    """Call prefix, part (``id``, ``name``, ``arguments``), attribute."""
    executed: bool


def plan(shape: Sequence[str], present: frozenset[str]) -> ToolPlan | None:
    """Where to look for tool calls; ``None`` when nowhere."""
    json_name = next((name for name in _JSON if name in present), "")
    numbered: list[tuple[str, str, str]] = []
    for name in shape:
        if ".tool_calls." in name and (match := _NUMBERED.match(name)):
            part = (match["oi"] or match["tl"]).removeprefix("function.")
            numbered.append((name[: match.start("oi") if match["oi"] else match.start("tl")], part, name))
    executed = not present.isdisjoint(_NAMES)
    if json_name or numbered or executed:
        return ToolPlan(json_name, tuple(numbered), executed)
    return None


def read(attributes: Mapping[str, Any], found: ToolPlan) -> tuple[ToolCall, ...]:
    """The tool calls that a model asked for in this record."""
    if found.json_name:
        value = attributes[found.json_name]
        # Most answers ask for no tool: do not parse them.
        if found.json_name != names.TOOL_CALLS and isinstance(value, str) and "tool" not in value:
            return ()
        items = [values.mapping(item) for item in values.sequence(value)]
        if found.json_name == names.TOOL_CALLS:
            calls = [_own(item) for item in items]
        elif found.json_name == "ai.response.toolCalls":
            calls = [_plain(item, "toolCallId", "toolName", "input", "args") for item in items]
        else:
            parts = [values.mapping(part) for message in items for part in values.sequence(message.get("parts"))]
            calls = [_plain(part, "id", "name", "arguments") for part in parts if part.get("type") == "tool_call"]
    else:
        grouped: dict[str, dict[str, Any]] = {}
        for prefix, part, name in found.numbered:
            grouped.setdefault(prefix, {})[part] = attributes[name]
        calls = [_plain(parts, "id", "name", "arguments") for parts in grouped.values()]
    return tuple(call for call in calls if call is not None)[:MAX_TOOL_CALLS]


def executed(attributes: Mapping[str, Any], *, is_error: bool) -> tuple[ToolCall, ...]:
    """The tool run that an ``execute_tool`` span or a tool event describes."""
    name = _first(attributes, _NAMES)
    if not isinstance(name, str) or not name or len(name) > values.MAX_TEXT:
        return ()
    return (
        ToolCall(
            name=name,
            id=values.known_text(_first(attributes, _IDS)),
            kind="result",
            is_error=is_error,
            input_bytes=_size(_first(attributes, _INPUTS)),
            output_bytes=_size(_first(attributes, _OUTPUTS)),
        ),
    )


def _first(attributes: Mapping[str, Any], aliases: Sequence[str]) -> Any:
    for name in aliases:
        value = attributes.get(name)
        if value:
            return value
    return None


def _plain(item: Mapping[str, Any], id_key: str, name_key: str, *argument_keys: str) -> ToolCall | None:
    name = values.known_text(item.get(name_key))
    if not name:
        return None
    arguments = [item[key] for key in argument_keys if key in item]
    return ToolCall(
        name=name,
        id=values.known_text(item.get(id_key)),
        input_bytes=_size(arguments[0]) if arguments else None,
    )


def _own(item: Mapping[str, Any]) -> ToolCall | None:
    name = values.known_text(item.get("name"))
    if not name:
        return None
    is_error = item.get("is_error")
    return ToolCall(
        name=name,
        id=values.known_text(item.get("id")),
        kind="result" if item.get("kind") == "result" else "use",
        is_error=is_error if isinstance(is_error, bool) else None,
        input_bytes=_count(item.get("input_bytes")),
        output_bytes=_count(item.get("output_bytes")),
        input=_content(item.get("input")),
        output=_content(item.get("output")),
    )


def _count(value: Any) -> int | None:
    number = values.count(value)
    return number if isinstance(number, int) else None


def _content(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _size(value: Any) -> int | None:
    """Bytes of an argument or result, as it would be written."""
    if value is None:
        return None
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return len(value)
    try:
        return len(json.dumps(value, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError):
        return None
