-- The last 24 hours, minute by minute: what the rolling gauges show.
SELECT
    org_id,
    lower(provider) AS provider,
    lower(model) AS model,
    sum(cost_usd) AS cost_usd,
    sum(unpriced_calls) AS unpriced_calls
FROM spanledger.usage_by_minute
WHERE bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')} AND ({all_orgs:Bool} OR org_id = {org_id:String})
GROUP BY org_id, provider, model
ORDER BY org_id, provider, model
