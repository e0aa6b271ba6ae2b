-- Whole days from their hours. Replaces, never adds: run again, it writes the same.
INSERT INTO spanledger.usage_by_day_settled
    (bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
     api_key_fingerprint, operation, service_tier, is_batch, cost_status,
     calls, errors, unpriced_calls, input_tokens, output_tokens, usage, class_cost_usd,
     cost_usd, cost_low_usd, cost_high_usd, version)
SELECT
    toStartOfDay(s.bucket, 'UTC') AS start, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
    api_key_fingerprint, operation, service_tier, is_batch, cost_status,
    sum(s.calls), sum(s.errors), sum(s.unpriced_calls), sum(s.input_tokens), sum(s.output_tokens),
    sumMap(s.usage), sumMap(s.class_cost_usd), sum(s.cost_usd), sum(s.cost_low_usd), sum(s.cost_high_usd),
    {version:UInt64}
FROM spanledger.usage_by_hour_settled AS s FINAL
WHERE s.bucket >= {low:DateTime('UTC')} AND s.bucket < {high:DateTime('UTC')}
  AND (org_id, toStartOfDay(s.bucket, 'UTC')) IN {buckets:Array(Tuple(String, DateTime('UTC')))} AND s.calls > 0
GROUP BY start, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
         api_key_fingerprint, operation, service_tier, is_batch, cost_status
