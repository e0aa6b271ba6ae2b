-- Tie-outs: one version per connection and period and change of content; the views show the current one.
CREATE TABLE IF NOT EXISTS {{table:tieout_versions}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    provider LowCardinality(String),
    period String,
    period_start Date,
    period_end Date,
    billed_usd Decimal(38, 12),
    booked_usd Decimal(38, 12),
    booked_high_usd Decimal(38, 12),
    coverage Nullable(Decimal(18, 6)),
    variance Decimal(18, 6),
    missing_days Array(Date),
    problems Array(String),
    -- Of the content: the same result is not written twice.
    content_hash FixedString(16),
    computed_at DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = {{engine:ReplacingMergeTree(version)}}
ORDER BY (org_id, connection, period);

{{distributed:tieout_versions:cityHash64(org_id, connection)}};

CREATE TABLE IF NOT EXISTS {{table:tieout_residual_versions}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    period String,
    version UInt64,
    residual LowCardinality(String),
    day Date,
    model LowCardinality(String),
    token_class LowCardinality(String),
    api_key LowCardinality(String),
    project LowCardinality(String),
    workspace LowCardinality(String),
    service_tier LowCardinality(String),
    batch LowCardinality(String),
    -- Billed minus booked; the residuals of a tie-out sum to it exactly.
    amount_usd Decimal(38, 12),
    quantity Nullable(Decimal(38, 12)),
    billed_unit_price Nullable(Decimal(38, 18)),
    booked_unit_price Nullable(Decimal(38, 18)),
    cause String,
    source_ids Array(String)
)
ENGINE = {{engine:MergeTree}}
ORDER BY (org_id, connection, period, version, residual, day);

{{distributed:tieout_residual_versions:cityHash64(org_id, connection)}};

CREATE VIEW IF NOT EXISTS spanledger.tieouts {{on_cluster}} AS
SELECT * EXCEPT (content_hash, version) FROM spanledger.tieout_versions FINAL;

CREATE VIEW IF NOT EXISTS spanledger.tieout_residuals {{on_cluster}} AS
SELECT * EXCEPT (version)
FROM spanledger.tieout_residual_versions
WHERE (org_id, connection, period, version) IN
(
    SELECT org_id, connection, period, max(version)
    FROM spanledger.tieout_versions
    GROUP BY org_id, connection, period
);
