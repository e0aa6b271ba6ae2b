-- 0 when nothing was ever dropped.
SELECT toUnixTimestamp(max(kept_from))
FROM spanledger.retention FINAL
WHERE subject = 'calls'
