-- Single calls with the columns of a rollup, for what no rollup has: session, user, open upper bounds.
(
    SELECT
        org_id,
        started_minute AS bucket,
        provider,
        lower(if(response_model = '', request_model, response_model)) AS model,
        team_id, feature, service_name, environment, project, workspace, api_key_fingerprint, session_id, user_id,
        operation, service_tier, is_batch, cost_status,
        1 AS calls,
        status = 'error' AS errors,
        cost_status = 'unpriced' AND cost_reason NOT IN ('not_billed', 'subscription') AS unpriced_calls,
        ifNull(c.input_tokens, 0) AS input_tokens,
        ifNull(c.output_tokens, 0) AS output_tokens,
        usage,
        class_cost_usd,
        cost_status = 'bounded' AND c.cost_high_usd IS NULL AS is_open,
        ifNull(c.cost_usd, 0) AS cost_usd,
        ifNull(c.cost_low_usd, 0) AS cost_low_usd,
        ifNull(c.cost_high_usd, 0) AS cost_high_usd
    FROM spanledger.calls_settled AS c FINAL
    WHERE is_deleted = 0 AND org_id = {org:String}
      AND started_minute >= {since:DateTime('UTC')} AND started_minute < {until:DateTime('UTC')}
)
