-- Whole days from their hours. Replaces, never adds: run again, it writes the same.
INSERT INTO spanledger.usage_by_day_settled
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
        toStartOfDay(source.bucket, 'UTC') AS bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
        api_key_fingerprint, operation, service_tier, is_batch, cost_status,
        calls AS n_calls, errors AS n_errors, unpriced_calls AS n_unpriced, input_tokens AS n_input,
        output_tokens AS n_output, usage AS m_usage, class_cost_usd AS m_class_cost, cost_usd AS m_cost,
        cost_low_usd AS m_low, cost_high_usd AS m_high
    FROM spanledger.usage_by_hour_settled AS source FINAL
    WHERE source.bucket >= toDateTime({low:UInt32}, 'UTC') AND source.bucket < toDateTime({high:UInt32}, 'UTC')
      AND (org_id, toStartOfDay(source.bucket, 'UTC')) IN (SELECT org_id, bucket FROM touched) AND calls > 0
    UNION ALL
    -- What stands there now, as zeros, so that label sets which are gone are replaced too.
    SELECT
        bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
        api_key_fingerprint, operation, service_tier, is_batch, cost_status,
        0, 0, 0, 0, 0,
        CAST(map(), 'Map(LowCardinality(String), UInt64)'),
        CAST(map(), 'Map(LowCardinality(String), Decimal(38, 12))'),
        toDecimal128(0, 12), toDecimal128(0, 12), toDecimal128(0, 12)
    FROM spanledger.usage_by_day_settled FINAL
    WHERE (org_id, bucket) IN (SELECT org_id, bucket FROM touched) AND calls > 0
)
GROUP BY bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
         api_key_fingerprint, operation, service_tier, is_batch, cost_status
