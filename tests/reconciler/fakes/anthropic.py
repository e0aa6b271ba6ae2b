"""Anthropic's organization API: the analytics (beta) and the Admin API's reports."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fakes.base import Answer, Fake, Question, answer, days, zulu

BETA = "analytics-usage-cost-2026-08-24"
FREE_GROUPS = {"cost_type", "token_type"}
GROUPS = {
    "actor", "actor_type", "agent_id", "api_key_id", "context_window", "cost_type", "deployment_id", "environment_id",
    "inference_geo", "model", "organization_id", "product", "rbac_group_id", "service_tier", "session_id", "speed",
    "token_type", "user_profile_id", "workspace_id",
}  # fmt: skip


def error(status: int, message: str, **headers: str) -> Answer:
    kinds = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
             429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}  # fmt: skip
    body = {"type": "error", "error": {"type": kinds[status], "message": message}, "request_id": "req_fake"}
    return answer(body, status, **headers)


class FakeAnthropic(Fake):
    """``cost[day]``, ``usage[day]``: analytics rows; ``cost_report[day]``, ``messages[day]``: Admin API results."""

    def __init__(self, key: str = "sk-ant-admin01-fake") -> None:
        super().__init__()
        self.key = key
        self.organization = "org_fake"
        self.has_analytics = True
        self.refreshed_at: str | None = "2026-11-20T11:40:00Z"
        self.cost: dict[date, list[dict[str, Any]]] = {}
        self.usage: dict[date, list[dict[str, Any]]] = {}
        self.cost_report: dict[date, list[dict[str, Any]]] = {}
        self.messages: dict[date, list[dict[str, Any]]] = {}
        self.claude_code: dict[date, list[dict[str, Any]]] = {}

    def reply(self, question: Question) -> Answer:
        if question.headers.get("x-api-key") != self.key:
            return error(401, "invalid x-api-key")
        if not question.headers.get("anthropic-version"):
            return error(400, "anthropic-version: header is required")
        match question.path.removeprefix("/v1/organizations"):
            case "/me":
                return answer({"id": self.organization, "type": "organization", "name": "Acme"})
            case "/api_keys":
                key = {"id": "apikey_1", "type": "api_key", "name": "prod", "partial_key_hint": "sk-ant-...x1",
                       "status": "active"}  # fmt: skip
                return answer({"data": [key], "has_more": False, "first_id": "apikey_1", "last_id": "apikey_1"})
            case "/workspaces":
                return answer({"data": [{"id": "wrkspc_1", "name": "web"}], "has_more": False, "last_id": "wrkspc_1"})
            case "/analytics/cost":
                return self._analytics(question, self.cost)
            case "/analytics/usage":
                return self._analytics(question, self.usage)
            case "/cost_report":
                return self._buckets(question, self.cost_report, {"workspace_id", "description"})
            case "/usage_report/messages":
                groups = {"api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo"}
                return self._buckets(question, self.messages, groups)
            case "/usage_report/claude_code":
                day = date.fromisoformat(question.one("starting_at"))
                return answer({"data": self.claude_code.get(day, []), "has_more": False, "next_page": None})
        return error(404, "not found")

    def _analytics(self, question: Question, table: dict[date, list[dict[str, Any]]]) -> Answer:
        if not self.has_analytics:
            return error(404, "not found")
        if BETA not in question.headers.get("anthropic-beta", ""):
            return error(400, "this endpoint needs the beta header")
        groups = question.many("group_by")
        unknown = set(groups) - GROUPS
        if unknown or len(set(groups) - FREE_GROUPS) > 5:
            return error(400, f"group_by: at most 5, and none of {sorted(unknown)}")
        limit = int(question.one("limit", "20"))
        if not 1 <= limit <= 1000:
            return error(400, "limit: between 1 and 1000")
        start = datetime.fromisoformat(question.one("starting_at"))
        if start < datetime(2026, 1, 1, tzinfo=UTC):
            return error(400, "starting_at: not before 2026-01-01")
        if not question.one("ending_at"):
            return error(400, "ending_at: required with time_bucket_width")
        end = datetime.fromisoformat(question.one("ending_at"))
        if end - start > timedelta(days=31):
            return error(400, "range: at most 31 days")
        rows = [
            {"starting_at": zulu(day), "ending_at": zulu(day + timedelta(days=1)), **row}
            for day in days(start.date(), end.date())
            for row in table.get(day, ())
        ]
        offset, bad = self._offset(question)
        if bad:
            return bad
        # Rows of one group fan out over cost and token types and do not count for the limit.
        page = rows[offset : offset + limit]
        more = offset + limit < len(rows)
        return answer(
            {
                "data": page,
                "has_more": more,
                "next_page": self._token(question, offset + limit) if more else None,
                "data_refreshed_at": self.refreshed_at,
            }
        )

    def _buckets(self, question: Question, table: dict[date, list[dict[str, Any]]], groups: set[str]) -> Answer:
        unknown = set(question.many("group_by")) - groups
        if unknown:
            return error(400, f"group_by: unknown {sorted(unknown)}")
        limit = int(question.one("limit", "7"))
        if not 1 <= limit <= 31:
            return error(400, "limit: between 1 and 31")
        start = datetime.fromisoformat(question.one("starting_at")).date()
        end = datetime.fromisoformat(question.one("ending_at")).date()
        wanted = days(start, end)
        offset, bad = self._offset(question)
        if bad:
            return bad
        page = wanted[offset : offset + limit]
        more = offset + limit < len(wanted)
        data = [
            {"starting_at": zulu(day), "ending_at": zulu(day + timedelta(days=1)), "results": table.get(day, [])}
            for day in page
        ]
        token = self._token(question, offset + limit) if more else None
        return answer({"data": data, "has_more": more, "next_page": token})

    def _offset(self, question: Question) -> tuple[int, Answer | None]:
        cursor = question.one("page")
        if not cursor:
            return 0, None
        bound, _, place = cursor.removeprefix("page_").partition("-")
        if bound != self._bound(question):
            return 0, error(400, "page: the cursor belongs to another query")
        return int(place), None

    def _token(self, question: Question, offset: int) -> str:
        return f"page_{self._bound(question)}-{offset}"

    @staticmethod
    def _bound(question: Question) -> str:
        return hashlib.sha256(json.dumps([question.path, *question.without("page")]).encode()).hexdigest()[:16]


def group(**values: Any) -> dict[str, Any]:
    return {**dict.fromkeys(sorted(GROUPS)), **values}


def cost_row(amount: Any, token_type: str | None, *, list_amount: Any = None, **values: Any) -> dict[str, Any]:
    values.setdefault("cost_type", "tokens" if token_type else None)
    return {
        "group": group(token_type=token_type, **values),
        "cost": {"amount": amount, "list_amount": list_amount or amount, "currency": "USD", "requests": None},
    }


def usage_row(**values: Any) -> dict[str, Any]:
    usage = {
        "uncached_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
        "output_tokens": 0,
        "server_tool_use": {"web_search_requests": 0},
        "total_tokens": 0,
        "requests": 0,
    }
    usage.update(values.pop("usage"))
    return {"group": group(**values), "usage": usage}
