-- Cost before credits by Google's billing day; credits are asked for apart (google_credits.sql).
SELECT
    FORMAT_DATE('%F', DATE(usage_start_time, 'America/Los_Angeles')) AS day,
    invoice.month AS invoice_month,
    service.description AS service,
    sku.id AS sku_id,
    sku.description AS sku,
    project.id AS project,
    location.region AS region,
    currency AS currency,
    cost_type AS cost_type,
    TO_JSON_STRING(ARRAY(SELECT AS STRUCT l.key, l.value FROM UNNEST(labels) l WHERE l.key IN UNNEST(@labels) ORDER BY l.key)) AS labels,
    {{resource}} AS resource,
    usage.unit AS unit,
    CAST(NULL AS STRING) AS credit,
    SUM(CAST(cost AS NUMERIC)) AS amount,
    SUM(CAST(usage.amount AS NUMERIC)) AS used
FROM `{{table}}`
WHERE usage_start_time >= @since AND usage_start_time < @until
  -- Rows arrive after their usage: this bounds the partitions that are read.
  AND export_time >= @since
  AND (ARRAY_LENGTH(@services) = 0 OR service.description IN UNNEST(@services))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
