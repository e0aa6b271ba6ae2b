-- What was kept from billing twice among the calls of the last 24 hours.
SELECT
    org_id,
    reason,
    count() AS observations,
    sum(would_be_cost_usd) AS cost_usd
FROM spanledger.witnesses
WHERE role IN ('duplicate', 'aggregate') AND started_at >= {since:DateTime64(3, 'UTC')}
  AND ({all_orgs:Bool} OR org_id = {org_id:String})
GROUP BY org_id, reason
ORDER BY org_id, reason
