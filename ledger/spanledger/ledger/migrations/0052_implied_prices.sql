-- What providers charged for a unit, by day, beside what the ledger books for it. A day is written as a whole; a row
-- without quantity says that the day has none any more.
CREATE TABLE IF NOT EXISTS {{table:implied_price_versions}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    provider LowCardinality(String),
    day Date,
    model LowCardinality(String),
    token_class LowCardinality(String),
    service_tier LowCardinality(String),
    batch LowCardinality(String),
    quantity Decimal(38, 12),
    billed_usd Decimal(38, 12),
    -- US dollars for one unit.
    billed_unit_price Nullable(Decimal(38, 18)),
    -- The part that the ledger knows and prices.
    matched_quantity Decimal(38, 12),
    matched_billed_usd Decimal(38, 12),
    matched_booked_usd Decimal(38, 12),
    booked_unit_price Nullable(Decimal(38, 18)),
    -- By which share the billed price exceeds the booked one; 0 within rounding.
    drift Nullable(Decimal(18, 6)),
    is_final Bool,
    content_hash FixedString(16),
    computed_at DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = {{engine:MergeTree}}
ORDER BY (org_id, connection, day, version);

{{distributed:implied_price_versions:cityHash64(org_id, connection)}};

CREATE VIEW IF NOT EXISTS spanledger.implied_prices {{on_cluster}} AS
SELECT * EXCEPT (content_hash, version)
FROM spanledger.implied_price_versions
WHERE quantity > 0 AND (org_id, connection, day, version) IN
(
    SELECT org_id, connection, day, max(version)
    FROM spanledger.implied_price_versions
    GROUP BY org_id, connection, day
);
