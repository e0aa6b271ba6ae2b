SELECT connection, period, max(version) AS current_version, argMax(content_hash, version) AS current_hash
FROM spanledger.tieout_versions
WHERE org_id = {org:String}
GROUP BY connection, period
