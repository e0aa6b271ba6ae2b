-- Every rate that ever priced a call or stood in the price book: appended, never overwritten. valid_from and valid_to say
-- when it held, recorded_at when we knew it.
CREATE TABLE IF NOT EXISTS {{table:price_records}} {{on_cluster}}
(
    price_id LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    token_class LowCardinality(String),
    -- US dollars for `per` units.
    rate Decimal(38, 18),
    per UInt64,
    unit LowCardinality(String),
    conditions Map(LowCardinality(String), String),
    valid_from Nullable(Date),
    valid_to Nullable(Date),
    source LowCardinality(String),
    source_version LowCardinality(String),
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = {{engine:MergeTree}}
ORDER BY (price_id, token_class, recorded_at);

{{distributed:price_records:cityHash64(price_id)}};

-- Each rate once, as first recorded.
CREATE VIEW IF NOT EXISTS spanledger.prices {{on_cluster}} AS
SELECT
    price_id,
    provider,
    model,
    token_class,
    argMin(record.rate, record.recorded_at) AS rate,
    argMin(record.per, record.recorded_at) AS per,
    argMin(record.unit, record.recorded_at) AS unit,
    argMin(record.conditions, record.recorded_at) AS conditions,
    argMin(tuple(record.valid_from), record.recorded_at).1 AS valid_from,
    argMin(tuple(record.valid_to), record.recorded_at).1 AS valid_to,
    any(record.source) AS source,
    any(record.source_version) AS source_version,
    min(record.recorded_at) AS recorded_at
FROM spanledger.price_records AS record
GROUP BY price_id, provider, model, token_class;
