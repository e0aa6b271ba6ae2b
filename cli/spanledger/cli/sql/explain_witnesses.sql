-- The evidence behind one call: what was recorded as its witnesses, or the one observation that nobody else repeats.
SELECT
    lower(hex(seen.trace_id)) AS trace_id,
    lower(hex(seen.span_id)) AS span_id,
    seen.signal AS signal,
    seen.dialect AS dialect,
    seen.scope_name AS scope_name,
    seen.service_name AS service_name,
    seen.received_at AS received_at,
    if(witness.role = '', 'winner', witness.role) AS role,
    if(witness.reason = '', 'the only evidence', witness.reason) AS reason,
    witness.would_be_cost_usd AS would_be_cost_usd,
    seen.provider AS provider,
    seen.operation AS operation,
    seen.request_model AS request_model,
    seen.response_model AS response_model,
    seen.response_id AS response_id,
    seen.input_tokens AS input_tokens,
    seen.input_uncached AS input_uncached_tokens,
    seen.cache_read AS cache_read_tokens,
    seen.cache_write_5m AS cache_write_5m_tokens,
    seen.cache_write_1h AS cache_write_1h_tokens,
    seen.output_tokens AS output_tokens,
    seen.reasoning AS reasoning_tokens,
    seen.stop_reason AS stop_reason,
    seen.service_tier AS service_tier,
    seen.session_id AS session_id,
    seen.user_id AS user_id,
    seen.team_id AS team_id,
    seen.feature AS feature,
    seen.project AS project,
    seen.workspace AS workspace,
    seen.server_address AS server_address
FROM spanledger.observations AS seen FINAL
LEFT JOIN (SELECT * FROM spanledger.witnesses WHERE org_id = {org:String} AND call_id = {call:String}) AS witness
    ON witness.org_id = seen.org_id AND witness.content_hash = seen.content_hash
WHERE seen.org_id = {org:String}
  AND (witness.call_id = {call:String}
       OR ({alone:Bool} AND seen.trace_id = unhex({trace:String}) AND seen.span_id = unhex({span:String})
           AND seen.response_id = {response:String} AND toUnixTimestamp64Milli(seen.started_at) = {started_ms:Int64}))
ORDER BY role != 'winner', role, received_at
