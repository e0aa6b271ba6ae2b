-- Whole minutes from the calls in them. Replaces, never adds: run again, it writes the same.
INSERT INTO spanledger.usage_by_minute_settled
    (bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
     api_key_fingerprint, operation, service_tier, is_batch, cost_status,
     calls, errors, unpriced_calls, input_tokens, output_tokens, usage, class_cost_usd,
     cost_usd, cost_low_usd, cost_high_usd, version)
SELECT
    started_minute AS bucket, org_id, provider,
    lower(if(response_model = '', request_model, response_model)) AS model,
    team_id, feature, service_name, environment, project, workspace,
    api_key_fingerprint, operation, service_tier, is_batch, cost_status,
    count(),
    countIf(status = 'error'),
    countIf(cost_status = 'unpriced' AND cost_reason NOT IN ('not_billed', 'subscription')),
    sum(ifNull(s.input_tokens, 0)),
    sum(ifNull(s.output_tokens, 0)),
    sumMap(s.usage),
    sumMap(s.class_cost_usd),
    sum(ifNull(s.cost_usd, toDecimal128(0, 12))),
    sum(ifNull(s.cost_low_usd, toDecimal128(0, 12))),
    sum(ifNull(s.cost_high_usd, toDecimal128(0, 12))),
    {version:UInt64}
FROM spanledger.calls_settled AS s FINAL
WHERE (org_id, started_minute) IN {buckets:Array(Tuple(String, DateTime('UTC')))} AND is_deleted = 0
GROUP BY bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
         api_key_fingerprint, operation, service_tier, is_batch, cost_status
