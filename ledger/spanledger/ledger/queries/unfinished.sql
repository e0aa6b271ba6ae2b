-- What was begun after the last rollup that is known to be complete.
SELECT version, arrayMap(bucket -> (bucket.1, toUnixTimestamp(bucket.2)), buckets)
FROM spanledger.ingests
WHERE version > (SELECT max(rolled_up_to) FROM spanledger.ingests)
