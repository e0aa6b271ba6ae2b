-- What the ledger held when a period was closed.
SELECT
    provider,
    model,
    team_id,
    feature,
    sum(calls) AS calls,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd,
    sum(unpriced_calls) AS unpriced_calls
FROM spanledger.usage_by_day
WHERE org_id = {org:String} AND bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
GROUP BY provider, model, team_id, feature
ORDER BY provider, model, team_id, feature
