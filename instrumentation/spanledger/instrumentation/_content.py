"""Prompts and answers in the shape of ``gen_ai.input.messages`` and ``gen_ai.output.messages``:
``[{"role", "parts": [{"type", ...}], "finish_reason"}]``. Used only when content capture is switched on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanledger.instrumentation._reading import fields, items, text
from spanledger.semconv import gen_ai

_TEXTS = frozenset(["text", "input_text", "output_text", "refusal"])


def asked(messages: Any, *, system: Any = None, tools: Any = None, role: str = "user") -> dict[str, Any]:
    """Span attributes of a request's content.

    Args:
        messages: chat messages or input items, or a bare prompt.
        system: instructions that stand beside the messages.
        tools: tool definitions.
        role: the role of a bare prompt.
    """
    found: dict[str, Any] = {}
    if isinstance(messages, list):
        found[gen_ai.GEN_AI_INPUT_MESSAGES] = [message(fields(one)) if fields(one) else one for one in items(messages)]
    elif messages is not None:
        found[gen_ai.GEN_AI_INPUT_MESSAGES] = [{"role": role, "parts": parts(messages)}]
    if system:
        found[gen_ai.GEN_AI_SYSTEM_INSTRUCTIONS] = parts(system)
    if tools:
        found[gen_ai.GEN_AI_TOOL_DEFINITIONS] = items(tools)
    return found


def message(known: Mapping[str, Any], *, finish_reason: str = "") -> dict[str, Any]:
    """One message of any of the three APIs; an input item without a role is a part of its own."""
    role = text(known.get("role"))
    if not role:
        return {"role": "tool" if "output" in known else "assistant", "parts": [part(known)]}
    if role == "tool":
        result = {"type": "tool_call_response", "id": text(known.get("tool_call_id")), "response": known.get("content")}
        return {"role": role, "parts": [result]}
    found = parts(known.get("content")) + [part(fields(call)) for call in items(known.get("tool_calls"))]
    made: dict[str, Any] = {"role": role, "parts": found}
    if finish_reason:
        made["finish_reason"] = finish_reason
    return made


def parts(content: Any) -> list[dict[str, Any]]:
    """The parts of a message's content, which is a text or a list of blocks."""
    if isinstance(content, str):
        return [{"type": "text", "content": content}] if content else []
    return [part(fields(block)) for block in items(content)]


def part(known: Mapping[str, Any]) -> dict[str, Any]:
    """One block: texts, tool calls and tool results in the conventions' words, anything else as it is."""
    kind = text(known.get("type"))
    if kind in _TEXTS:
        return {"type": "text", "content": text(known.get("text")) or text(known.get("refusal"))}
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        return tool_call(known.get("id"), known.get("name"), known.get("input"))
    if kind in ("function", "custom") or "function" in known:
        function = fields(known.get("function") or known.get("custom"))
        return tool_call(known.get("id"), function.get("name"), function.get("arguments", function.get("input")))
    if kind in ("function_call", "custom_tool_call", "mcp_call"):
        return tool_call(known.get("call_id"), known.get("name"), known.get("arguments", known.get("input")))
    if kind == "tool_result":
        return {"type": "tool_call_response", "id": text(known.get("tool_use_id")), "response": known.get("content")}
    if kind.endswith("_call_output"):
        return {"type": "tool_call_response", "id": text(known.get("call_id")), "response": known.get("output")}
    if kind == "thinking":
        return {"type": "reasoning", "content": said(known.get("thinking"))}
    return dict(known)


def said(content: Any) -> str:
    """The text of a content, which is a text or a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(text(fields(block).get("text")) for block in items(content))


def tool_call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": text(call_id), "name": text(name), "arguments": arguments}
