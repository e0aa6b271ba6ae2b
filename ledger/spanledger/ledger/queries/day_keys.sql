SELECT
    trace_key AS trace,
    content_hash AS content,
    response_key AS response,
    request_key AS request,
    if(role = 'leaf', usage_key, 0) AS usage,
    service_name AS service,
    scope_name AS scope,
    toUnixTimestamp64Nano(started_at) AS started,
    toInt64(least(ended_ns, 9000000000000000000)) AS ended
FROM spanledger.observations
WHERE started_at >= fromUnixTimestamp64Nano({low:Int64}, 'UTC') AND started_at < fromUnixTimestamp64Nano({high:Int64}, 'UTC')
  AND trace_key % {slices:UInt64} = {part:UInt64}
SETTINGS output_format_arrow_low_cardinality_as_dictionary = 1, output_format_arrow_string_as_string = 1
