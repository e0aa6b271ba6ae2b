-- The counters as they stand.
SELECT org_id, metric, provider, model, sum(value)
FROM spanledger.counters
WHERE {org:String} = '' OR org_id = {org:String}
GROUP BY org_id, metric, provider, model
ORDER BY org_id, metric, provider, model
