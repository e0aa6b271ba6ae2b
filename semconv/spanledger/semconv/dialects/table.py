"""What a dialect is: a table from attribute names to the fields of an observation, and the rules no table can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from spanledger.semconv import names
from spanledger.semconv.observation import Role, ToolCall
from spanledger.semconv.records import LogEntry, SpanRecord
from spanledger.semconv.usage import Usage

Aliases = Mapping[str, tuple[str, ...]]
"""Field → attribute names that hold it, best first."""

NS: Final = 1
MS: Final = 1_000_000
S: Final = 1_000_000_000

TEXTS: Final = (
    "provider",
    "operation",
    "request_model",
    "response_model",
    "response_id",
    "request_id",
    "error_type",
    "service_tier",
    "inference_geo",
    "session_id",
    "user_id",
    "team_id",
    "feature",
    "service_name",
    "environment",
    "server_address",
    "api_key_fingerprint",
    "organization",
    "project",
    "workspace",
    "batch_id",
    "claimed_price_id",
)
"""Fields of an observation that are read as text."""


@dataclass(slots=True)
class Draft:
    """An observation in the making; a dialect's `adjust` may change anything in it."""

    record: SpanRecord | LogEntry
    attributes: dict[str, Any]
    fields: dict[str, Any]
    """Arguments of `Observation` so far; ``provider`` still in the emitter's spelling. Absent or ``""`` is unknown."""
    counts: dict[str, int]
    """Raw token counts by the names in `tokens.COUNTS`."""
    notes: list[str]
    role: Role | None
    """``None``: the record is not about a model call."""
    input_holds_cache: bool | None
    output_holds_reasoning: bool | None
    base_labels: Mapping[str, str]
    usage: Usage | None = None
    """Set where the record gives disjoint classes; then the raw counts are not asked."""
    tool_calls: tuple[ToolCall, ...] = ()
    partial: bool = False
    estimated: bool = False
    labels: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.labels = self.base_labels

    def get(self, name: str) -> str:
        """A text field, ``""`` when unknown."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    @property
    def has_usage(self) -> bool:
        return bool(self.counts) or self.usage is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one family of emitters writes about model calls.

    Attributes:
        name: what ``calls.dialect`` shows.
        scopes: instrumentation scope names, exact, or a prefix with ``*`` at its end.
        services: beginnings of ``service.name`` that give the dialect away under a scope that no dialect claims.
        markers: attributes that give the dialect away under a scope that no dialect claims (an emitter that writes on
            the application's own spans, a user's own tracer).
        core: further attributes that make a record worth reading, beside models, ids, counts, costs and `markers`.
        events: names of log events that this dialect reads; ``scope/name`` where the name alone is too common.
        texts: text fields (`TEXTS`) and where they stand.
        counts: raw counts (`tokens.COUNTS`) and where they stand.
        bags: attribute prefixes under which users put session, user, team and the like, by any spelling.
        label_bags: those bags whose other entries are labels.
        input_holds_cache: whether the input count includes cached tokens; ``None`` lets arithmetic decide.
        output_holds_reasoning: whether the output count includes reasoning tokens.
        guess: slot of an attribute that no table names, and how loose the guess is; for emitters that nobody knows.
        role: what the record is, from the draft; ``None`` when it is not about a model call.
        adjust: what no table can say.
        asks: which attributes beside those of its tables `role` and `adjust` look at, where they decide by words and by
            which counts there are (an output of up to 8 tokens apart), by no other number and no id: spans with the
            same words are then read together (`tabular`). ``None`` where they look at more.
        trust: how near to the provider the evidence is: 3 the provider's own SDK or ourselves, 2 an instrumentation of
            that SDK, 1 a framework, 0 anybody.
    """

    name: str
    scopes: tuple[str, ...]
    texts: Aliases
    counts: Aliases
    role: Callable[[Draft], Role | None]
    services: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    core: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    bags: tuple[str, ...] = ()
    label_bags: tuple[str, ...] = ()
    input_holds_cache: bool | None = True
    output_holds_reasoning: bool | None = True
    adjust: Callable[[Draft], None] | None = None
    guess: Callable[[str], tuple[str, int] | None] | None = None
    asks: tuple[str, ...] | None = None
    trust: int = 2


STOP_REASONS: Final = (
    "gen_ai.response.finish_reasons",
    "gen_ai.response.finish_reason",
    "anthropic.message.stop_reason",
    "llm.finish_reason",
    "ai.response.finishReason",
    "gen_ai.completion.0.finish_reason",
    "langfuse.observation.metadata.finish_reason",
    "stop_reason",
)
STREAM_FLAGS: Final = (
    names.IS_STREAM,
    "gen_ai.is_streaming",
    "gen_ai.request.is_stream",
    "llm.is_streaming",
    "langsmith.request.streaming",
)
HTTP_STATUS: Final = (names.HTTP_STATUS, "http.status_code", "status_code", "error.code")
MAX_OUTPUT: Final = ("gen_ai.request.max_tokens", "ai.settings.maxOutputTokens", "ai.settings.maxTokens")
CLAIMS: Final = (
    names.COST_TOTAL,
    "gen_ai.usage.cost.amount",
    "gen_ai.usage.cost",
    "operation.cost",
    "gen_ai.cost.total_cost",
    "litellm.cost.total",
    "llm.cost.total",
    "cost_usd",
)
"""Costs in US dollars that emitters computed; one more spelling is JSON (Langfuse)."""
FIRST_CHUNK: Final = (
    ("gen_ai.response.time_to_first_chunk", S),
    ("gen_ai.client.operation.time_to_first_chunk", S),
    ("gen_ai.server.time_to_first_token", S),
    ("ai.response.msToFirstChunk", MS),
    ("copilot_chat.time_to_first_token", MS),
    ("ttft_ms", MS),
)

BAG_KEYS: Final[Mapping[str, str]] = {
    "session_id": "session_id",
    "sessionid": "session_id",
    "session": "session_id",
    "thread_id": "session_id",
    "threadid": "session_id",
    "conversation_id": "session_id",
    "conversationid": "session_id",
    "user_id": "user_id",
    "userid": "user_id",
    "user": "user_id",
    "end_user_id": "user_id",
    "team_id": "team_id",
    "teamid": "team_id",
    "team": "team_id",
    "feature": "feature",
    "feature_id": "feature",
    "featureid": "feature",
    "feature_name": "feature",
}
"""What users call the well-known labels, lower case."""
