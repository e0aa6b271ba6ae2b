-- The days that hold calls in the range.
SELECT DISTINCT toDate(started_minute) AS day
FROM spanledger.calls_settled
WHERE started_minute >= {since:DateTime('UTC')} AND started_minute < {until:DateTime('UTC')}
  AND ({org:String} = '' OR org_id = {org:String})
ORDER BY day
