-- Calls of the last hours whose cost is unknown.
SELECT org_id, provider, model, sum(unpriced_calls) AS calls
FROM spanledger.usage_by_hour
WHERE bucket >= {since:DateTime('UTC')} AND unpriced_calls > 0
GROUP BY org_id, provider, model
ORDER BY org_id, provider, model
