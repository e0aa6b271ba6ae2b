-- Calls that want a price: by provider, model and reason.
SELECT
    calls.provider AS provider,
    if(calls.response_model = '', calls.request_model, calls.response_model) AS model,
    costs.cost_reason AS reason,
    count() AS number,
    sum(calls.input_tokens) AS input_tokens,
    sum(calls.output_tokens) AS output_tokens,
    min(calls.started_at) AS first_seen,
    max(calls.started_at) AS last_seen
FROM spanledger.call_costs AS costs
INNER JOIN spanledger.calls AS calls ON calls.org_id = costs.org_id AND calls.call_id = costs.call_id
WHERE costs.org_id = {org:String} AND costs.cost_status = 'unpriced'
  AND costs.cost_reason NOT IN ('not_billed', 'subscription')
GROUP BY provider, model, reason
ORDER BY number DESC, provider, model
