-- When each secret of a connection was given: keys want to be changed now and then. On a single store both statements
-- name the same table; on a cluster the Distributed table needs the column too.
ALTER TABLE {{table:connection_versions}} {{on_cluster}}
    ADD COLUMN IF NOT EXISTS secrets_at Map(LowCardinality(String), DateTime64(3, 'UTC')) AFTER secrets;

ALTER TABLE spanledger.connection_versions {{on_cluster}}
    ADD COLUMN IF NOT EXISTS secrets_at Map(LowCardinality(String), DateTime64(3, 'UTC')) AFTER secrets;

CREATE OR REPLACE VIEW spanledger.connections {{on_cluster}} AS
SELECT
    org_id,
    name,
    connector,
    base_url,
    settings,
    secrets,
    secrets_at,
    account,
    created_at,
    fromUnixTimestamp64Nano(toInt64(version), 'UTC') AS changed_at
FROM spanledger.connection_versions FINAL
WHERE is_deleted = 0;
