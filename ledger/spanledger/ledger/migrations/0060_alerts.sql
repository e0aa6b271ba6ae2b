-- The state of each alert that ever left `ok`: what was told, and whom it still has to reach. Replay tells nothing twice.
CREATE TABLE IF NOT EXISTS {{table:alert_versions}} {{on_cluster}}
(
    org_id LowCardinality(String),
    -- budget, budget_forecast, burn_rate, variance, coverage, unpriced or sync
    kind LowCardinality(String),
    subject String,
    -- ok, closed (no longer watched), or what it has come to
    state LowCardinality(String),
    severity LowCardinality(String),
    title String,
    text String,
    value Decimal(38, 12),
    threshold Decimal(38, 12),
    changed_at DateTime64(3, 'UTC'),
    -- References to the channels that have not taken it yet.
    undelivered Array(String),
    version UInt64
)
ENGINE = {{engine:ReplacingMergeTree(version)}}
ORDER BY (org_id, kind, subject);

{{distributed:alert_versions:cityHash64(org_id)}};

CREATE VIEW IF NOT EXISTS spanledger.alerts {{on_cluster}} AS
SELECT * EXCEPT (version) FROM spanledger.alert_versions FINAL;
