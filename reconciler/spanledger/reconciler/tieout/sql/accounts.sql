-- Connections with bill lines around the period, who bills through them, and at which hours (UTC) their lines begin.
SELECT
    connection,
    arraySort(groupUniqArray(provider)) AS providers,
    groupUniqArray(toHour(period_start, 'UTC')) AS hours,
    min(period_start) AS first
FROM spanledger.bill_lines
WHERE org_id = {org:String}
  AND period_start < {until:DateTime64(3, 'UTC')} AND period_end > {since:DateTime64(3, 'UTC')}
GROUP BY connection
ORDER BY connection
