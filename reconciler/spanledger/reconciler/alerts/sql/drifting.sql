-- Organisations with a billed unit price of the last days that is off by more than the limit.
SELECT DISTINCT org_id
FROM spanledger.implied_prices
WHERE day >= {since:Date} AND day < {today:Date} AND abs(drift) > {limit:Decimal(38, 18)}
ORDER BY org_id
