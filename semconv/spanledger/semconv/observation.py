"""One piece of evidence about a call, read from one span or one log record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from spanledger.semconv.usage import Usage

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Role(StrEnum):
    """What the span or log record says about billing."""

    LEAF = "leaf"
    """Describes one model request: may bill."""
    AGGREGATE = "aggregate"
    """An agent, workflow or chain that carries the sum of its children: never bills."""
    DETAIL = "detail"
    """Adds facts (an id, a cache split) to the call of the same span or its parent: never bills by itself."""
    LINK = "link"
    """Not about a model call; kept only for its place in the trace (span id and parent)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool use or tool result seen in a call. Content stays ``None`` unless content capture is on."""

    name: str
    id: str = ""
    kind: str = "use"
    """``use`` (the model asked for it) or ``result`` (the application answered)."""
    is_error: bool | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    input: str | None = None
    output: str | None = None


@dataclass(slots=True, kw_only=True)
class Observation:
    """Evidence about one call. Treat as immutable once it has left its dialect.

    Unknown text is ``""``, unknown numbers are ``None``. Times are nanoseconds since the epoch, UTC.
    ``trace_id`` (16 bytes) and ``span_id`` (8 bytes) are raw bytes, ``b""`` when absent.
    """

    # identity and provenance
    org_id: str = ""
    trace_id: bytes = b""
    span_id: bytes = b""
    parent_span_id: bytes = b""
    signal: str = "span"
    """``span`` or ``log``."""
    scope_name: str = ""
    scope_version: str = ""
    dialect: str = ""
    role: Role = Role.LEAF
    received_ns: int = 0

    # the call
    started_ns: int = 0
    ended_ns: int = 0
    ttft_ns: int | None = None
    provider: str = ""
    """Who sends the invoice (the ledger's word, not OTel's ``gen_ai.provider.name``)."""
    operation: str = ""
    request_model: str = ""
    response_model: str = ""
    response_id: str = ""
    """The provider's own id of the answer; ids that an emitter invented belong nowhere."""
    request_id: str = ""
    """The provider's id of the HTTP request."""
    usage: Usage = field(default_factory=Usage)
    status: str = "ok"
    """``ok`` or ``error``."""
    error_type: str = ""
    http_status: int | None = None
    stop_reason: str = ""
    is_stream: bool | None = None
    is_batch: bool = False
    batch_id: str = ""
    service_tier: str = ""
    """The tier that served the request, not the one that was asked for."""
    inference_geo: str = ""
    """Where inference ran (``us``, ``global``, a cloud's region); ``""`` when nothing tells."""
    max_output_tokens: int | None = None
    """The request's output limit: bounds the cost of a broken stream."""

    # money said by others
    exact_cost_usd: Decimal | None = None
    """What the provider itself said that the call cost."""
    claimed_cost_usd: Decimal | None = None
    """What the emitter computed: kept beside our figure, used only when nothing else is known."""
    claimed_price_id: str = ""

    # who
    session_id: str = ""
    user_id: str = ""
    team_id: str = ""
    feature: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    service_name: str = ""
    environment: str = ""
    server_address: str = ""
    api_key_fingerprint: str = ""
    organization: str = ""
    project: str = ""
    workspace: str = ""

    tool_calls: tuple[ToolCall, ...] = ()
    notes: tuple[str, ...] = ()
    """Short machine words on what could not be read or was decided (``ambiguous_input``, ``bad_value:...``)."""
