-- How many calls an organisation has.
SELECT count() FROM spanledger.calls WHERE org_id = {org:String}
