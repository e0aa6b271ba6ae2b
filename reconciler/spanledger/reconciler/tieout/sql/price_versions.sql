-- Which version of a day's implied prices is current, and its content's hash.
SELECT day, max(version) AS current_version, argMax(content_hash, version) AS current_hash
FROM spanledger.implied_price_versions
WHERE org_id = {org:String} AND connection = {connection:String}
  AND day >= {since:Date} AND day < {until:Date}
GROUP BY day
