-- Each counter's value, and what a downward correction still has to net against later growth.
SELECT org_id, metric, provider, model, sum(booked) AS value, greatest(sum(booked) - sum(truth), toDecimal128(0, 12)) AS pending
FROM
(
    SELECT org_id, entry.1 AS metric, provider, model, entry.2 AS truth, toDecimal128(0, 12) AS booked
    FROM
    (
        SELECT
            org_id, provider, model, sum(calls) AS n_calls, sum(tokens) AS n_tokens, sum(cost_usd) AS m_cost
        FROM spanledger.model_usage_by_hour_settled FINAL
        WHERE {org:String} = '' OR org_id = {org:String}
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
    WHERE {org:String} = '' OR org_id = {org:String}
)
GROUP BY org_id, metric, provider, model
HAVING value > 0
ORDER BY org_id, metric, provider, model
