-- Settled calls, every version; the view `calls` shows the current one.
CREATE TABLE IF NOT EXISTS {{table:calls_settled}} {{on_cluster}}
(
    org_id LowCardinality(String),
    started_minute DateTime('UTC'),
    call_id FixedString(16),
    started_at DateTime64(9, 'UTC'),
    duration_ms Nullable(Float64),
    ttft_ms Nullable(Float64),
    provider LowCardinality(String),
    operation LowCardinality(String),
    request_model LowCardinality(String),
    response_model LowCardinality(String),
    response_id String,
    request_id String,
    input_tokens Nullable(UInt64),
    input_uncached_tokens Nullable(UInt64),
    cache_read_tokens Nullable(UInt64),
    cache_write_tokens Nullable(UInt64),
    cache_write_5m_tokens Nullable(UInt64),
    cache_write_1h_tokens Nullable(UInt64),
    output_tokens Nullable(UInt64),
    reasoning_tokens Nullable(UInt64),
    web_searches Nullable(UInt64),
    usage Map(LowCardinality(String), UInt64),
    usage_partial Bool,
    usage_estimated Bool,
    cost_usd Nullable(Decimal(38, 12)),
    cost_low_usd Nullable(Decimal(38, 12)),
    cost_high_usd Nullable(Decimal(38, 12)),
    cost_status LowCardinality(String),
    cost_reason LowCardinality(String),
    -- The share of each token class and count in cost_usd; sums to it exactly when the price book priced the call.
    class_cost_usd Map(LowCardinality(String), Decimal(38, 12)),
    claimed_cost_usd Nullable(Decimal(38, 12)),
    price_id LowCardinality(String),
    status LowCardinality(String),
    error_type LowCardinality(String),
    stop_reason LowCardinality(String),
    is_stream Nullable(Bool),
    is_batch Bool,
    batch_id String,
    service_tier LowCardinality(String),
    max_output_tokens Nullable(UInt64),
    session_id String,
    user_id String,
    team_id LowCardinality(String),
    feature LowCardinality(String),
    labels Map(LowCardinality(String), String),
    service_name LowCardinality(String),
    environment LowCardinality(String),
    server_address LowCardinality(String),
    api_key_fingerprint LowCardinality(String),
    organization LowCardinality(String),
    project LowCardinality(String),
    workspace LowCardinality(String),
    trace_id FixedString(16),
    span_id FixedString(8),
    dialect LowCardinality(String),
    witness_count UInt32,
    version UInt64,
    is_deleted UInt8,

    INDEX version_index version TYPE minmax GRANULARITY 1,
    INDEX call_id_index call_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{engine:ReplacingMergeTree(version, is_deleted)}}
PARTITION BY toYYYYMM(started_minute)
ORDER BY (org_id, started_minute, call_id);

{{distributed:calls_settled:cityHash64(call_id)}};

-- Exactly one row per billable call.
CREATE VIEW IF NOT EXISTS spanledger.calls {{on_cluster}} AS
SELECT
    org_id,
    lower(hex(call_id)) AS call_id,
    started_at,
    duration_ms,
    ttft_ms,
    provider,
    operation,
    request_model,
    response_model,
    response_id,
    input_tokens,
    input_uncached_tokens,
    cache_read_tokens,
    cache_write_tokens,
    cache_write_5m_tokens,
    cache_write_1h_tokens,
    output_tokens,
    reasoning_tokens,
    web_searches,
    usage,
    cost_usd,
    cost_low_usd,
    cost_high_usd,
    cost_status,
    price_id,
    status,
    error_type,
    stop_reason,
    is_stream,
    is_batch,
    batch_id,
    service_tier,
    session_id,
    user_id,
    team_id,
    feature,
    labels,
    service_name,
    environment,
    server_address,
    api_key_fingerprint,
    project,
    workspace,
    if(trace_id = toFixedString('', 16), '', lower(hex(trace_id))) AS trace_id,
    if(span_id = toFixedString('', 8), '', lower(hex(span_id))) AS span_id,
    dialect,
    witness_count,
    fromUnixTimestamp64Nano(toInt64(version), 'UTC') AS settled_at
FROM spanledger.calls_settled FINAL
WHERE is_deleted = 0;

