"""Coding agents: Claude Code, Codex, Gemini CLI, Qwen Code and GitHub Copilot, by their logs and their spans.

Their use is often paid by a plan and not by the token. Where the agent says so, the label ``billing`` is
``subscription`` or ``api``; the tokens are counted either way.
"""

from __future__ import annotations

from typing import Any, Final

from spanledger.semconv.dialects import conventions, values
from spanledger.semconv.dialects.table import Aliases, Dialect, Draft
from spanledger.semconv.observation import Role
from spanledger.semconv.records import LogEntry

_USER: Final = ("user.email", "user.account_uuid", "user.account_id", "user.name", "user.id", "enduser.id")
_LABELS: Final = (
    ("repository", "github.copilot.git.repository"),
    ("repository", "git.repository"),
    ("repository", "repository"),
    ("branch", "github.copilot.git.branch"),
    ("agent_source", "query_source"),
    ("account_id", "user.account_uuid"),
    ("account_id", "user.account_id"),
)


def _took(draft: Draft) -> None:
    """A log stands at the end of the request; its duration reaches back to the beginning."""
    record = draft.record
    if isinstance(record, LogEntry):
        took = values.duration_ns(draft.attributes.get("duration_ms"), 1_000_000)
        if isinstance(took, int) and took < record.time_ns:
            draft.fields["started_ns"] = record.time_ns - took


def _label(draft: Draft, billing: str = "") -> None:
    found: dict[str, str] = {}
    for label, name in _LABELS:
        if name in draft.attributes and label not in found:
            text = values.known_text(draft.attributes[name])
            if text:
                found[label] = text
    if billing:
        found["billing"] = billing
    if found:
        draft.labels = {**found, **draft.labels}


def _failed(draft: Draft, error: Any) -> None:
    draft.fields["status"] = "error"
    kind = values.text(error)
    if isinstance(kind, str) and not draft.get("error_type"):
        draft.fields["error_type"] = kind[:200]


# --- Claude Code


def _claude_role(draft: Draft) -> Role | None:
    attributes = draft.attributes
    if "span.type" in attributes:
        kind = attributes["span.type"]
        draft.fields["operation"] = "chat" if kind == "llm_request" else str(kind)[:32]
        if kind == "llm_request":
            return Role.LEAF
        return Role.DETAIL if kind == "tool" else Role.AGGREGATE
    event = str(attributes.get("event.name", "")).removeprefix("claude_code.")
    body = draft.record.body if isinstance(draft.record, LogEntry) else ""
    if not event and isinstance(body, str):
        event = body.removeprefix("claude_code.")
    if event in ("api_request", "api_error"):
        draft.fields["operation"] = "chat"
        if event == "api_error":
            _failed(draft, attributes.get("error"))
        return Role.LEAF
    return Role.DETAIL


def _claude(draft: Draft) -> None:
    draft.fields.setdefault("provider", "anthropic")
    _took(draft)
    if values.flag(draft.attributes.get("success")) is False:
        _failed(draft, draft.attributes.get("error"))
    _label(draft)


_CLAUDE_TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "request_model": ("gen_ai.request.model", "model"),
    "user_id": _USER,
}

CLAUDE_CODE: Final = Dialect(
    name="claude_code",
    scopes=("com.anthropic.claude_code*",),
    services=("claude-code",),
    events=(
        "claude_code.api_request", "claude_code.api_error", "claude_code.tool_result",
        "com.anthropic.claude_code.events/api_request", "com.anthropic.claude_code.events/api_error",
        "com.anthropic.claude_code.events/tool_result",
    ),
    core=("tool_name",),
    texts=_CLAUDE_TEXTS,
    counts={
        "input": ("input_tokens",),
        "output": ("output_tokens",),
        "cache_read": ("cache_read_tokens",),
        "cache_write": ("cache_creation_tokens",),
    },
    role=_claude_role,
    adjust=_claude,
    input_holds_cache=False,
    trust=3,
)  # fmt: skip


# --- Codex


def _codex_role(draft: Draft) -> Role | None:
    attributes = draft.attributes
    if isinstance(draft.record, LogEntry):
        kind = attributes.get("event.kind")
        draft.fields["operation"] = "chat"
        if kind == "response.completed":
            # It logs every event of the stream, and then the last one again with what the answer used.
            return Role.LEAF if draft.has_usage else None
        if kind == "response.failed":
            _failed(draft, attributes.get("error.message") or "response.failed")
            return Role.LEAF
        status = values.count(attributes.get("http.response.status_code"))
        if attributes.get("event.name") == "codex.api_request" and isinstance(status, int) and status >= 400:
            _failed(draft, attributes.get("error.message") or str(status))
            return Role.LEAF
        return None
    if "codex.turn.token_usage.total_tokens" in attributes or "codex.turn.token_usage.input_tokens" in attributes:
        draft.fields["operation"] = "turn"
        return Role.AGGREGATE
    if draft.has_usage:
        draft.fields.setdefault("operation", "chat")
        return Role.LEAF
    return conventions.role(draft)


def _codex(draft: Draft) -> None:
    draft.fields.setdefault("provider", "openai")
    _took(draft)
    mode = str(draft.attributes.get("auth_mode", "")).lower().replace("_", "").replace("-", "")
    billing = "subscription" if mode.startswith("chatgpt") else "api" if mode == "apikey" else ""
    _label(draft, billing)


