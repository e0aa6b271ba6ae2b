-- The log of closed and reopened periods: append-only, each entry a statement that holds the hash of the one before it.
CREATE TABLE IF NOT EXISTS {{table:periods}} {{on_cluster}}
(
    org_id LowCardinality(String),
    number UInt64,
    period String,
    -- close or reopen
    action LowCardinality(String),
    reason String,
    digest FixedString(64),
    -- The canonical JSON document, as an auditor gets it.
    statement String CODEC(ZSTD(3)),
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = {{engine:ReplacingMergeTree}}
ORDER BY (org_id, number);

{{distributed:periods:cityHash64(org_id)}};

-- Billed money spread over those who caused it; the rows of a connection and period sum to its bill exactly.
CREATE TABLE IF NOT EXISTS {{table:allocation_versions}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    period String,
    -- The dimensions of `owner`, in order.
    dimensions Array(LowCardinality(String)),
    owner Array(String),
    day Date,
    -- usage, tool_fee, credit, tax or unmatched
    charge LowCardinality(String),
    amount_usd Decimal(38, 12),
    version UInt64
)
ENGINE = {{engine:MergeTree}}
ORDER BY (org_id, connection, period, dimensions, version);

{{distributed:allocation_versions:cityHash64(org_id, connection)}};

CREATE VIEW IF NOT EXISTS spanledger.allocations {{on_cluster}} AS
SELECT * EXCEPT (version)
FROM spanledger.allocation_versions
WHERE (org_id, connection, period, dimensions, version) IN
(
    SELECT org_id, connection, period, dimensions, max(version)
    FROM spanledger.allocation_versions
    GROUP BY org_id, connection, period, dimensions
);
