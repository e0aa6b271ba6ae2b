-- The tie-outs of whole months that may still change: the current one and those that ended a short while ago.
SELECT org_id, connection, period, variance, coverage, billed_usd - booked_usd AS difference
FROM spanledger.tieouts
WHERE match(period, '^[0-9]{4}-[0-9]{2}$') AND period_end > {since:Date}
ORDER BY org_id, connection, period
