-- Whether the period's last entry in the log is a closing.
SELECT argMax(action, number) = 'close' AS closed
FROM spanledger.periods
WHERE org_id = {org:String} AND period = {period:String}
