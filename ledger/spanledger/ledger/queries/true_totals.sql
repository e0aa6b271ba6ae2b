-- What the counters of every label set that appears in these hours should say, had nothing ever been corrected.
SELECT org_id, provider, model, sum(calls), sum(tokens), sum(cost_usd)
FROM spanledger.model_usage_by_hour_settled FINAL
WHERE (org_id, provider, model) IN
(
    SELECT DISTINCT org_id, provider, model
    FROM spanledger.model_usage_by_hour_settled
    WHERE (org_id, bucket) IN {buckets:Array(Tuple(String, DateTime('UTC')))}
)
GROUP BY org_id, provider, model
