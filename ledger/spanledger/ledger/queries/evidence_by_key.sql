-- By the provider's response id, or by its request id.
SELECT {{read}}
FROM spanledger.observations FINAL
WHERE started_at BETWEEN fromUnixTimestamp64Nano({low:Int64}, 'UTC') AND fromUnixTimestamp64Nano({high:Int64}, 'UTC')
  AND (response_key IN {responses:Array(UInt64)} OR request_key IN {requests:Array(UInt64)})
