-- Calls whose usage is partly unknown, by the provider's day: what is booked for them, and how much more they may cost.
SELECT
    toDate(started_minute, {zone:String}) AS day,
    lower(if(response_model = '', request_model, response_model)) AS model,
    project,
    workspace,
    service_tier,
    is_batch,
    count() AS calls,
    sum(ifNull(c.cost_usd, 0)) AS cost,
    sum(if(c.cost_high_usd IS NULL, 0, greatest(c.cost_high_usd - ifNull(c.cost_usd, 0), 0))) AS room,
    countIf(c.cost_high_usd IS NULL) AS open_calls
FROM spanledger.calls_settled AS c FINAL
WHERE is_deleted = 0 AND org_id = {org:String} AND provider IN {providers:Array(String)}
  AND started_minute >= {since:DateTime('UTC')} AND started_minute < {until:DateTime('UTC')}
  AND cost_status = 'bounded'
  AND hasAny(splitByChar(',', toString(cost_reason)), ['partial_usage', 'output_unknown', 'input_unknown', 'estimated_usage'])
GROUP BY day, model, project, workspace, service_tier, is_batch
ORDER BY ALL
