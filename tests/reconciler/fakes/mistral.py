"""Mistral's Enterprise admin API. Its inner shape is not documented: ``documents[(year, month)]`` is up to a test."""

from __future__ import annotations

from typing import Any

from fakes.base import Answer, Fake, Question, answer


class FakeMistral(Fake):
    def __init__(self, key: str = "mistral-admin-fake") -> None:
        super().__init__()
        self.key = key
        self.documents: dict[tuple[int, int], dict[str, Any]] = {}

    def reply(self, question: Question) -> Answer:
        if question.headers.get("x-api-key") != self.key:
            return answer({"message": "Unauthorized"}, 401)
        if question.path != "/v1/admin/usage":
            return answer({"message": "Not found"}, 404)
        month = int(question.one("year")), int(question.one("month"))
        document = {"start_date": "x", "end_date": "y", "currency": "EUR", **self.documents.get(month, {})}
        return answer(document)
