-- Which of these pieces of evidence are in the store already?
SELECT DISTINCT content_hash
FROM spanledger.observations
WHERE started_at BETWEEN fromUnixTimestamp64Nano({low:Int64}, 'UTC') AND fromUnixTimestamp64Nano({high:Int64}, 'UTC')
  AND content_hash IN {contents:Array(UInt64)}
