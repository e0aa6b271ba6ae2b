-- The latest tie-out of a whole month of every connection: those of single days are somebody's questions.
SELECT
    org_id,
    connection,
    argMax(provider, period_start) AS provider,
    argMax(period, period_start) AS latest,
    argMax(variance, period_start) AS variance,
    argMax(coverage, period_start) AS coverage,
    argMax(billed_usd - booked_usd, period_start) AS difference_usd
FROM spanledger.tieouts
WHERE match(period, '^[0-9]{4}-[0-9]{2}$') AND ({all_orgs:Bool} OR org_id = {org_id:String})
GROUP BY org_id, connection
ORDER BY org_id, connection
