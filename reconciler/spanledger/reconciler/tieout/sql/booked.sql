-- What the ledger holds by the provider's day and token class. `spanledger.usage_by_day` serves providers whose day is UTC;
-- for others the caller reads `spanledger.usage_by_hour` and the day begins in {zone}.
SELECT
    toDate(bucket, {zone:String}) AS day,
    provider,
    model,
    project,
    workspace,
    service_tier,
    is_batch,
    class,
    sum(if(cost_status = 'unpriced', 0, quantity)) AS priced_quantity,
    sum(class_cost) AS cost,
    sum(if(cost_status = 'unpriced', quantity, 0)) AS unpriced_quantity
FROM
(
    SELECT
        *,
        arrayJoin(arrayConcat(mapKeys(usage), [''])) AS class,
        if(class = '', 0, usage[class]) AS quantity,
        -- Money that no class carries (the provider gave one exact amount for the call) stands under class ''.
        if(class = '', cost_usd - arraySum(mapValues(class_cost_usd)), class_cost_usd[class]) AS class_cost
    FROM {{source}}
    WHERE org_id = {org:String}
      AND provider IN {providers:Array(String)}
      AND bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
)
GROUP BY day, provider, model, project, workspace, service_tier, is_batch, class
HAVING priced_quantity > 0 OR unpriced_quantity > 0 OR cost != 0
ORDER BY ALL
