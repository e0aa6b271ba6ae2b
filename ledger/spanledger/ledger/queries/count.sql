-- Book what the counters of the touched label sets lack; never take anything back. Run again, it books nothing.
INSERT INTO spanledger.counters (org_id, metric, provider, model, value)
WITH touched AS
(
    SELECT DISTINCT org_id, provider, model
    FROM spanledger.model_usage_by_hour_settled
    WHERE (org_id, bucket) IN
    (
        SELECT pair.1, toDateTime(pair.2, 'UTC')
        FROM (SELECT arrayJoin(arrayZip({orgs:Array(String)}, {buckets:Array(UInt32)})) AS pair)
    )
)
SELECT org_id, metric, provider, model, sum(truth) - sum(booked) AS delta
FROM
(
    SELECT org_id, entry.1 AS metric, provider, model, entry.2 AS truth, toDecimal128(0, 12) AS booked
    FROM
    (
        SELECT
            org_id, provider, model, sum(calls) AS n_calls, sum(tokens) AS n_tokens, sum(cost_usd) AS m_cost
        FROM spanledger.model_usage_by_hour_settled FINAL
        WHERE (org_id, provider, model) IN (SELECT org_id, provider, model FROM touched)
        GROUP BY org_id, provider, model
    )
    ARRAY JOIN if(
        model = '',
        [('llm_requests_unknown_model_total', toDecimal128(n_calls, 12))],
        [('llm_requests_total', toDecimal128(n_calls, 12)),
         ('llm_tokens_total', toDecimal128(n_tokens, 12)),
         ('llm_cost_usd_total', m_cost)]) AS entry
    UNION ALL
    SELECT org_id, metric, provider, model, toDecimal128(0, 12), value
    FROM spanledger.counters
    WHERE (org_id, provider, model) IN (SELECT org_id, provider, model FROM touched)
)
GROUP BY org_id, metric, provider, model
HAVING delta > 0
