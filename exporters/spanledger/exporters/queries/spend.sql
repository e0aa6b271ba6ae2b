SELECT
    {{dimensions}}
    sum(u.calls) AS calls,
    sum(u.errors) AS errors,
    sum(u.unpriced_calls) AS unpriced_calls,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    -- An unknown price is never 0: only where some calls are priced, or none is unpriced, is there an amount.
    if(sum(u.unpriced_calls) > 0 AND countIf(u.cost_status != 'unpriced') = 0, NULL, sum(u.cost_usd)) AS cost_usd,
    if(sum(u.unpriced_calls) > 0 AND countIf(u.cost_status != 'unpriced') = 0, NULL, sum(u.cost_low_usd)) AS cost_low_usd,
    if(sum(u.unpriced_calls) > 0 AND countIf(u.cost_status != 'unpriced') = 0, NULL, sum(u.cost_high_usd)) AS cost_high_usd
FROM {{source}} AS u
WHERE u.bucket >= {since:DateTime('UTC')} AND u.bucket < {until:DateTime('UTC')}
  AND ({all_orgs:Bool} OR u.org_id = {org_id:String})
{{grouping}}
{{order}}
LIMIT {limit:UInt32}
