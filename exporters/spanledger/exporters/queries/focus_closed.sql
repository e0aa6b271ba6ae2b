-- Whether the period's last entry in the log is a closing, and its statement.
SELECT argMax(action, number) = 'close' AS closed, argMax(statement, number) AS document
FROM spanledger.periods
WHERE org_id = {org:String} AND period = {period:String}
