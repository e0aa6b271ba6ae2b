-- The prices that stand for a commitment's cover, and which commitment it is.
SELECT DISTINCT price_id, conditions['commitment'], conditions['org'], conditions['project']
FROM spanledger.price_records
WHERE mapContains(conditions, 'commitment')