CODEX: Final = Dialect(
    name="codex",
    scopes=("codex*",),
    services=("codex_",),
    events=("codex.sse_event", "codex.websocket_event", "codex.api_request"),
    texts={
        **conventions.TEXTS,
        "request_model": ("gen_ai.request.model", "model"),
        "session_id": ("conversation.id", "thread.id", *conventions.TEXTS["session_id"]),
        "user_id": _USER,
    },
    counts={
        "input": (*conventions.COUNTS["input"], "input_token_count"),
        "output": (*conventions.COUNTS["output"], "output_token_count"),
        "cache_read": (*conventions.COUNTS["cache_read"], "cached_token_count"),
        "cache_write": (*conventions.COUNTS["cache_write"], "cache_write_token_count"),
        "reasoning": (
            "codex.usage.reasoning_output_tokens", "reasoning_token_count", *conventions.COUNTS["reasoning"],
        ),
    },
    role=_codex_role,
    adjust=_codex,
    trust=3,
)  # fmt: skip


# --- Gemini CLI, and Qwen Code, which grew out of it


def _gemini_role(draft: Draft) -> Role | None:
    event = str(draft.attributes.get("event.name")).rpartition(".")[2]
    if isinstance(draft.record, LogEntry):
        if event == "api_response":
            draft.fields["operation"] = "generate_content"
            return Role.LEAF
        if event == "api_error":
            draft.fields["operation"] = "generate_content"
            _failed(draft, draft.attributes.get("error_type") or draft.attributes.get("error"))
            return Role.LEAF
        return Role.DETAIL  # the conventions' event repeats the call's own event, thinking left out
    if draft.get("operation") == "llm_call" and not draft.has_usage:
        return Role.DETAIL  # its usage is in the log
    return conventions.role(draft)


def _signed_in(draft: Draft) -> tuple[str, str]:
    """How the user signed in (``oauth-personal``, ``gemini-api-key``, ``qwen-oauth``, ...), and the label for it."""
    way = str(draft.attributes.get("auth_type", "")).lower()
    if not way:
        return "", ""
    return way, "subscription" if "oauth" in way or way.startswith(("login", "cloud-shell", "compute")) else "api"


def _ended(draft: Draft) -> None:
    _took(draft)
    reason = values.stop_reason(draft.attributes.get("finish_reasons"))
    if isinstance(reason, str):
        draft.fields["stop_reason"] = reason


def _gemini(draft: Draft) -> None:
    way, billing = _signed_in(draft)
    if not draft.get("provider"):
        draft.fields["provider"] = "gcp.vertex_ai" if "vertex" in way else "gcp.gemini"
    _ended(draft)
    _label(draft, billing)


def _qwen(draft: Draft) -> None:
    way, billing = _signed_in(draft)
    if way == "qwen-oauth" and not draft.get("provider"):
        draft.fields["provider"] = "alibaba"  # any OpenAI-compatible API otherwise: then the model has to tell
    _ended(draft)
    _label(draft, billing)


_GEMINI_TEXTS: Final[Aliases] = {
    **conventions.TEXTS,
    "request_model": ("gen_ai.request.model", "model"),
    "user_id": _USER,
}
_GEMINI_COUNTS: Final[Aliases] = {
    **conventions.COUNTS,
    "input": ("input_token_count", *conventions.COUNTS["input"]),
    "output": ("output_token_count", *conventions.COUNTS["output"]),
    "cache_read": ("cached_content_token_count", *conventions.COUNTS["cache_read"]),
    "reasoning": ("thoughts_token_count", *conventions.COUNTS["reasoning"]),
    "total": ("total_token_count", *conventions.COUNTS["total"]),
}

GEMINI_CLI: Final = Dialect(
    name="gemini_cli",
    scopes=("gemini-cli", "gemini_cli*"),
    services=("gemini-cli",),
    events=("gemini_cli.api_response", "gemini_cli.api_error"),
    texts=_GEMINI_TEXTS,
    counts=_GEMINI_COUNTS,
    role=_gemini_role,
    adjust=_gemini,
    output_holds_reasoning=False,
    trust=3,
)
QWEN_CODE: Final = Dialect(
    name="qwen_code",
    scopes=("qwen-code*",),
    services=("qwen-code",),
    events=("qwen-code.api_response", "qwen-code.api_error"),
    texts={**_GEMINI_TEXTS, "response_id": ("response_id", *conventions.TEXTS["response_id"])},
    counts=_GEMINI_COUNTS,
    role=_gemini_role,
    adjust=_qwen,
    output_holds_reasoning=None,  # by the API behind it: the total decides
    trust=3,
)


# --- GitHub Copilot


def _copilot(draft: Draft) -> None:
    draft.fields.setdefault("provider", "github")
    _label(draft, "subscription")


COPILOT: Final = Dialect(
    name="copilot",
    scopes=("copilot-chat", "github.copilot*", "github-copilot*"),
    services=("copilot-chat", "github-copilot"),
    texts={
        **conventions.TEXTS,
        "session_id": ("gen_ai.conversation.id", "session.id", "copilot_chat.session_id"),
        "user_id": _USER,
        "organization": ("github.copilot.github.org", *conventions.TEXTS["organization"]),
    },
    counts=conventions.COUNTS,
    role=conventions.role,
    adjust=_copilot,
    trust=3,
)
