SELECT count()
FROM spanledger.observations
WHERE started_at >= fromUnixTimestamp64Nano({low:Int64}, 'UTC') AND started_at < fromUnixTimestamp64Nano({high:Int64}, 'UTC')
