-- The counters' truth: whole hours by model, from their minutes. Replaces, never adds.
INSERT INTO spanledger.model_usage_by_hour_settled (bucket, org_id, provider, model, calls, tokens, cost_usd, version)
WITH touched AS
(
    SELECT pair.1 AS org_id, toDateTime(pair.2, 'UTC') AS bucket
    FROM (SELECT arrayJoin(arrayZip({orgs:Array(String)}, {buckets:Array(UInt32)})) AS pair)
)
SELECT bucket, org_id, provider, model, sum(n_calls), sum(n_tokens), sum(m_cost), {version:UInt64}
FROM
(
    SELECT
        toStartOfHour(source.bucket, 'UTC') AS bucket, org_id, lower(source.provider) AS provider, model,
        calls AS n_calls, input_tokens + output_tokens AS n_tokens, cost_usd AS m_cost
    FROM spanledger.usage_by_minute_settled AS source FINAL
    WHERE source.bucket >= toDateTime({low:UInt32}, 'UTC') AND source.bucket < toDateTime({high:UInt32}, 'UTC')
      AND (org_id, toStartOfHour(source.bucket, 'UTC')) IN (SELECT org_id, bucket FROM touched) AND calls > 0
    UNION ALL
    SELECT bucket, org_id, provider, model, 0, 0, toDecimal128(0, 12)
    FROM spanledger.model_usage_by_hour_settled FINAL
    WHERE (org_id, bucket) IN (SELECT org_id, bucket FROM touched) AND calls > 0
)
GROUP BY bucket, org_id, provider, model
