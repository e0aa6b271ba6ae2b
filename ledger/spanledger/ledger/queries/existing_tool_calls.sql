-- As existing_calls, for the tool calls of these calls.
SELECT org_id, toUnixTimestamp64Nano(started_at), call_id, position
FROM spanledger.tool_calls_settled FINAL
WHERE org_id IN {orgs:Array(String)}
  AND call_id IN (SELECT toFixedString(unhex(arrayJoin({calls:Array(String)})), 16))
  AND is_deleted = 0
