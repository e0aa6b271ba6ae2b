-- The bill's current lines whose period touches the days in question, by place.
SELECT
    toDate(period_start, {zone:String}) AS day,
    dateDiff('day', toDate(period_start, {zone:String}), toDate(period_end - INTERVAL 1 MILLISECOND, {zone:String})) + 1 AS days,
    kind,
    charge,
    provider,
    model,
    token_class,
    api_key,
    project,
    workspace,
    service_tier,
    is_batch,
    line_item,
    -- A place has a quantity only when every line in it has one.
    if(countIf(line.quantity IS NULL) = 0, sum(line.quantity), NULL) AS quantity,
    sum(line.amount_usd) AS amount_usd,
    countIf(line.amount IS NOT NULL AND line.amount_usd IS NULL) AS without_rate,
    line.currency AS currency,
    count() AS lines,
    min(line.is_final) AS is_final,
    arraySlice(arraySort(groupUniqArray(line.source_id)), 1, 20) AS source_ids
FROM spanledger.bill_lines_detail AS line
WHERE org_id = {org:String} AND connection = {connection:String} AND charge != 'memo'
  AND period_start < {until:DateTime64(3, 'UTC')} AND period_end > {since:DateTime64(3, 'UTC')}
GROUP BY day, days, kind, charge, provider, model, token_class, api_key, project, workspace, service_tier, is_batch, line_item, currency
ORDER BY ALL
