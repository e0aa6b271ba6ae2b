-- What was applied. Run before everything else, every time.
CREATE DATABASE IF NOT EXISTS spanledger {{on_cluster}};

CREATE TABLE IF NOT EXISTS {{table:schema_migrations}} {{on_cluster}}
(
    number UInt32,
    name String,
    applied_at DateTime64(3, 'UTC')
)
ENGINE = {{engine:ReplacingMergeTree(applied_at)}}
ORDER BY number;

{{distributed:schema_migrations:number}};
