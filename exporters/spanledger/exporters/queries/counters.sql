SELECT metric, org_id, lower(provider) AS provider, lower(model) AS model, sum(value) AS value
FROM spanledger.counters
WHERE {all_orgs:Bool} OR org_id = {org_id:String}
GROUP BY metric, org_id, provider, model
ORDER BY metric, org_id, provider, model
