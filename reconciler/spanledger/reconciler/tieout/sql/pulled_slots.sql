-- The days and months that a connection's syncs and imports have committed.
SELECT DISTINCT slot
FROM spanledger.bill_slots
WHERE org_id = {org:String} AND connection = {connection:String}
