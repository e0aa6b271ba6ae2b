-- As rollup_vanished, for what was kept from billing twice.
INSERT INTO spanledger.duplicates_by_minute_settled (bucket, org_id, reason, version)
SELECT bucket, org_id, reason, {version:UInt64}
FROM spanledger.duplicates_by_minute_settled FINAL
WHERE (org_id, bucket) IN {buckets:Array(Tuple(String, DateTime('UTC')))} AND version < {version:UInt64} AND observations > 0
