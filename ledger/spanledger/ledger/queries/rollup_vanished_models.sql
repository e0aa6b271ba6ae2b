-- As rollup_vanished, for the counters' truth.
INSERT INTO spanledger.model_usage_by_hour_settled (bucket, org_id, provider, model, version)
SELECT bucket, org_id, provider, model, {version:UInt64}
FROM spanledger.model_usage_by_hour_settled FINAL
WHERE (org_id, bucket) IN {buckets:Array(Tuple(String, DateTime('UTC')))} AND version < {version:UInt64} AND calls > 0
