"""OpenAI's organization usage and costs."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from typing import Any

from fakes.base import Answer, Fake, Question, answer, days, seconds

USAGE_LIMIT = (7, 31)
COSTS_LIMIT = (7, 180)

GROUPS = {
    "completions": {"project_id", "user_id", "api_key_id", "model", "batch", "service_tier"},
    "embeddings": {"project_id", "user_id", "api_key_id", "model"},
    "moderations": {"project_id", "user_id", "api_key_id", "model"},
    "images": {"project_id", "user_id", "api_key_id", "model", "size", "source"},
    "audio_speeches": {"project_id", "user_id", "api_key_id", "model"},
    "audio_transcriptions": {"project_id", "user_id", "api_key_id", "model"},
    "vector_stores": {"project_id"},
    "code_interpreter_sessions": {"project_id"},
    "file_search_calls": {"project_id", "user_id", "api_key_id", "vector_store_id"},
    "web_search_calls": {"project_id", "user_id", "api_key_id", "model", "context_level"},
}
RESULT_OBJECTS = {
    "file_search_calls": "organization.usage.file_searches.result",
    "web_search_calls": "organization.usage.web_searches.result",
}


def error(status: int, message: str, kind: str = "invalid_request_error", **headers: str) -> Answer:
    return answer({"error": {"message": message, "type": kind, "param": None, "code": None}}, status, **headers)


def cost(
    line_item: str | None,
    value: Any,
    *,
    project: str | None = "proj_1",
    key: str | None = "key_1",
    quantity: Any = None,
    unit: str | None = None,
    currency: str = "usd",
) -> dict[str, Any]:
    """A costs result as observed live: extra keys included."""
    result = {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": currency},
        "line_item": line_item,
        "project_id": project,
        "project_name": "Default project",
        "organization_id": "org-fake",
        "organization_name": "Acme",
        "user_email": None,
        "api_key_id": key,
        "quantity": quantity,
    }
    if unit is not None:
        result["quantity_unit"] = unit
    return result


def completions(model: str, **fields: Any) -> dict[str, Any]:
    return {
        "model": model,
        "project_id": "proj_1",
        "user_id": None,
        "api_key_id": "key_1",
        "batch": False,
        "service_tier": "default",
        **fields,
    }


class FakeOpenAI(Fake):
    """``costs[day]`` and ``usage[report][day]`` are lists of results."""

    def __init__(self, key: str = "sk-admin-fake", prefix: str = "/v1") -> None:
        super().__init__()
        self.key = key
        self.prefix = prefix
        self.costs: dict[date, list[dict[str, Any]]] = {}
        self.usage: dict[str, dict[date, list[dict[str, Any]]]] = {name: {} for name in GROUPS}
        self.organization = "org-fake"
        self.now = lambda: datetime.now(UTC)
        self.rows_per_page = 0
        """A page also ends after this many results, as a page of many groups does; 0 means by buckets only."""

    def reply(self, question: Question) -> Answer:
        given = question.headers.get("authorization", "")
        if given != f"Bearer {self.key}":
            return error(401, f"Incorrect API key provided: {given[7:13]}***. You can find your API key at ...")
        path = question.path.removeprefix(self.prefix)
        if path == "/organization/costs":
            return self._buckets(question, "organization.costs.result", self.costs, COSTS_LIMIT)
        if path.startswith("/organization/usage/"):
            report = path.rpartition("/")[2]
            if report not in GROUPS:
                return error(404, "Not found")
            unknown = set(question.many("group_by")) - GROUPS[report]
            if unknown:
                return error(400, f"Invalid group_by: {sorted(unknown)}")
            name = RESULT_OBJECTS.get(report, f"organization.usage.{report}.result")
            return self._buckets(question, name, self.usage[report], USAGE_LIMIT)
        if path == "/organization/projects":
            data = [{"object": "organization.project", "id": "proj_1", "name": "Default project", "status": "active"}]
            return answer(
                {"object": "list", "data": data, "first_id": "proj_1", "last_id": "proj_1", "has_more": False},
                openai_organization=self.organization,
            )
        if path == "/organization/projects/proj_1/api_keys":
            key = {
                "object": "organization.project.api_key",
                "id": "key_1",
                "name": "prod",
                "redacted_value": "sk-...x1",
            }
            return answer({"object": "list", "data": [key], "last_id": "key_1", "has_more": False})
        return error(404, "Not found")

    def _buckets(
        self, question: Question, name: str, table: dict[date, list[dict[str, Any]]], limits: tuple[int, int]
    ) -> Answer:
        if question.one("bucket_width", "1d") != "1d":
            return error(400, "bucket_width must be 1d")
        limit = int(question.one("limit", str(limits[0])))
        if not 1 <= limit <= limits[1]:
            return error(400, f"limit must be between 1 and {limits[1]}")
        if not question.one("start_time"):
            return error(400, "Missing required parameter: start_time")
        since = datetime.fromtimestamp(int(question.one("start_time")), UTC).date()
        end = question.one("end_time")
        until = datetime.fromtimestamp(int(end), UTC).date() if end else self.now().date()
        wanted = days(since, until)
        offset = 0
        if cursor := question.one("page"):
            bound, _, place = cursor.removeprefix("page_").partition("-")
            if bound != self._bound(question):
                return error(400, "Invalid page token for these parameters")
            offset = int(place)
        page = wanted[offset : offset + limit]
        if self.rows_per_page:
            kept, rows = [], 0
            for day in page:
                kept.append(day)
                rows += len(table.get(day, ()))
                if rows >= self.rows_per_page:
                    break
            page = kept
        data = [
            {
                "object": "bucket",
                "start_time": seconds(day),
                "end_time": seconds(day) + 86400,
                "start_time_iso": f"{day}T00:00:00",
                "results": [{"object": name, **result} for result in table.get(day, ())],
            }
            for day in page
        ]
        more = offset + len(page) < len(wanted)
        token = f"page_{self._bound(question)}-{offset + len(page)}" if more else None
        document = {"object": "page", "data": data, "has_more": more, "next_page": token}
        return answer(document, openai_organization=self.organization)

    @staticmethod
    def _bound(question: Question) -> str:
        return hashlib.sha256(json.dumps([question.path, *question.without("page")]).encode()).hexdigest()[:16]
