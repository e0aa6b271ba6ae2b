CREATE TABLE IF NOT EXISTS {{table:orgs}} {{on_cluster}}
(
    org_id String,
    name String,
    created_at DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = {{engine:ReplacingMergeTree(version)}}
ORDER BY org_id;

{{distributed:orgs:cityHash64(org_id)}};

-- Only hashes: a token is shown once, when it is made.
CREATE TABLE IF NOT EXISTS {{table:api_tokens}} {{on_cluster}}
(
    token_id String,
    org_id String,
    name String,
    token_hash FixedString(32),
    created_at DateTime64(3, 'UTC'),
    revoked_at Nullable(DateTime64(3, 'UTC')),
    version UInt64
)
ENGINE = {{engine:ReplacingMergeTree(version)}}
ORDER BY token_id;

{{distributed:api_tokens:cityHash64(token_id)}};
