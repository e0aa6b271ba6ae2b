-- What was kept from billing twice among the calls of the last 24 hours.
SELECT
    org_id,
    reason,
    sum(observations) AS observations,
    sum(cost_usd) AS cost_usd
FROM spanledger.duplicates_by_minute
WHERE bucket >= toStartOfMinute({since:DateTime64(3, 'UTC')}) AND ({all_orgs:Bool} OR org_id = {org_id:String})
GROUP BY org_id, reason
ORDER BY org_id, reason
