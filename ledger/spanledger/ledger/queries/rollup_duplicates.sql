-- Whole minutes of what was kept from billing twice. Replaces, never adds.
INSERT INTO spanledger.duplicates_by_minute_settled (bucket, org_id, reason, observations, cost_usd, version)
SELECT minute, org_id, reason, count(), sum(ifNull(would_be_cost_usd, toDecimal128(0, 12))), {version:UInt64}
FROM spanledger.suppressed_settled FINAL
WHERE (org_id, minute) IN {buckets:Array(Tuple(String, DateTime('UTC')))} AND is_deleted = 0
GROUP BY minute, org_id, reason
