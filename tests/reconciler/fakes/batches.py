"""Batch endpoints of every provider that has them, read with an ordinary key."""

from __future__ import annotations

import json
from typing import Any

from fakes.base import Answer, Fake, Question, answer


class FakeOpenAIBatches(Fake):
    """``batches`` newest first; ``files[id]`` = JSON lines. Azure and Groq serve the same elsewhere."""

    def __init__(
        self, key: str = "sk-proj-fake", prefix: str = "/v1", header: str = "authorization", *, pages: bool = True
    ) -> None:
        super().__init__()
        self.key = key
        self.prefix = prefix
        self.header = header
        self.pages = pages
        self.batches: list[dict[str, Any]] = []
        self.files: dict[str, list[dict[str, Any]]] = {}
        self.page = 1

    def reply(self, question: Question) -> Answer:
        if question.headers.get(self.header, "").removeprefix("Bearer ") != self.key:
            return answer({"error": {"message": "Incorrect API key", "type": "x"}}, 401)
        path = question.path.removeprefix(self.prefix)
        if path == "/batches" and not self.pages:
            return answer({"object": "list", "data": self.batches})
        if path == "/batches":
            ids = [batch["id"] for batch in self.batches]
            start = ids.index(question.one("after")) + 1 if question.one("after") else 0
            page = self.batches[start : start + self.page]
            more = start + self.page < len(self.batches)
            last = page[-1]["id"] if page else None
            return answer({"object": "list", "data": page, "last_id": last, "has_more": more})
        if path.startswith("/files/") and path.endswith("/content"):
            lines = self.files[path.split("/")[2]]
            return Answer(200, "\n".join(json.dumps(line) for line in lines).encode())
        return answer({"error": {"message": "Not found"}}, 404)


class FakeAnthropicBatches(Fake):
    """``batches`` newest first; ``results[id]`` = JSON lines."""

    def __init__(self, key: str = "sk-ant-api03-fake") -> None:
        super().__init__()
        self.key = key
        self.batches: list[dict[str, Any]] = []
        self.results: dict[str, list[dict[str, Any]]] = {}

    def reply(self, question: Question) -> Answer:
        if question.headers.get("x-api-key") != self.key or not question.headers.get("anthropic-version"):
            return answer({"type": "error", "error": {"type": "authentication_error", "message": "no"}}, 401)
        if question.path == "/v1/messages/batches":
            return answer({"data": self.batches, "has_more": False, "last_id": None})
        parts = question.path.split("/")
        if len(parts) == 6 and parts[5] == "results":
            return Answer(200, "\n".join(json.dumps(line) for line in self.results[parts[4]]).encode())
        return answer({"type": "error", "error": {"type": "not_found_error", "message": "no"}}, 404)


class FakeGeminiBatches(Fake):
    """``batches`` as operations, a page each; ``files[name]`` = JSON lines."""

    def __init__(self, key: str = "AIza-fake") -> None:
        super().__init__()
        self.key = key
        self.batches: list[dict[str, Any]] = []
        self.files: dict[str, list[dict[str, Any]]] = {}

    def reply(self, question: Question) -> Answer:
        if question.headers.get("x-goog-api-key") != self.key:
            detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
            said = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [detail]}
            return answer({"error": said}, 400)
        path = question.path.removeprefix("/v1beta/")
        if path == "batches":
            offset = int(question.one("pageToken", "0"))
            page: dict[str, Any] = {"operations": self.batches[offset : offset + 1]}
            if offset + 1 < len(self.batches):
                page["nextPageToken"] = str(offset + 1)
            return answer(page)
        for batch in self.batches:
            if batch["name"] == path:
                return answer(batch)
        if path.endswith(":download") and question.one("alt") == "media":
            lines = self.files[path.removesuffix(":download")]
            return Answer(200, "\n".join(json.dumps(line) for line in lines).encode())
        return answer({"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}, 404)


class FakeMistralBatches(Fake):
    """``jobs``; ``files[id]`` = JSON lines."""

    def __init__(self, key: str = "mistral-fake") -> None:
        super().__init__()
        self.key = key
        self.jobs: list[dict[str, Any]] = []
        self.files: dict[str, list[dict[str, Any]]] = {}

    def reply(self, question: Question) -> Answer:
        if question.headers.get("authorization") != f"Bearer {self.key}":
            return answer({"message": "Unauthorized"}, 401)
        if question.path == "/v1/batch/jobs":
            size = int(question.one("page_size", "100"))
            first = int(question.one("page", "0")) * size
            return answer({"object": "list", "total": len(self.jobs), "data": self.jobs[first : first + size]})
        lines = self.files[question.path.split("/")[3]]
        return Answer(200, "\n".join(json.dumps(line) for line in lines).encode())


class FakeXaiBatches(Fake):
    """``batches``, ``results[id]``; pages of one."""

    def __init__(self, key: str = "xai-fake") -> None:
        super().__init__()
        self.key = key
        self.batches: list[dict[str, Any]] = []
        self.results: dict[str, list[dict[str, Any]]] = {}

    def reply(self, question: Question) -> Answer:
        if question.headers.get("authorization") != f"Bearer {self.key}":
            return answer({"code": "unauthenticated", "error": "Incorrect API key provided"}, 401)
        offset = int(question.one("pagination_token") or 0)
        name, found = "batches", self.batches
        if question.path.endswith("/results"):
            name, found = "results", self.results[question.path.split("/")[3]]
        more = str(offset + 1) if offset + 1 < len(found) else None
        return answer({name: found[offset : offset + 1], "pagination_token": more})


class Split(Fake):
    """One host, two kinds of keys: the batch endpoints belong to the ordinary one."""

    def __init__(self, admin: Fake, batches: Fake) -> None:
        super().__init__()
        self.admin = admin
        self.batches = batches

    def reply(self, question: Question) -> Answer:
        path = question.path
        parts = ("batches", "/batch/", "/files/")
        is_batch = any(part in path for part in parts) or path.endswith(("/generation", "/key"))
        return (self.batches if is_batch else self.admin).handle(question)
