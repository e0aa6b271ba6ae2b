SELECT token_id, org_id, name, created_at, revoked_at
FROM spanledger.api_tokens FINAL
WHERE {org:String} = '' OR org_id = {org:String}
ORDER BY created_at, token_id
