-- Whole minutes from the calls in them. Replaces, never adds: run again, it writes the same.
INSERT INTO spanledger.usage_by_minute_settled
    (bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
     api_key_fingerprint, operation, service_tier, is_batch, cost_status,
     calls, errors, unpriced_calls, input_tokens, output_tokens, usage, class_cost_usd,
     cost_usd, cost_low_usd, cost_high_usd, version)
WITH touched AS
(
    SELECT pair.1 AS org_id, toDateTime(pair.2, 'UTC') AS bucket
    FROM (SELECT arrayJoin(arrayZip({orgs:Array(String)}, {buckets:Array(UInt32)})) AS pair)
)
SELECT
    bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
    api_key_fingerprint, operation, service_tier, is_batch, cost_status,
    sum(n_calls), sum(n_errors), sum(n_unpriced), sum(n_input), sum(n_output), sumMap(m_usage), sumMap(m_class_cost),
    sum(m_cost), sum(m_low), sum(m_high), {version:UInt64}
FROM
(
    SELECT
        started_minute AS bucket, org_id, provider,
        lower(if(response_model = '', request_model, response_model)) AS model,
        team_id, feature, service_name, environment, project, workspace,
        api_key_fingerprint, operation, service_tier, is_batch, cost_status,
        1 AS n_calls,
        status = 'error' AS n_errors,
        cost_status = 'unpriced' AND cost_reason NOT IN ('not_billed', 'subscription') AS n_unpriced,
        ifNull(input_tokens, 0) AS n_input,
        ifNull(output_tokens, 0) AS n_output,
        usage AS m_usage,
        class_cost_usd AS m_class_cost,
        ifNull(cost_usd, toDecimal128(0, 12)) AS m_cost,
        ifNull(cost_low_usd, toDecimal128(0, 12)) AS m_low,
        ifNull(cost_high_usd, toDecimal128(0, 12)) AS m_high
    FROM spanledger.calls_settled FINAL
    WHERE (org_id, started_minute) IN (SELECT org_id, bucket FROM touched) AND is_deleted = 0
    UNION ALL
    -- What stands there now, as zeros, so that label sets which are gone are replaced too.
    SELECT
        bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
        api_key_fingerprint, operation, service_tier, is_batch, cost_status,
        0, 0, 0, 0, 0,
        CAST(map(), 'Map(LowCardinality(String), UInt64)'),
        CAST(map(), 'Map(LowCardinality(String), Decimal(38, 12))'),
        toDecimal128(0, 12), toDecimal128(0, 12), toDecimal128(0, 12)
    FROM spanledger.usage_by_minute_settled FINAL
    WHERE (org_id, bucket) IN (SELECT org_id, bucket FROM touched) AND calls > 0
)
GROUP BY bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
         api_key_fingerprint, operation, service_tier, is_batch, cost_status
