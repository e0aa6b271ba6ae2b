-- By an id of the answer or of the request: what is one to an emitter may be the other to the next.
SELECT {{read}}
FROM spanledger.observations FINAL
WHERE started_at BETWEEN fromUnixTimestamp64Nano({low:Int64}, 'UTC') AND fromUnixTimestamp64Nano({high:Int64}, 'UTC')
  AND (response_key IN {ids:Array(UInt64)} OR request_key IN {ids:Array(UInt64)})
