SELECT number, period, action, reason, statement, recorded_at
FROM spanledger.periods FINAL
WHERE org_id = {org:String}
ORDER BY number
