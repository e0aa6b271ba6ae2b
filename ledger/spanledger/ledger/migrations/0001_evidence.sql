-- Evidence: one row per span or log event that says something about a model call. Immutable; the first receipt wins.
CREATE TABLE IF NOT EXISTS {{table:observations}} {{on_cluster}}
(
    org_id LowCardinality(String),
    -- Raw ids; zero bytes mean absent.
    trace_id FixedString(16),
    span_id FixedString(8),
    parent_span_id FixedString(8),
    signal LowCardinality(String),
    role LowCardinality(String),
    scope_name LowCardinality(String),
    scope_version LowCardinality(String),
    dialect LowCardinality(String),
    received_at DateTime64(9, 'UTC'),
    -- When the call started as far as can be believed; started_ns and ended_ns are what was sent.
    started_at DateTime64(9, 'UTC'),
    started_ns UInt64,
    ended_ns UInt64,
    ttft_ns Nullable(UInt64),
    provider LowCardinality(String),
    operation LowCardinality(String),
    request_model LowCardinality(String),
    response_model LowCardinality(String),
    response_id String,
    request_id String,
    input_uncached Nullable(UInt64),
    cache_read Nullable(UInt64),
    cache_write Nullable(UInt64),
    cache_write_5m Nullable(UInt64),
    cache_write_1h Nullable(UInt64),
    input_audio Nullable(UInt64),
    input_image Nullable(UInt64),
    output_text Nullable(UInt64),
    reasoning Nullable(UInt64),
    output_audio Nullable(UInt64),
    output_image Nullable(UInt64),
    usage_counts Map(LowCardinality(String), UInt64),
    usage_partial Bool,
    usage_estimated Bool,
    status LowCardinality(String),
    error_type LowCardinality(String),
    http_status Nullable(UInt32),
    stop_reason LowCardinality(String),
    is_stream Nullable(Bool),
    is_batch Bool,
    batch_id String,
    service_tier LowCardinality(String),
    max_output_tokens Nullable(UInt64),
    exact_cost_usd Nullable(Decimal(38, 12)),
    claimed_cost_usd Nullable(Decimal(38, 12)),
    claimed_price_id LowCardinality(String),
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
    tool_calls String,
    notes String,
    -- 64-bit keys by which settlement finds what belongs together; 0 = none. See spanledger.ledger.keys.
    content_hash UInt64,
    trace_key UInt64,
    response_key UInt64,
    request_key UInt64,
    usage_key UInt64,
    -- The earliest receipt has the highest version.
    version UInt64,

    input_tokens Nullable(UInt64) ALIAS
        if(coalesce(input_uncached, cache_read, cache_write, cache_write_5m, cache_write_1h, input_audio, input_image) IS NULL, NULL,
           ifNull(input_uncached, 0) + ifNull(cache_read, 0) + ifNull(cache_write, 0) + ifNull(cache_write_5m, 0)
           + ifNull(cache_write_1h, 0) + ifNull(input_audio, 0) + ifNull(input_image, 0)),
    output_tokens Nullable(UInt64) ALIAS
        if(coalesce(output_text, reasoning, output_audio, output_image) IS NULL, NULL,
           ifNull(output_text, 0) + ifNull(reasoning, 0) + ifNull(output_audio, 0) + ifNull(output_image, 0)),

    INDEX response_key_index response_key TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX request_key_index request_key TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX usage_key_index usage_key TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{engine:ReplacingMergeTree(version)}}
PARTITION BY toYYYYMMDD(started_at)
ORDER BY (org_id, trace_id, span_id, signal, content_hash);

{{distributed:observations:cityHash64(trace_id)}};

-- The place of spans that say nothing about a model call: needed to find a call's ancestors across them.
CREATE TABLE IF NOT EXISTS {{table:span_links}} {{on_cluster}}
(
    org_id LowCardinality(String),
    trace_id FixedString(16),
    span_id FixedString(8),
    parent_span_id FixedString(8),
    started_at DateTime64(9, 'UTC')
)
ENGINE = {{engine:ReplacingMergeTree}}
PARTITION BY toYYYYMMDD(started_at)
ORDER BY (org_id, trace_id, span_id)
TTL toDateTime(started_at) + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1;

{{distributed:span_links:cityHash64(trace_id)}};
