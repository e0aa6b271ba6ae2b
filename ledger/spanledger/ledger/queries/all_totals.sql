-- As true_totals, for one org or all ('').
SELECT org_id, provider, model, sum(calls), sum(tokens), sum(cost_usd)
FROM spanledger.model_usage_by_hour_settled FINAL
WHERE {org:String} = '' OR org_id = {org:String}
GROUP BY org_id, provider, model
