-- Booked spend by {{key}}, an array of texts made from the rollup's columns.
SELECT
    {{key}} AS place,
    sum(u.calls) AS calls,
    sum(u.errors) AS errors,
    sum(u.unpriced_calls) AS unpriced_calls,
    sumIf(u.calls, u.cost_status = 'unpriced') AS calls_without_cost,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.cost_usd) AS cost_usd,
    sumIf(u.calls, u.cost_status = 'bounded') AS bounded_calls,
    sumIf(u.cost_usd - u.cost_low_usd, u.cost_status = 'bounded') AS below,
    greatest(sumIf(u.cost_high_usd - u.cost_usd, u.cost_status = 'bounded'), 0) AS above
FROM {{source}} AS u
WHERE u.org_id = {org:String} AND u.bucket >= {since:DateTime('UTC')} AND u.bucket < {until:DateTime('UTC')}
GROUP BY place
ORDER BY place
