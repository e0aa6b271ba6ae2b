SELECT token_id, org_id, name, created_at, revoked_at, token_hash
FROM spanledger.api_tokens FINAL
WHERE token_id = {id:String}
