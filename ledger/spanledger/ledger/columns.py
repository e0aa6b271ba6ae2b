"""The columns of the wide tables: the one list from which Arrow schemas, inserts and reads derive.

The DDL in ``migrations/`` says the same to ClickHouse; a test compares the two through ``DESCRIBE TABLE``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from spanledger.ledger.arrow import pa


class Kind(Enum):
    """A column's type, once in ClickHouse's words and once in Arrow's."""

    WORD = "LowCardinality(String)"
    TEXT = "String"
    TEXT_OR_NULL = "Nullable(String)"
    BYTES_16 = "FixedString(16)"
    BYTES_8 = "FixedString(8)"
    COUNT = "UInt64"
    COUNT_OR_NULL = "Nullable(UInt64)"
    SMALL = "UInt32"
    SMALL_OR_NULL = "Nullable(UInt32)"
    FLAG_BYTE = "UInt8"
    BOOL = "Bool"
    BOOL_OR_NULL = "Nullable(Bool)"
    FLOAT_OR_NULL = "Nullable(Float64)"
    MONEY_OR_NULL = "Nullable(Decimal(38, 12))"
    TIME = "DateTime64(9, 'UTC')"
    SECOND = "DateTime('UTC')"
    TEXT_MAP = "Map(LowCardinality(String), String)"
    COUNT_MAP = "Map(LowCardinality(String), UInt64)"
    MONEY_MAP = "Map(LowCardinality(String), Decimal(38, 12))"

    @property
    def arrow(self) -> Any:
        """The Arrow type in which the column is written."""
        return _ARROW[self]


MONEY_TYPE: Final = pa.decimal128(38, 12)
_ARROW: Final[dict[Kind, Any]] = {
    Kind.WORD: pa.dictionary(pa.int32(), pa.string()),
    Kind.TEXT: pa.string(),
    Kind.TEXT_OR_NULL: pa.string(),
    Kind.BYTES_16: pa.binary(16),
    Kind.BYTES_8: pa.binary(8),
    Kind.COUNT: pa.uint64(),
    Kind.COUNT_OR_NULL: pa.uint64(),
    Kind.SMALL: pa.uint32(),
    Kind.SMALL_OR_NULL: pa.uint32(),
    Kind.FLAG_BYTE: pa.uint8(),
    Kind.BOOL: pa.bool_(),
    Kind.BOOL_OR_NULL: pa.bool_(),
    Kind.FLOAT_OR_NULL: pa.float64(),
    Kind.MONEY_OR_NULL: MONEY_TYPE,
    Kind.TIME: pa.timestamp("ns", "UTC"),
    Kind.SECOND: pa.uint32(),
    Kind.TEXT_MAP: pa.map_(pa.string(), pa.string()),
    Kind.COUNT_MAP: pa.map_(pa.string(), pa.uint64()),
    Kind.MONEY_MAP: pa.map_(pa.string(), MONEY_TYPE),
}


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: Kind


def _columns(*pairs: tuple[str, Kind]) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name, kind in pairs)


TOKEN_CLASS_COLUMNS: Final = (
    "input_uncached",
    "cache_read",
    "cache_write",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "output_text",
    "reasoning",
    "output_audio",
    "output_image",
)

OBSERVED: Final = _columns(
    ("org_id", Kind.WORD),
    ("trace_id", Kind.BYTES_16),
    ("span_id", Kind.BYTES_8),
    ("parent_span_id", Kind.BYTES_8),
    ("signal", Kind.WORD),
    ("role", Kind.WORD),
    ("scope_name", Kind.WORD),
    ("scope_version", Kind.WORD),
    ("dialect", Kind.WORD),
    ("started_ns", Kind.COUNT),
    ("ended_ns", Kind.COUNT),
    ("ttft_ns", Kind.COUNT_OR_NULL),
    ("provider", Kind.WORD),
    ("operation", Kind.WORD),
    ("request_model", Kind.WORD),
    ("response_model", Kind.WORD),
    ("response_id", Kind.TEXT),
    ("request_id", Kind.TEXT),
    *((name, Kind.COUNT_OR_NULL) for name in TOKEN_CLASS_COLUMNS),
    ("usage_counts", Kind.COUNT_MAP),
    ("usage_partial", Kind.BOOL),
    ("usage_estimated", Kind.BOOL),
    ("status", Kind.WORD),
    ("error_type", Kind.WORD),
    ("http_status", Kind.SMALL_OR_NULL),
    ("stop_reason", Kind.WORD),
    ("is_stream", Kind.BOOL_OR_NULL),
    ("is_batch", Kind.BOOL),
    ("batch_id", Kind.TEXT),
    ("service_tier", Kind.WORD),
    ("inference_geo", Kind.WORD),
    ("max_output_tokens", Kind.COUNT_OR_NULL),
    ("exact_cost_usd", Kind.MONEY_OR_NULL),
    ("claimed_cost_usd", Kind.MONEY_OR_NULL),
    ("claimed_price_id", Kind.WORD),
    ("session_id", Kind.TEXT),
    ("user_id", Kind.TEXT),
    ("team_id", Kind.WORD),
    ("feature", Kind.WORD),
    ("labels", Kind.TEXT_MAP),
    ("service_name", Kind.WORD),
    ("environment", Kind.WORD),
    ("server_address", Kind.WORD),
    ("api_key_fingerprint", Kind.WORD),
    ("organization", Kind.WORD),
    ("project", Kind.WORD),
    ("workspace", Kind.WORD),
    ("tool_calls", Kind.TEXT),
    ("notes", Kind.TEXT),
)
"""What an observation says: the columns that its content hash covers."""

