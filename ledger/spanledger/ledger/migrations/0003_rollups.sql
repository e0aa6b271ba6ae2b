-- Usage by minute, hour and day. Buckets are recomputed and replaced, never added to: replay changes nothing.
CREATE TABLE IF NOT EXISTS {{table:usage_by_minute_settled}} {{on_cluster}}
(
    bucket DateTime('UTC'),
    org_id LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    team_id LowCardinality(String),
    feature LowCardinality(String),
    service_name LowCardinality(String),
    environment LowCardinality(String),
    project LowCardinality(String),
    workspace LowCardinality(String),
    api_key_fingerprint LowCardinality(String),
    operation LowCardinality(String),
    service_tier LowCardinality(String),
    is_batch Bool,
    cost_status LowCardinality(String),
    calls UInt64,
    errors UInt64,
    unpriced_calls UInt64,
    input_tokens UInt64,
    output_tokens UInt64,
    -- Quantities and costs of each token class and count.
    usage Map(LowCardinality(String), UInt64),
    class_cost_usd Map(LowCardinality(String), Decimal(38, 12)),
    cost_usd Decimal(38, 12),
    cost_low_usd Decimal(38, 12),
    cost_high_usd Decimal(38, 12),
    version UInt64
)
ENGINE = {{engine:ReplacingMergeTree(version)}}
PARTITION BY toYYYYMM(bucket)
ORDER BY (org_id, bucket, provider, model, team_id, feature, service_name, environment, project, workspace,
          api_key_fingerprint, operation, service_tier, is_batch, cost_status);

{{distributed:usage_by_minute_settled:cityHash64(org_id, bucket)}};

CREATE TABLE IF NOT EXISTS {{table:usage_by_hour_settled}} {{on_cluster}}
AS {{table:usage_by_minute_settled}}
ENGINE = {{engine:ReplacingMergeTree(version)}}
PARTITION BY toYYYYMM(bucket)
ORDER BY (org_id, bucket, provider, model, team_id, feature, service_name, environment, project, workspace,
          api_key_fingerprint, operation, service_tier, is_batch, cost_status);

{{distributed:usage_by_hour_settled:cityHash64(org_id, bucket)}};

CREATE TABLE IF NOT EXISTS {{table:usage_by_day_settled}} {{on_cluster}}
AS {{table:usage_by_minute_settled}}
ENGINE = {{engine:ReplacingMergeTree(version)}}
PARTITION BY toYYYYMM(bucket)
ORDER BY (org_id, bucket, provider, model, team_id, feature, service_name, environment, project, workspace,
          api_key_fingerprint, operation, service_tier, is_batch, cost_status);

{{distributed:usage_by_day_settled:cityHash64(org_id, bucket)}};

CREATE VIEW IF NOT EXISTS spanledger.usage_by_minute {{on_cluster}} AS
SELECT * EXCEPT (version) FROM spanledger.usage_by_minute_settled FINAL WHERE calls > 0;

CREATE VIEW IF NOT EXISTS spanledger.usage_by_hour {{on_cluster}} AS
SELECT * EXCEPT (version) FROM spanledger.usage_by_hour_settled FINAL WHERE calls > 0;

CREATE VIEW IF NOT EXISTS spanledger.usage_by_day {{on_cluster}} AS
SELECT * EXCEPT (version) FROM spanledger.usage_by_day_settled FINAL WHERE calls > 0;

-- What the counters are made from: few columns, so that a counter's truth is one short sum.
CREATE TABLE IF NOT EXISTS {{table:model_usage_by_hour_settled}} {{on_cluster}}
(
    bucket DateTime('UTC'),
    org_id LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    calls UInt64,
    tokens UInt64,
    cost_usd Decimal(38, 12),
    version UInt64
)
ENGINE = {{engine:ReplacingMergeTree(version)}}
PARTITION BY toYYYYMM(bucket)
ORDER BY (org_id, bucket, provider, model);

{{distributed:model_usage_by_hour_settled:cityHash64(org_id, provider, model)}};

-- Sums of non-negative deltas: a row, once written, is never taken back.
CREATE TABLE IF NOT EXISTS {{table:counters}} {{on_cluster}}
(
    org_id LowCardinality(String),
    metric LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    value Decimal(38, 12)
)
ENGINE = {{engine:SummingMergeTree(value)}}
ORDER BY (org_id, metric, provider, model);

{{distributed:counters:cityHash64(org_id, metric, provider, model)}};

-- What each ingest was about to touch, written before everything else: after a crash, rollups start again from here.
CREATE TABLE IF NOT EXISTS {{table:ingests}} {{on_cluster}}
(
    version UInt64,
    begun_at DateTime('UTC'),
    -- (org, minute)
    buckets Array(Tuple(String, DateTime('UTC'))),
    -- Rollups and counters hold everything up to this version.
    rolled_up_to UInt64
)
ENGINE = {{engine:MergeTree}}
ORDER BY version
TTL begun_at + INTERVAL 30 DAY;

{{distributed:ingests:version}};
