SELECT
    trace_key AS trace,
    content_hash AS content,
    response_key AS response,
    request_key AS request,
    usage_key AS usage,
    toUnixTimestamp64Nano(started_at) AS started,
    toInt64(least(ended_ns, 9000000000000000000)) AS ended
FROM spanledger.observations
WHERE started_at >= fromUnixTimestamp64Nano({low:Int64}, 'UTC') AND started_at < fromUnixTimestamp64Nano({high:Int64}, 'UTC')
  AND trace_key % {slices:UInt64} = {part:UInt64}
