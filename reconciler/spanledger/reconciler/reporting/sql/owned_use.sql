-- Who used what, by the provider's day and token class. {{owner}} is an array of the source's columns.
SELECT
    {{owner}} AS owner,
    toDate(bucket, {zone:String}) AS day,
    model,
    project,
    workspace,
    service_tier,
    is_batch,
    class,
    sum(quantity) AS used,
    sum(class_cost) AS cost
FROM
(
    SELECT
        *,
        arrayJoin(mapKeys(usage)) AS class,
        usage[class] AS quantity,
        -- A call with one exact amount for all its classes: by quantity.
        if(empty(class_cost_usd), toDecimal128(cost_usd * quantity / greatest(arraySum(mapValues(usage)), 1), 12),
           class_cost_usd[class]) AS class_cost
    FROM {{source}} AS u
    WHERE u.org_id = {org:String}
      AND u.provider IN {providers:Array(String)}
      AND u.bucket >= {since:DateTime('UTC')} AND u.bucket < {until:DateTime('UTC')}
)
GROUP BY owner, day, model, project, workspace, service_tier, is_batch, class
HAVING used > 0
ORDER BY ALL
