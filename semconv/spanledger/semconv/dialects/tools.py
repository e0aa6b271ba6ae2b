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
    executed = "gen_ai.tool.name" in present or "tool.name" in present
    if json_name or numbered or executed:
        return ToolPlan(json_name, tuple(numbered), executed)
    return None


def read(attributes: Mapping[str, Any], found: ToolPlan) -> tuple[ToolCall, ...]:
    """The tool calls that a model asked for in this record."""
    if found.json_name:
        value = attributes[found.json_name]
        # Most answers ask for no tool: do not parse them.
        if isinstance(value, str) and "tool" not in value:
            return ()
        items = values.parsed(value)
        if not isinstance(items, list):
            return ()
        if found.json_name == names.TOOL_CALLS:
            calls = [_own(item) for item in items]  # pyright: ignore[reportUnknownVariableType]
        elif found.json_name == "ai.response.toolCalls":
            calls = [_plain(item, "toolCallId", "toolName", "input", "args") for item in items]  # pyright: ignore[reportUnknownVariableType]
        else:
            calls = [
                _plain(part, "id", "name", "arguments")
                for message in items  # pyright: ignore[reportUnknownVariableType]
                if isinstance(message, dict)
                for part in _parts(message)
                if part.get("type") == "tool_call"
            ]
        return tuple(call for call in calls if call is not None)[:MAX_TOOL_CALLS]
    grouped: dict[str, dict[str, Any]] = {}
    for prefix, part, name in found.numbered:
        grouped.setdefault(prefix, {})[part] = attributes[name]
    calls = [_plain(parts, "id", "name", "arguments") for parts in grouped.values()]
    return tuple(call for call in calls if call is not None)[:MAX_TOOL_CALLS]


def executed(attributes: Mapping[str, Any], *, is_error: bool) -> tuple[ToolCall, ...]:
    """The tool run that an ``execute_tool`` span or a tool event describes."""
    name = _text(attributes.get("gen_ai.tool.name") or attributes.get("tool.name") or attributes.get("tool_name"))
    if not name:
        return ()
    call_id = attributes.get("gen_ai.tool.call.id") or attributes.get("tool_call.id") or attributes.get("tool_use_id")
    return (
        ToolCall(
            name=name,
            id=_text(call_id or attributes.get("call_id")),
            kind="result",
            is_error=is_error,
            input_bytes=_size(attributes.get("gen_ai.tool.call.arguments")),
            output_bytes=_size(attributes.get("gen_ai.tool.call.result")),
        ),
    )


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts = message.get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []  # pyright: ignore[reportUnknownVariableType]


def _plain(item: Any, id_key: str, name_key: str, *argument_keys: str) -> ToolCall | None:
    if not isinstance(item, dict):
        return None
    name = _text(item.get(name_key))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    if not name:
        return None
    arguments = next((item[key] for key in argument_keys if key in item), None)  # pyright: ignore[reportUnknownVariableType]
    return ToolCall(name=name, id=_text(item.get(id_key)), input_bytes=_size(arguments))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _own(item: Any) -> ToolCall | None:
    if not isinstance(item, dict):
        return None
    entry: Mapping[str, Any] = item  # pyright: ignore[reportUnknownVariableType]
    name = _text(entry.get("name"))
    if not name:
        return None
    is_error = entry.get("is_error")
    return ToolCall(
        name=name,
        id=_text(entry.get("id")),
        kind="result" if entry.get("kind") == "result" else "use",
        is_error=is_error if isinstance(is_error, bool) else None,
        input_bytes=_count(entry.get("input_bytes")),
        output_bytes=_count(entry.get("output_bytes")),
        input=_content(entry.get("input")),
        output=_content(entry.get("output")),
    )


def _text(value: Any) -> str:
    text = values.text(value)
    return text if isinstance(text, str) else ""


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
