-- What was kept from billing twice, in the order of time: the same evidence as in `witnesses`, few columns.
CREATE TABLE IF NOT EXISTS {{table:suppressed_settled}} {{on_cluster}}
(
    org_id LowCardinality(String),
    minute DateTime('UTC'),
    content_hash UInt64,
    reason LowCardinality(String),
    would_be_cost_usd Nullable(Decimal(38, 12)),
    version UInt64,
    is_deleted UInt8
)
ENGINE = {{engine:ReplacingMergeTree(version, is_deleted)}}
PARTITION BY toYYYYMM(minute)
ORDER BY (org_id, minute, content_hash);

{{distributed:suppressed_settled:cityHash64(org_id, minute)}};

-- By minute and by what gave it away. Recomputed and replaced as the other rollups are.
CREATE TABLE IF NOT EXISTS {{table:duplicates_by_minute_settled}} {{on_cluster}}
(
    bucket DateTime('UTC'),
    org_id LowCardinality(String),
    reason LowCardinality(String),
    observations UInt64,
    cost_usd Decimal(38, 12),
    version UInt64
)
ENGINE = {{engine:ReplacingMergeTree(version)}}
PARTITION BY toYYYYMM(bucket)
ORDER BY (org_id, bucket, reason);

{{distributed:duplicates_by_minute_settled:cityHash64(org_id, bucket)}};

CREATE VIEW IF NOT EXISTS spanledger.duplicates_by_minute {{on_cluster}} AS
SELECT * EXCEPT (version) FROM spanledger.duplicates_by_minute_settled FINAL WHERE observations > 0;

-- What stores from before have.
INSERT INTO spanledger.suppressed_settled
SELECT org_id, toStartOfMinute(toDateTime(started_at, 'UTC')), content_hash, reason, would_be_cost_usd, version, 0
FROM spanledger.witnesses_settled FINAL
WHERE is_deleted = 0 AND role IN ('duplicate', 'aggregate');

INSERT INTO spanledger.duplicates_by_minute_settled
SELECT minute, org_id, reason, count(), sum(ifNull(would_be_cost_usd, toDecimal128(0, 12))), max(version)
FROM spanledger.suppressed_settled FINAL
WHERE is_deleted = 0
GROUP BY minute, org_id, reason;
