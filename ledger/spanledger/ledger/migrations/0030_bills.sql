-- What providers report. A pull writes the lines of its slots (a day, a billing period) under a new version, then commits
-- all of those slots with one insert into bill_slots: readers see a slot's old lines or its new ones, never a mixture, and
-- lines that vanished are gone. Lines of a version that was never committed (a crash) are invisible.
CREATE TABLE IF NOT EXISTS {{table:bill_line_versions}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    stream LowCardinality(String),
    slot LowCardinality(String),
    version UInt64,
    provider LowCardinality(String),
    kind LowCardinality(String),
    period_start DateTime64(3, 'UTC'),
    period_end DateTime64(3, 'UTC'),
    model LowCardinality(String),
    token_class LowCardinality(String),
    project LowCardinality(String),
    workspace LowCardinality(String),
    api_key LowCardinality(String),
    service_tier LowCardinality(String),
    is_batch Nullable(Bool),
    line_item LowCardinality(String),
    quantity Nullable(Decimal(38, 12)),
    unit LowCardinality(String),
    amount Nullable(Decimal(38, 12)),
    currency LowCardinality(String),
    amount_usd Nullable(Decimal(38, 12)),
    -- The same at list price, in the line's currency, where the provider says so.
    list_amount Nullable(Decimal(38, 12)),
    -- usage, purchase, tax, credit, adjustment; memo lines are no part of the bill.
    charge LowCardinality(String),
    is_final Bool,
    source_id String,
    -- Every further dimension by the provider's own name; amount_exact holds digits beyond the twelfth decimal.
    dimensions Map(LowCardinality(String), String),
    fetched_at DateTime64(3, 'UTC')
)
ENGINE = {{engine:MergeTree}}
PARTITION BY toYYYYMM(period_start)
ORDER BY (org_id, connection, stream, slot, version);

{{distributed:bill_line_versions:cityHash64(org_id, connection)}};

-- The commits: the highest version of a slot is the current one.
CREATE TABLE IF NOT EXISTS {{table:bill_slots}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    stream LowCardinality(String),
    slot LowCardinality(String),
    version UInt64,
    run_id String,
    lines UInt64,
    -- Of the lines without version and fetch time: two pulls with the same hash said the same.
    content_hash FixedString(16),
    is_final Bool,
    -- The dimensions that were asked for: an empty value of another one means "not asked", not "none".
    grouped_by Array(LowCardinality(String)),
    fetched_at DateTime64(3, 'UTC'),
    committed_at DateTime64(3, 'UTC')
)
ENGINE = {{engine:ReplacingMergeTree}}
ORDER BY (org_id, connection, stream, slot, version);

{{distributed:bill_slots:cityHash64(org_id, connection)}};

CREATE VIEW IF NOT EXISTS spanledger.bill_slots_current {{on_cluster}} AS
SELECT
    org_id,
    connection,
    stream,
    slot,
    max(version) AS current_version,
    argMax(run_id, version) AS run_id,
    argMax(lines, version) AS lines,
    argMax(content_hash, version) AS content_hash,
    argMax(is_final, version) AS is_final,
    argMax(grouped_by, version) AS grouped_by,
    argMax(fetched_at, version) AS fetched_at,
    uniqExact(version) AS times_stated
FROM spanledger.bill_slots
GROUP BY org_id, connection, stream, slot;

-- Only the current version of each line.
CREATE VIEW IF NOT EXISTS spanledger.bill_lines {{on_cluster}} AS
SELECT
    org_id,
    connection,
    provider,
    kind,
    period_start,
    period_end,
    model,
    token_class,
    project,
    workspace,
    api_key,
    service_tier,
    is_batch,
    line_item,
    quantity,
    unit,
    amount,
    currency,
    amount_usd,
    is_final,
    source_id,
    fetched_at
FROM spanledger.bill_line_versions
WHERE (org_id, connection, stream, slot, version) IN
(
    SELECT org_id, connection, stream, slot, max(version)
    FROM spanledger.bill_slots
    GROUP BY org_id, connection, stream, slot
)
AND charge != 'memo';

-- The same lines with what bill_lines leaves out, memo lines included.
CREATE VIEW IF NOT EXISTS spanledger.bill_lines_detail {{on_cluster}} AS
SELECT *
FROM spanledger.bill_line_versions
WHERE (org_id, connection, stream, slot, version) IN
(
    SELECT org_id, connection, stream, slot, max(version)
    FROM spanledger.bill_slots
    GROUP BY org_id, connection, stream, slot
);
