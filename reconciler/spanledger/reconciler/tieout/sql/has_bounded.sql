-- Whether any call of the days has only bounds: a look at single calls is spared where there is none.
SELECT count() > 0 AS found
FROM spanledger.usage_by_day
WHERE org_id = {org:String} AND provider IN {providers:Array(String)} AND cost_status = 'bounded'
  AND bucket >= toStartOfDay({since:DateTime('UTC')}, 'UTC') AND bucket < {until:DateTime('UTC')}
