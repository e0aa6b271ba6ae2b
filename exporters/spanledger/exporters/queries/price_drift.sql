-- By how much the billed unit price exceeds the booked one: of each connection, model and token class, on the newest
-- complete day of the last week that was billed, in the service tier that cost most there.
SELECT org_id, connection, provider, model, token_class, argMax(p.drift, (p.day, p.matched_billed_usd)) AS latest
FROM spanledger.implied_prices AS p
WHERE p.drift IS NOT NULL AND day < {today:Date} AND day >= {today:Date} - 7 AND ({all_orgs:Bool} OR org_id = {org_id:String})
GROUP BY org_id, connection, provider, model, token_class
ORDER BY org_id, connection, provider, model, token_class
