"""xAI's management API."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from fakes.base import Answer, Fake, Question, answer, zulu

TEAM = "0b1f3f5e-5b5a-4a6b-8f62-0c3f6a4c7d11"


class FakeXai(Fake):
    """``usd[description][day]`` in dollars; ``invoice`` is the preview."""

    def __init__(self, key: str = "xai-mgmt-fake") -> None:
        super().__init__()
        self.key = key
        self.usd: dict[str, dict[date, Any]] = {}
        self.most_days = 0
        """Longer ranges come back cut, with limitReached; 0 means never."""
        self.invoice: dict[str, Any] = {"coreInvoice": {"lines": []}, "billingCycle": {"year": 2026, "month": 11}}

    def reply(self, question: Question) -> Answer:
        if question.headers.get("authorization") != f"Bearer {self.key}":
            return answer({"code": 16, "message": "invalid management key", "details": []}, 401)
        if question.path == "/auth/management-keys/validation":
            return answer({"apiKeyId": "mk_1", "teamId": "default", "scope": "SCOPE_TEAM", "scopeId": TEAM})
        if question.path == f"/auth/teams/{TEAM}/api-keys":
            keys = [{"apiKeyId": "k1", "name": "Prod", "redactedApiKey": "xai-a**b", "disabled": "false"}]
            return answer({"apiKeys": keys})
        base = f"/v1/billing/teams/{TEAM}"
        if question.path == f"{base}/usage" and question.method == "POST":
            return self._usage(question.json()["analyticsRequest"])
        if question.path == f"{base}/postpaid/invoice/preview":
            return answer(self.invoice)
        return answer({"code": 5, "message": "Invalid uuid", "details": []}, 400)

    def _usage(self, request: dict[str, Any]) -> Answer:
        if not str(request["timeUnit"]).startswith("TIME_UNIT_"):
            return answer({"code": 3, "message": "invalid timeUnit", "details": []}, 400)
        assert request["values"] == [{"name": "usd", "aggregation": "AGGREGATION_SUM"}]
        since = datetime.strptime(request["timeRange"]["startTime"] + "Z", "%Y-%m-%d %H:%M:%S%z").date()
        until = datetime.strptime(request["timeRange"]["endTime"] + "Z", "%Y-%m-%d %H:%M:%S%z").date()
        cut = bool(self.most_days) and (until - since).days > self.most_days
        series = []
        for description, points in self.usd.items():
            # Out of order, and with the neighbours of the range.
            near = sorted(
                (day for day in points if since - timedelta(days=1) <= day <= until), key=lambda day: -day.toordinal()
            )
            if cut:
                near = near[: self.most_days]
            series.append(
                {
                    "group": [description],
                    "groupLabels": [description],
                    "dataPoints": [{"timestamp": zulu(day), "values": [points[day]]} for day in near],
                }
            )
        return answer({"timeSeries": series, "limitReached": cut})
