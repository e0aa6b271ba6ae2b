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
        -- Money that no class carries (one exact amount for the call, a share of provisioned throughput): by quantity
        -- over the classes without a cost of their own, so that searches beside it keep what they cost.
        cost_usd - arraySum(mapValues(class_cost_usd)) AS rest,
        mapFilter((name, n) -> NOT mapContains(class_cost_usd, name), usage) AS free,
        if(empty(free), usage, free) AS carriers,
        class_cost_usd[class]
            + toDecimal128(rest * carriers[class] / greatest(arraySum(mapValues(carriers)), 1), 12) AS class_cost
    FROM {{source}} AS u
    WHERE u.org_id = {org:String}
      AND u.provider IN {providers:Array(String)}
      AND u.bucket >= {since:DateTime('UTC')} AND u.bucket < {until:DateTime('UTC')}
)
GROUP BY owner, day, model, project, workspace, service_tier, is_batch, class
HAVING used > 0
ORDER BY ALL
