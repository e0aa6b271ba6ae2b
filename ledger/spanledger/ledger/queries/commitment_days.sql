-- A pool's calls by day: how many have no share of their commitment yet, and what the others share together. A share is
-- what of a cost no class carries.
WITH has(splitByChar(',', toString(cost_reason)), {share:String}) AS has_share
SELECT
    toDate(started_minute) AS day,
    countIf(NOT has_share),
    sumIf(assumeNotNull(cost_usd) - arraySum(mapValues(class_cost_usd)), has_share)
FROM spanledger.calls_settled FINAL
WHERE is_deleted = 0
  AND started_minute >= {since:DateTime('UTC')} AND started_minute < {until:DateTime('UTC')}
  AND price_id IN {prices:Array(String)} AND cost_usd IS NOT NULL
GROUP BY day
ORDER BY day
