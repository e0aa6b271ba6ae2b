-- One call's cost with what it is made of; {call:String} may be the beginning of the id.
SELECT
    costs.call_id AS call_id,
    calls.provider AS provider,
    if(calls.response_model = '', calls.request_model, calls.response_model) AS model,
    calls.started_at AS started_at,
    calls.usage AS usage,
    costs.cost_usd AS cost_usd,
    calls.cost_low_usd AS cost_low_usd,
    calls.cost_high_usd AS cost_high_usd,
    costs.cost_status AS cost_status,
    costs.cost_reason AS cost_reason,
    costs.class_cost_usd AS class_cost_usd,
    costs.claimed_cost_usd AS claimed_cost_usd,
    costs.price_id AS price_id
FROM spanledger.call_costs AS costs
INNER JOIN spanledger.calls AS calls ON calls.org_id = costs.org_id AND calls.call_id = costs.call_id
WHERE costs.org_id = {org:String} AND startsWith(costs.call_id, {call:String})
LIMIT 2
