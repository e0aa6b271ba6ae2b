-- What the ledger still holds call by call. Older days live on in the rollups by hour and day, which are never dropped.
CREATE TABLE IF NOT EXISTS {{table:retention}} {{on_cluster}}
(
    subject LowCardinality(String),
    kept_from DateTime('UTC'),
    version UInt64
)
ENGINE = {{engine:ReplacingMergeTree(version)}}
ORDER BY subject;

{{distributed:retention:cityHash64(subject)}};