DERIVED: Final = _columns(
    ("received_at", Kind.TIME),
    ("started_at", Kind.TIME),
    ("content_hash", Kind.COUNT),
    ("trace_key", Kind.COUNT),
    ("response_key", Kind.COUNT),
    ("request_key", Kind.COUNT),
    ("usage_key", Kind.COUNT),
    ("version", Kind.COUNT),
)
OBSERVATIONS: Final = OBSERVED + DERIVED
"""Table ``observations``, without its ALIAS columns (order as written, not as in the DDL)."""

CALLS_SETTLED: Final = _columns(
    ("org_id", Kind.WORD),
    ("started_minute", Kind.SECOND),
    ("call_id", Kind.BYTES_16),
    ("started_at", Kind.TIME),
    ("duration_ms", Kind.FLOAT_OR_NULL),
    ("ttft_ms", Kind.FLOAT_OR_NULL),
    ("provider", Kind.WORD),
    ("operation", Kind.WORD),
    ("request_model", Kind.WORD),
    ("response_model", Kind.WORD),
    ("response_id", Kind.TEXT),
    ("request_id", Kind.TEXT),
    ("input_tokens", Kind.COUNT_OR_NULL),
    ("input_uncached_tokens", Kind.COUNT_OR_NULL),
    ("cache_read_tokens", Kind.COUNT_OR_NULL),
    ("cache_write_tokens", Kind.COUNT_OR_NULL),
    ("cache_write_5m_tokens", Kind.COUNT_OR_NULL),
    ("cache_write_1h_tokens", Kind.COUNT_OR_NULL),
    ("output_tokens", Kind.COUNT_OR_NULL),
    ("reasoning_tokens", Kind.COUNT_OR_NULL),
    ("web_searches", Kind.COUNT_OR_NULL),
    ("usage", Kind.COUNT_MAP),
    ("usage_partial", Kind.BOOL),
    ("usage_estimated", Kind.BOOL),
    ("cost_usd", Kind.MONEY_OR_NULL),
    ("cost_low_usd", Kind.MONEY_OR_NULL),
    ("cost_high_usd", Kind.MONEY_OR_NULL),
    ("cost_status", Kind.WORD),
    ("cost_reason", Kind.WORD),
    ("class_cost_usd", Kind.MONEY_MAP),
    ("claimed_cost_usd", Kind.MONEY_OR_NULL),
    ("price_id", Kind.WORD),
    ("status", Kind.WORD),
    ("error_type", Kind.WORD),
    ("stop_reason", Kind.WORD),
    ("is_stream", Kind.BOOL_OR_NULL),
    ("is_batch", Kind.BOOL),
    ("batch_id", Kind.TEXT),
    ("service_tier", Kind.WORD),
    ("inference_geo", Kind.WORD),
    ("max_output_tokens", Kind.COUNT_OR_NULL),
    ("session_id", Kind.TEXT),
    ("user_id", Kind.TEXT),
    ("team_id", Kind.WORD),
    ("feature", Kind.WORD),
    ("labels", Kind.TEXT_MAP),
    ("service_name", Kind.WORD),
    ("environment", Kind.WORD),
    ("server_address", Kind.WORD),
    ("api_key_fingerprint", Kind.WORD),
    ("organization", Kind.WORD),
    ("project", Kind.WORD),
    ("workspace", Kind.WORD),
    ("trace_id", Kind.BYTES_16),
    ("span_id", Kind.BYTES_8),
    ("dialect", Kind.WORD),
    ("witness_count", Kind.SMALL),
    ("version", Kind.COUNT),
    ("is_deleted", Kind.FLAG_BYTE),
)

WITNESSES_SETTLED: Final = _columns(
    ("org_id", Kind.WORD),
    ("trace_id", Kind.BYTES_16),
    ("span_id", Kind.BYTES_8),
    ("signal", Kind.WORD),
    ("content_hash", Kind.COUNT),
    ("started_at", Kind.TIME),
    ("call_id", Kind.BYTES_16),
    ("role", Kind.WORD),
    ("reason", Kind.WORD),
    ("dialect", Kind.WORD),
    ("provider", Kind.WORD),
    ("model", Kind.WORD),
    ("would_be_cost_usd", Kind.MONEY_OR_NULL),
    ("version", Kind.COUNT),
    ("is_deleted", Kind.FLAG_BYTE),
)

SUPPRESSED_SETTLED: Final = _columns(
    ("org_id", Kind.WORD),
    ("minute", Kind.SECOND),
    ("content_hash", Kind.COUNT),
    ("reason", Kind.WORD),
    ("would_be_cost_usd", Kind.MONEY_OR_NULL),
    ("version", Kind.COUNT),
    ("is_deleted", Kind.FLAG_BYTE),
)

TOOL_CALLS_SETTLED: Final = _columns(
    ("org_id", Kind.WORD),
    ("started_at", Kind.TIME),
    ("call_id", Kind.BYTES_16),
    ("position", Kind.SMALL),
    ("tool_name", Kind.WORD),
    ("tool_call_id", Kind.TEXT),
    ("kind", Kind.WORD),
    ("is_error", Kind.BOOL_OR_NULL),
    ("input_bytes", Kind.COUNT_OR_NULL),
    ("output_bytes", Kind.COUNT_OR_NULL),
    ("input", Kind.TEXT_OR_NULL),
    ("output", Kind.TEXT_OR_NULL),
    ("version", Kind.COUNT),
    ("is_deleted", Kind.FLAG_BYTE),
)

SPAN_LINKS: Final = _columns(
    ("org_id", Kind.WORD),
    ("trace_id", Kind.BYTES_16),
    ("span_id", Kind.BYTES_8),
    ("parent_span_id", Kind.BYTES_8),
    ("started_at", Kind.TIME),
)
