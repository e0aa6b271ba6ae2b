-- The counters' truth: whole hours by model, from their minutes. Replaces, never adds.
INSERT INTO spanledger.model_usage_by_hour_settled (bucket, org_id, provider, model, calls, tokens, cost_usd, version)
SELECT
    toStartOfHour(s.bucket, 'UTC') AS start, org_id, lower(s.provider) AS biller, model,
    sum(s.calls), sum(s.input_tokens + s.output_tokens), sum(s.cost_usd), {version:UInt64}
FROM spanledger.usage_by_minute_settled AS s FINAL
WHERE s.bucket >= {low:DateTime('UTC')} AND s.bucket < {high:DateTime('UTC')}
  AND (org_id, toStartOfHour(s.bucket, 'UTC')) IN {buckets:Array(Tuple(String, DateTime('UTC')))} AND s.calls > 0
GROUP BY start, org_id, biller, model
