-- Booked cost of providers that no connection bills.
SELECT provider, sum(cost_usd) AS cost
FROM spanledger.usage_by_day
WHERE org_id = {org:String}
  AND bucket >= {since:DateTime('UTC')} AND bucket < {until:DateTime('UTC')}
  AND provider NOT IN (SELECT DISTINCT provider FROM spanledger.bill_lines WHERE org_id = {org:String})
GROUP BY provider
ORDER BY provider
