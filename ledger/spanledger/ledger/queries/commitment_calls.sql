-- A pool's calls of one day, in the order in which their shares are cut.
SELECT *
FROM spanledger.calls_settled FINAL
WHERE is_deleted = 0
  AND started_minute >= {since:DateTime('UTC')} AND started_minute < {until:DateTime('UTC')}
  AND price_id IN {prices:Array(String)} AND cost_usd IS NOT NULL
ORDER BY org_id, started_at, call_id
