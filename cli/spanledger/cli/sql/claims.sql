-- Calls whose emitter claims a cost, beside ours.
SELECT
    calls.dialect AS dialect,
    calls.provider AS provider,
    calls.request_model AS request_model,
    calls.response_model AS response_model,
    toUnixTimestamp64Nano(calls.started_at) AS started_ns,
    calls.usage AS usage,
    calls.service_tier AS service_tier,
    costs.inference_geo AS inference_geo,
    calls.is_batch AS is_batch,
    calls.project AS project,
    costs.cost_usd AS cost_usd,
    costs.claimed_cost_usd AS claimed_cost_usd
FROM spanledger.call_costs AS costs
INNER JOIN spanledger.calls AS calls ON calls.org_id = costs.org_id AND calls.call_id = costs.call_id
WHERE costs.org_id = {org:String} AND costs.claimed_cost_usd IS NOT NULL AND costs.cost_status != 'claimed'
  AND costs.cost_usd IS NOT NULL
  AND calls.started_at >= {since:DateTime('UTC')}
ORDER BY calls.started_at DESC
LIMIT {limit:UInt32}
