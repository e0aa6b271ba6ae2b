"""OpenRouter's activity."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from fakes.base import Answer, Fake, Question, answer


class FakeOpenRouter(Fake):
    """``activity[(day, key hash)]`` holds rows; the last 30 completed days are answered.

    Without a key the account's rows are summed over its keys, deleted ones included.
    """

    def __init__(self, key: str = "sk-or-v1-mgmt", today: date = date(2026, 11, 20)) -> None:
        super().__init__()
        self.key = key
        self.today = today
        self.keys = ["hash_a", "hash_b"]
        self.activity: dict[tuple[date, str], list[dict[str, Any]]] = {}
        self.generations: dict[str, dict[str, Any]] = {}
        self.not_yet: set[str] = set()

    def reply(self, question: Question) -> Answer:
        if question.headers.get("authorization") != f"Bearer {self.key}":
            return answer({"error": {"code": 401, "message": "No auth credentials found"}}, 401)
        match question.path.removeprefix("/api/v1"):
            case "/keys":
                offset = int(question.one("offset", "0"))
                data = [{"hash": name, "name": name, "label": "sk-or...", "disabled": False} for name in self.keys]
                return answer({"data": data[offset : offset + 1]})
            case "/key":
                return answer({"data": {"label": "sk-or...", "usage": 25.75, "is_free_tier": False}})
            case "/credits":
                return answer({"data": {"total_credits": 100.5, "total_usage": 25.75}})
            case "/activity":
                day = date.fromisoformat(question.one("date"))
                if not self.today - timedelta(days=30) <= day < self.today:
                    return answer({"error": {"code": 400, "message": "Date must be within the last 30 days"}}, 400)
                key = question.one("api_key_hash")
                if key and key not in self.keys:
                    return answer({"error": {"code": 404, "message": "API key not found"}}, 404)
                summed: dict[tuple[str, ...], dict[str, Any]] = {}
                for (at, owner), found in self.activity.items():
                    for row in found if at == day and key in ("", owner) else ():
                        texts = tuple(value for value in row.values() if isinstance(value, str))
                        before = summed.setdefault(texts, {"date": day.isoformat()})
                        summed[texts] = {
                            **before,
                            **{
                                name: value if isinstance(value, str) else value + before.get(name, 0)
                                for name, value in row.items()
                            },
                        }
                return answer({"data": list(summed.values())})
            case "/generation":
                wanted = question.one("id")
                if wanted in self.not_yet:
                    self.not_yet.discard(wanted)
                    return answer({"error": {"code": 404, "message": "Generation not found"}}, 404)
                if wanted in self.generations:
                    return answer({"data": {"id": wanted, **self.generations[wanted]}})
        return answer({"error": {"code": 404, "message": "Not found"}}, 404)


def row(model: str, usage: float, **values: Any) -> dict[str, Any]:
    return {
        "model": model,
        "model_permaslug": f"{model}-2026",
        "endpoint_id": "550e8400",
        "provider_name": "OpenAI",
        "usage": usage,
        "byok_usage_inference": 0,
        "requests": 1,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "reasoning_tokens": 0,
        "cached_tokens": 0,
        **values,
    }


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)
