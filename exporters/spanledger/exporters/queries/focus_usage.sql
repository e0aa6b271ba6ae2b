-- Booked spend by day and class, at the grain of a FOCUS row.
SELECT
    toDate(bucket) AS day,
    provider,
    model,
    project,
    workspace,
    team_id,
    feature,
    service_tier,
    is_batch,
    cost_status,
    class,
    sum(quantity) AS quantity,
    sum(cost) AS cost
FROM
(
    SELECT
        *,
        arrayJoin(arrayConcat(mapKeys(usage), [''])) AS class,
        -- Money that no class carries (one exact amount for the call) gets a row of its own, counted in calls.
        if(class = '', calls, usage[class]) AS quantity,
        if(class = '', cost_usd - arraySum(mapValues(class_cost_usd)), class_cost_usd[class]) AS cost
    FROM spanledger.usage_by_day
    WHERE org_id = {org:String} AND bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
)
GROUP BY day, provider, model, project, workspace, team_id, feature, service_tier, is_batch, cost_status, class
HAVING (class != '' AND quantity > 0) OR cost != 0
ORDER BY ALL
