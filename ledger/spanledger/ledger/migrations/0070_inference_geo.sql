-- Where inference ran, where that is known: some places cost more. On a single store the two statements for a table name
-- the same one; on a cluster the Distributed table needs the column too.
ALTER TABLE {{table:observations}} {{on_cluster}}
    ADD COLUMN IF NOT EXISTS inference_geo LowCardinality(String) AFTER service_tier;

ALTER TABLE spanledger.observations {{on_cluster}}
    ADD COLUMN IF NOT EXISTS inference_geo LowCardinality(String) AFTER service_tier;

ALTER TABLE {{table:calls_settled}} {{on_cluster}}
    ADD COLUMN IF NOT EXISTS inference_geo LowCardinality(String) AFTER service_tier;

ALTER TABLE spanledger.calls_settled {{on_cluster}}
    ADD COLUMN IF NOT EXISTS inference_geo LowCardinality(String) AFTER service_tier;

CREATE OR REPLACE VIEW spanledger.call_costs {{on_cluster}} AS
SELECT
    org_id,
    lower(hex(call_id)) AS call_id,
    started_at,
    cost_usd,
    cost_status,
    cost_reason,
    class_cost_usd,
    claimed_cost_usd,
    price_id,
    inference_geo
FROM spanledger.calls_settled FINAL
WHERE is_deleted = 0;
