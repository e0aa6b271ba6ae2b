-- Current calls of one day that the price book may price anew: not what the provider itself said, not failed attempts.
SELECT *
FROM spanledger.calls_settled FINAL
WHERE is_deleted = 0
  AND started_minute >= {since:DateTime('UTC')} AND started_minute < {until:DateTime('UTC')}
  AND ({org:String} = '' OR org_id = {org:String})
  AND cost_status != 'exact'
  AND cost_reason NOT IN {quiet:Array(String)}
ORDER BY org_id, started_minute, call_id
