SELECT token_hash, org_id
FROM spanledger.api_tokens FINAL
WHERE revoked_at IS NULL
