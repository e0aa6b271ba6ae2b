-- The columns of the rollups, from single calls: for dimensions that no rollup has.
(
    SELECT
        org_id,
        {{bucket}}(started_minute, 'UTC') AS bucket,
        provider,
        lower(if(response_model = '', request_model, response_model)) AS model,
        team_id, feature, service_name, environment, project, workspace, session_id, user_id, cost_status,
        1 AS calls,
        status = 'error' AS errors,
        cost_status = 'unpriced' AND cost_reason NOT IN ('not_billed', 'subscription') AS unpriced_calls,
        ifNull(input_tokens, 0) AS input_tokens,
        ifNull(output_tokens, 0) AS output_tokens,
        ifNull(cost_usd, 0) AS cost_usd,
        ifNull(cost_low_usd, 0) AS cost_low_usd,
        ifNull(cost_high_usd, 0) AS cost_high_usd
    FROM spanledger.calls_settled FINAL
    WHERE is_deleted = 0
      AND started_minute >= {since:DateTime('UTC')} AND started_minute < {until:DateTime('UTC')}
      AND ({all_orgs:Bool} OR org_id = {org_id:String})
)
