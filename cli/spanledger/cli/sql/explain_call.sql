-- One call; {call:String} may be the beginning of its id.
SELECT *
FROM spanledger.calls
WHERE org_id = {org:String} AND startsWith(call_id, {call:String})
LIMIT 2
