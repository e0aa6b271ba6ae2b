-- Which of these calls have a row? Those that are no call's any more have to go.
SELECT org_id, toUnixTimestamp(started_minute), call_id, toUnixTimestamp64Nano(started_at)
FROM spanledger.calls_settled FINAL
WHERE org_id IN {orgs:Array(String)}
  AND started_minute IN {minutes:Array(DateTime('UTC'))}
  AND call_id IN (SELECT toFixedString(unhex(arrayJoin({calls:Array(String)})), 16))
  AND is_deleted = 0
