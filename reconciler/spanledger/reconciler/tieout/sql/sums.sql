-- What each stream of each connection bills in the period: two equal sums of one provider are one invoice, twice.
SELECT connection, stream, provider, sum(amount_usd) AS amount
FROM spanledger.bill_lines_detail
WHERE org_id = {org:String} AND kind = 'cost' AND charge != 'memo'
  AND period_start >= {since:DateTime64(3, 'UTC')} AND period_start < {until:DateTime64(3, 'UTC')}
GROUP BY connection, stream, provider
HAVING amount != 0
ORDER BY connection, stream, provider
