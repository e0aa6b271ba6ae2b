-- What a budget counts, bucket by bucket. {{source}} is a rollup, {{where}} the budget's dimensions.
SELECT bucket, sum(cost_usd) AS cost, sum(unpriced_calls) AS unpriced
FROM {{source}}
WHERE org_id = {org:String}
  AND bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
  {{where}}
GROUP BY bucket
ORDER BY bucket
