"""Gemini's Live sessions: each generation of the model is a call.

Usage comes with a message of the server, once a turn, and is that turn's own, not the session's
(https://ai.google.dev/gemini-api/docs/live-guide#token-count); within a turn, as in streams, the last one told counts.
A generation ends with its turn, when it is interrupted, or with function calls, whose results start the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter_ns
from typing import Any, Final

from spanledger.instrumentation import _gemini as gemini
from spanledger.instrumentation._answer import Answer, Endpoint
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._reading import fields, items, size, text, to_json
from spanledger.semconv.observation import ToolCall

LIVE: Final = replace(gemini.GENERATE, request_keys=(), read_request=None, tool_results=None, input_messages=None)
_OWN_NAMES: Final = (
    ("responseTokenCount", "candidatesTokenCount"),
    ("responseTokensDetails", "candidatesTokensDetails"),
)


class _Reader:
    """What the messages of one generation said."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._queries = 0
        self._tools: list[ToolCall] = []
        self._reason = ""
        self.usage: dict[str, Any] = {}

    def feed(self, message: Any) -> bool:
        known = fields(message)
        told = known.get("usage_metadata")
        if told is not None:
            document = told.model_dump(mode="json", by_alias=True, exclude_none=True)
            self.usage.update(document)
        content = fields(known.get("server_content"))
        grounding = fields(content.get("grounding_metadata"))
        self._queries = max(self._queries, len(items(grounding.get("web_search_queries"))))
        for asked in map(fields, items(fields(known.get("tool_call")).get("function_calls"))):
            arguments = to_json(asked.get("args") or {})
            name, identifier = text(asked.get("name")), text(asked.get("id"))
            self._tools.append(ToolCall(name=name, id=identifier, input_bytes=size(arguments), input=arguments))
        if content.get("interrupted"):
            self._reason = "interrupted"
        elif content.get("turn_complete"):
            self._reason = self._reason or "stop"
        elif self._tools:
            self._reason = self._reason or "tool_call"
        return False

    @property
    def has_ended(self) -> bool:
        return bool(self._reason)

    def answer(self, *, is_complete: bool) -> Answer:
        usage = dict(self.usage)
        for own, usual in _OWN_NAMES:
            if own in usage:
                usage[usual] = usage.pop(own)
        is_partial = not (is_complete or self._reason)
        searches = gemini.billed_searches(self._queries, self._model)
        return Answer(
            model=self._model,
            usage=usage or None,
            service_tier=gemini.tier_of(usage),
            finish_reasons=(self._reason,) if self._reason else (),
            tool_calls=self._tools,
            counts={"web_searches": searches} if searches else None,
            is_partial=is_partial,
            notes=("stream_ended_early",) if is_partial else (),
        )


class Session:
    """One session, and its generation that has not ended.

    Args:
        begin: starts a call of the endpoint, given its body; ``None`` where nothing is recorded.
        model: the session's model, without ``models/``.
    """

    def __init__(self, begin: Callable[[Endpoint, Mapping[str, Any]], Call | None], model: str) -> None:
        self._begin = begin
        self._model = model
        self._call: Call | None = None
        self._reader = _Reader(model)

    def hear(self, message: Any) -> None:
        """Look at a message of the server."""
        known = fields(message)
        content = fields(known.get("server_content"))
        has_usage = known.get("usage_metadata") is not None
        is_made = content.get("model_turn") is not None or known.get("tool_call") is not None
        if is_made and self._call is not None and self._reader.has_ended:
            self.close()  # its usage never came
        if self._call is None:
            if not (has_usage or is_made):
                return
            self._reader = _Reader(self._model)
            self._call = self._begin(LIVE, {"model": self._model, "stream": True})
            if self._call is None:
                return
            self._call.reader = self._reader
        if is_made and not self._call.first_chunk_ns:
            self._call.first_chunk_ns = perf_counter_ns()
        self._reader.feed(message)
        if self._reader.has_ended and self._reader.usage:
            call, self._call = self._call, None
            call.finish()

    def close(self) -> None:
        """Nothing more will be read."""
        call, self._call = self._call, None
        if call is not None:
            call.abandon()
