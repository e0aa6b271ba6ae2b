-- Provider connections. `secrets` holds references (env:NAME, file:...) or sealed envelopes, never a secret.
CREATE TABLE IF NOT EXISTS {{table:connection_versions}} {{on_cluster}}
(
    org_id LowCardinality(String),
    name String,
    connector LowCardinality(String),
    base_url String,
    settings Map(LowCardinality(String), String),
    secrets Map(LowCardinality(String), String),
    -- The provider's id of the account behind the key, pinned at the first successful test.
    account String,
    created_at DateTime64(3, 'UTC'),
    version UInt64,
    is_deleted UInt8
)
ENGINE = {{engine:ReplacingMergeTree(version, is_deleted)}}
ORDER BY (org_id, name);

{{distributed:connection_versions:cityHash64(org_id, name)}};

CREATE VIEW IF NOT EXISTS spanledger.connections {{on_cluster}} AS
SELECT
    org_id,
    name,
    connector,
    base_url,
    settings,
    secrets,
    account,
    created_at,
    fromUnixTimestamp64Nano(toInt64(version), 'UTC') AS changed_at
FROM spanledger.connection_versions FINAL
WHERE is_deleted = 0;

-- One row per slice of a stream's pull, and one (step 'run') when the whole pull of a stream has ended.
CREATE TABLE IF NOT EXISTS {{table:sync_runs}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    stream LowCardinality(String),
    run_id String,
    -- slice or run
    step LowCardinality(String),
    since Date,
    until Date,
    -- What the run as a whole was asked for: an interrupted run is taken up again by the next one with the same range.
    run_since Date,
    run_until Date,
    state LowCardinality(String),
    -- Whether it ran to its end; a run that did not is taken up again.
    is_complete Bool,
    detail String,
    started_at DateTime64(3, 'UTC'),
    finished_at DateTime64(3, 'UTC'),
    requests UInt64,
    retries UInt64,
    response_bytes UInt64,
    lines UInt64,
    slots_changed UInt64,
    slots_unchanged UInt64,
    -- What could not be read in full, by kind: unclassified, without_amount, without_rate, ...
    notes Map(LowCardinality(String), UInt64)
)
ENGINE = {{engine:MergeTree}}
PARTITION BY toYYYYMM(started_at)
ORDER BY (org_id, connection, stream, started_at);

{{distributed:sync_runs:cityHash64(org_id, connection)}};

-- Every response that a pull was read from; the body stands once in raw_bodies, zstd-compressed, under its SHA-256.
CREATE TABLE IF NOT EXISTS {{table:raw_responses}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    stream LowCardinality(String),
    run_id String,
    since Date,
    until Date,
    position UInt32,
    url String,
    status UInt16,
    content_type LowCardinality(String),
    sha256 FixedString(32),
    body_bytes UInt64,
    -- What the parser needs beside the body (the request's own facts), as JSON.
    context String,
    version UInt64,
    fetched_at DateTime64(3, 'UTC')
)
ENGINE = {{engine:MergeTree}}
PARTITION BY toYYYYMM(fetched_at)
ORDER BY (org_id, connection, stream, since, version, position);

{{distributed:raw_responses:cityHash64(org_id, connection)}};

CREATE TABLE IF NOT EXISTS {{table:raw_bodies}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    sha256 FixedString(32),
    body String CODEC(NONE)
)
ENGINE = {{engine:ReplacingMergeTree}}
ORDER BY (org_id, connection, sha256);

{{distributed:raw_bodies:cityHash64(org_id, connection)}};

-- Names for the provider's ids: projects, workspaces, API keys, users.
CREATE TABLE IF NOT EXISTS {{table:account_objects}} {{on_cluster}}
(
    org_id LowCardinality(String),
    connection LowCardinality(String),
    kind LowCardinality(String),
    id String,
    name String,
    hint String,
    status LowCardinality(String),
    fetched_at DateTime64(3, 'UTC')
)
ENGINE = {{engine:ReplacingMergeTree(fetched_at)}}
ORDER BY (org_id, connection, kind, id);

{{distributed:account_objects:cityHash64(org_id, connection)}};

-- Dated exchange rates: US dollars for one unit of a currency.
CREATE TABLE IF NOT EXISTS {{table:fx_rates}} {{on_cluster}}
(
    currency LowCardinality(String),
    day Date,
    usd Decimal(38, 18),
    source LowCardinality(String),
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = {{engine:ReplacingMergeTree(recorded_at)}}
ORDER BY (currency, day);

{{distributed:fx_rates:cityHash64(currency)}};
