-- Leaves of other emitters with equal usage in the same service, about the same time, where one side has no id.
SELECT {{read}}
FROM spanledger.observations FINAL
WHERE started_at BETWEEN fromUnixTimestamp64Nano({low:Int64}, 'UTC') AND fromUnixTimestamp64Nano({high:Int64}, 'UTC')
  AND greatest(started_ns, ended_ns) >= {ended:UInt64}
  AND role = 'leaf'
  AND scope_name != {scope:String}
  AND (usage_key IN {without_id:Array(UInt64)} OR response_key = 0 AND usage_key IN {with_id:Array(UInt64)})
