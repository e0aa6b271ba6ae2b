-- The implied prices of days, as the last tie-outs found them.
SELECT connection, provider, day, model, token_class, service_tier, batch, quantity, billed_usd, billed_unit_price,
       matched_quantity, booked_unit_price, drift, is_final
FROM spanledger.implied_prices
WHERE org_id = {org:String} AND day >= {since:Date} AND day < {until:Date}
ORDER BY provider, model, token_class, service_tier, batch, connection, day
