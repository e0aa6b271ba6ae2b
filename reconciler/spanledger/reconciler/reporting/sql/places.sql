-- Booked quantity and cost by provider, model, tier and token class; class '' holds money that no class carries.
SELECT
    provider,
    model,
    if(is_batch, concat(service_tier, ' batch'), service_tier) AS tier,
    class,
    sum(quantity) AS used,
    sum(class_cost) AS cost
FROM
(
    SELECT
        *,
        arrayJoin(arrayConcat(mapKeys(usage), [''])) AS class,
        if(class = '', 0, usage[class]) AS quantity,
        if(class = '', cost_usd - arraySum(mapValues(class_cost_usd)), class_cost_usd[class]) AS class_cost
    FROM spanledger.usage_by_day
    WHERE org_id = {org:String} AND cost_status != 'unpriced'
      AND bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
)
GROUP BY provider, model, tier, class
HAVING used > 0 OR cost != 0
ORDER BY ALL
