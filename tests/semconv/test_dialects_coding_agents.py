"""Coding agents: their logs, their spans, and whether a plan or the token is billed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from spanledger.semconv.observation import Role

TRACE, SPAN, PARENT = b"t" * 16, b"s" * 8, b"p" * 8
START, END = 1_795_000_000_000_000_000, 1_795_000_002_000_000_000


CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.provider.name": "openai"}
USAGE = {"gen_ai.usage.input_tokens": 3000, "gen_ai.usage.output_tokens": 300}
CACHED = {**USAGE, "gen_ai.usage.cache_read.input_tokens": 2000, "gen_ai.usage.cache_creation.input_tokens": 700}


# --- coding agents


CLAUDE = {
    "event.name": "api_request",
    "model": "claude-sonnet-4-5-20250929",
    "input_tokens": "12",
    "output_tokens": 431,
    "cache_read_tokens": 24576,
    "cache_creation_tokens": 1843,
    "cost_usd": "0.02",
    "duration_ms": "2000",
    "request_id": "req_011",
    "session.id": "cc-1",
    "user.email": "dev@example.com",
    "organization.id": "org-1",
}


@pytest.mark.parametrize(
    ("scope", "body"), [("com.anthropic.claude_code.events", None), ("whatever", "claude_code.api_request")]
)
def test_claude_code_logs(scope: str, body: str | None, emitted: Any) -> None:
    read = emitted.log(scope, CLAUDE, body=body, resource={"team.id": "platform", "department": "engineering"})
    assert emitted.tokens(read) == (26431, 24576, 1843, 431, None)
    assert (read.provider, read.request_id, read.response_id) == ("anthropic", "req_011", "")
    assert (read.session_id, read.user_id, read.organization, read.team_id) == (
        "cc-1",
        "dev@example.com",
        "org-1",
        "platform",
    )
    assert read.labels["department"] == "engineering"
    assert read.started_ns == END - 2_000_000_000
    assert read.claimed_cost_usd == Decimal("0.02")


def test_claude_code_errors_and_tools(emitted: Any) -> None:
    scope = "com.anthropic.claude_code.events"
    failed = emitted.log(scope, {"event.name": "api_error", "model": "m", "error": "Overloaded", "status_code": "529"})
    assert (failed.status, failed.error_type, failed.http_status) == ("error", "Overloaded", 529)
    tool = emitted.log(
        scope, {"event.name": "tool_result", "tool_name": "Read", "tool_use_id": "t", "success": "false"}
    )
    assert (tool.role, tool.tool_calls[0].name, tool.tool_calls[0].is_error) == (Role.DETAIL, "Read", True)
    assert emitted.log(scope, {"event.name": "user_prompt", "model": "m"}) is None


def test_codex_logs_tell_plan_from_api(emitted: Any) -> None:
    attributes = {
        "event.name": "codex.sse_event",
        "event.kind": "response.completed",
        "model": "gpt-5-codex",
        "input_token_count": "9210",
        "output_token_count": "512",
        "cached_token_count": 7680,
        "reasoning_token_count": 256,
        "tool_token_count": "9722",
        "conversation.id": "conv",
        "auth_mode": "Chatgpt",
    }
    read = emitted.log("codex_otel.log_only", attributes, event="event otel/src/events/session_telemetry.rs:1153")
    assert emitted.tokens(read) == (9210, 7680, None, 512, 256)
    assert (read.session_id, read.labels["billing"], read.provider) == ("conv", "subscription", "openai")
    paid = emitted.log("codex_otel.log_only", {**attributes, "auth_mode": "ApiKey"})
    assert paid.labels["billing"] == "api"
    assert emitted.log("codex_otel.log_only", {**attributes, "event.kind": "response.created"}) is None


def test_an_agent_is_known_by_its_service_under_any_scope(emitted: Any) -> None:
    usage = {"gen_ai.usage.input_tokens": 9210, "gen_ai.usage.output_tokens": 512}
    read = emitted.span("rust.tracing", usage, name="handle_responses", kind=1, resource={"service.name": "codex_exec"})
    assert (read.dialect, read.role, read.provider) == ("codex", Role.LEAF, "openai")


def test_codex_turns_never_bill(emitted: Any) -> None:
    attributes = {"codex.turn.token_usage.total_tokens": 5, "model": "gpt-5-codex", "thread.id": "th"}
    read = emitted.span("codex_core", attributes, name="session_task.turn", kind=1)
    assert (read.role, read.session_id) == (Role.AGGREGATE, "th")
    assert not read.usage.is_known


def test_gemini_cli_counts_thinking_beside_the_output(emitted: Any) -> None:
    attributes = {
        "event.name": "gemini_cli.api_response",
        "model": "gemini-2.5-pro",
        "input_token_count": 3218,
        "output_token_count": 207,
        "cached_content_token_count": 2048,
        "thoughts_token_count": 128,
        "total_token_count": 3553,
        "auth_type": "oauth-personal",
        "finish_reasons": ["stop", "stop"],
        "session.id": "g-1",
    }
    read = emitted.log("gemini-cli", attributes)
    assert emitted.tokens(read) == (3218, 2048, None, 335, 128)
    assert (read.provider, read.labels["billing"], read.stop_reason) == ("google", "subscription", "stop")
    vertex = emitted.log("gemini-cli", {**attributes, "auth_type": "vertex-ai"})
    assert (vertex.provider, vertex.labels["billing"]) == ("google_vertex", "api")


@pytest.mark.parametrize(
    ("auth", "counts", "expected"),
    [
        # reasoning inside the output, as OpenAI-compatible APIs count it, and beside it, as Gemini does
        ("qwen-oauth", (335, 128, 3553), (3218, 2048, None, 335, 128, "alibaba", "subscription")),
        ("openai", (207, 128, 3553), (3218, 2048, None, 335, 128, "", "api")),
    ],
)
def test_qwen_code_logs(
    auth: str, counts: tuple[int, int, int], expected: tuple[int | str | None, ...], emitted: Any
) -> None:
    output, thoughts, total = counts
    attributes = {
        "event.name": "qwen-code.api_response",
        "model": "coder-model",
        "response_id": "chatcmpl-7",
        "input_token_count": 3218,
        "output_token_count": output,
        "cached_content_token_count": 2048,
        "thoughts_token_count": thoughts,
        "total_token_count": total,
        "auth_type": auth,
        "duration_ms": 500,
    }
    read = emitted.log("qwen-code", attributes)
    assert (*emitted.tokens(read), read.provider, read.labels["billing"]) == expected
    assert (read.dialect, read.response_id, read.request_model) == ("qwen_code", "chatcmpl-7", "coder-model")
    assert read.ended_ns - read.started_ns == 500_000_000


def test_qwen_code_errors_are_failed_attempts(emitted: Any) -> None:
    attributes = {"event.name": "qwen-code.api_error", "model": "coder-model", "error_type": "429", "status_code": 429}
    read = emitted.log("somebody", attributes, resource={"service.name": "qwen-code"})
    assert (read.dialect, read.role, read.status, read.http_status) == ("qwen_code", Role.LEAF, "error", 429)


@pytest.mark.parametrize(
    ("mode", "billing"),
    [("Chatgpt", "subscription"), ("chatgpt_auth_tokens", "subscription"), ("ApiKey", "api"), ("api-key", "api")],
)
def test_codex_says_how_it_signed_in(mode: str, billing: str, emitted: Any) -> None:
    attributes = {
        "event.name": "codex.sse_event",
        "event.kind": "response.completed",
        "model": "gpt-5-codex",
        "input_token_count": "12",
        "output_token_count": "7",
        "auth_mode": mode,
    }
    assert emitted.log("codex_otel", attributes).labels["billing"] == billing


def test_copilot_is_a_subscription(emitted: Any) -> None:
    attributes = {**CHAT, **USAGE, "gen_ai.provider.name": "github", "github.copilot.cost": 1, "user.name": "octocat"}
    read = emitted.span("github.copilot", attributes)
    assert (read.provider, read.labels["billing"], read.claimed_cost_usd, read.user_id) == (
        "github",
        "subscription",
        None,
        "octocat",
    )