-- Why a call has no cost, or what its cost is made of: what `calls` leaves out.
CREATE VIEW IF NOT EXISTS spanledger.call_costs {{on_cluster}} AS
SELECT
    org_id,
    lower(hex(call_id)) AS call_id,
    started_at,
    cost_usd,
    cost_status,
    cost_reason,
    class_cost_usd,
    claimed_cost_usd,
    price_id
FROM spanledger.calls_settled FINAL
WHERE is_deleted = 0;

-- What a call looked like before it was settled or priced anew.
CREATE TABLE IF NOT EXISTS {{table:calls_history}} {{on_cluster}}
(
    org_id LowCardinality(String),
    started_at DateTime64(9, 'UTC'),
    call_id FixedString(16),
    version UInt64,
    -- The version that replaced it, and why: settled (new evidence) or repriced.
    replaced_by UInt64,
    reason LowCardinality(String),
    cost_usd Nullable(Decimal(38, 12)),
    cost_low_usd Nullable(Decimal(38, 12)),
    cost_high_usd Nullable(Decimal(38, 12)),
    cost_status LowCardinality(String),
    cost_reason LowCardinality(String),
    class_cost_usd Map(LowCardinality(String), Decimal(38, 12)),
    price_id LowCardinality(String),
    usage Map(LowCardinality(String), UInt64),
    provider LowCardinality(String),
    model LowCardinality(String)
)
ENGINE = {{engine:ReplacingMergeTree}}
PARTITION BY toYYYYMM(started_at)
ORDER BY (org_id, call_id, version);

{{distributed:calls_history:cityHash64(call_id)}};

-- Which evidence stands behind a call that more than one observation witnesses, and what was kept from billing.
CREATE TABLE IF NOT EXISTS {{table:witnesses_settled}} {{on_cluster}}
(
    org_id LowCardinality(String),
    trace_id FixedString(16),
    span_id FixedString(8),
    signal LowCardinality(String),
    content_hash UInt64,
    started_at DateTime64(9, 'UTC'),
    call_id FixedString(16),
    -- winner, duplicate, detail (part of a call) or aggregate (sums calls; never bills)
    role LowCardinality(String),
    -- same_span, response_id, request_id, ancestor, usage_join, aggregate, sum_of_children, ...
    reason LowCardinality(String),
    dialect LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    would_be_cost_usd Nullable(Decimal(38, 12)),
    version UInt64,
    is_deleted UInt8
)
ENGINE = {{engine:ReplacingMergeTree(version, is_deleted)}}
PARTITION BY toYYYYMM(started_at)
ORDER BY (org_id, trace_id, span_id, signal, content_hash);

{{distributed:witnesses_settled:cityHash64(trace_id)}};

CREATE VIEW IF NOT EXISTS spanledger.witnesses {{on_cluster}} AS
SELECT
    org_id,
    if(trace_id = toFixedString('', 16), '', lower(hex(trace_id))) AS trace_id,
    if(span_id = toFixedString('', 8), '', lower(hex(span_id))) AS span_id,
    signal,
    content_hash,
    started_at,
    if(call_id = toFixedString('', 16), '', lower(hex(call_id))) AS call_id,
    role,
    reason,
    dialect,
    provider,
    model,
    would_be_cost_usd
FROM spanledger.witnesses_settled FINAL
WHERE is_deleted = 0;

CREATE TABLE IF NOT EXISTS {{table:tool_calls_settled}} {{on_cluster}}
(
    org_id LowCardinality(String),
    started_at DateTime64(9, 'UTC'),
    call_id FixedString(16),
    position UInt32,
    tool_name LowCardinality(String),
    tool_call_id String,
    kind LowCardinality(String),
    is_error Nullable(Bool),
    input_bytes Nullable(UInt64),
    output_bytes Nullable(UInt64),
    input Nullable(String),
    output Nullable(String),
    version UInt64,
    is_deleted UInt8
)
ENGINE = {{engine:ReplacingMergeTree(version, is_deleted)}}
PARTITION BY toYYYYMM(started_at)
ORDER BY (org_id, call_id, position);

{{distributed:tool_calls_settled:cityHash64(call_id)}};

-- input and output stay NULL unless the application captures content.
CREATE VIEW IF NOT EXISTS spanledger.tool_calls {{on_cluster}} AS
SELECT
    org_id,
    lower(hex(call_id)) AS call_id,
    started_at,
    tool_name,
    tool_call_id,
    kind,
    is_error,
    input_bytes,
    output_bytes,
    input,
    output
FROM spanledger.tool_calls_settled FINAL
WHERE is_deleted = 0;
