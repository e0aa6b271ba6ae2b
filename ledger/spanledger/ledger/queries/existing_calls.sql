-- Which of these calls have a row, whatever it says? They may have to go.
SELECT DISTINCT org_id, toUnixTimestamp(started_minute), call_id, toUnixTimestamp64Nano(started_at)
FROM spanledger.calls_settled FINAL
WHERE started_minute IN (SELECT toDateTime(arrayJoin({minutes:Array(UInt32)}), 'UTC'))
  AND call_id IN (SELECT toFixedString(unhex(arrayJoin({calls:Array(String)})), 16))
  AND is_deleted = 0
