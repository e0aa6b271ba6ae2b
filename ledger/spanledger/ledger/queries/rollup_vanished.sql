-- Label sets that the rollup just written did not write again: their calls moved or went, so nothing is left there.
INSERT INTO spanledger.usage_by_{{unit}}_settled
    (bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
     api_key_fingerprint, operation, service_tier, is_batch, cost_status,
     version)
SELECT
    bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
    api_key_fingerprint, operation, service_tier, is_batch, cost_status,
    {version:UInt64}
FROM spanledger.usage_by_{{unit}}_settled FINAL
WHERE (org_id, bucket) IN {buckets:Array(Tuple(String, DateTime('UTC')))} AND version < {version:UInt64} AND calls > 0
