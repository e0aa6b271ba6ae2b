SELECT
    org_id,
    lower(hex(call_id)) AS id,
    toUnixTimestamp64Nano(started_at) AS started_ns,
    duration_ms,
    ttft_ms,
    provider,
    operation,
    request_model,
    response_model,
    status,
    error_type,
    input_tokens,
    cache_read_tokens,
    cache_write_tokens,
    output_tokens,
    reasoning_tokens,
    cost_usd,
    cost_status,
    cost_reason,
    team_id,
    feature,
    session_id,
    user_id,
    service_name,
    environment,
    witness_count
FROM spanledger.calls_settled FINAL
WHERE is_deleted = 0
  AND started_minute >= {since:DateTime('UTC')} AND started_minute < {until:DateTime('UTC')}
  AND (started_ns, id) < ({before_ns:Int64}, {before_id:String})
  AND ({all_orgs:Bool} OR org_id = {org_id:String})
  AND ({provider:String} = '' OR provider = {provider:String})
  AND ({model:String} = '' OR lower(if(response_model = '', request_model, response_model)) = {model:String})
  AND ({team:String} = '' OR team_id = {team:String})
  AND ({feature:String} = '' OR feature = {feature:String})
  AND ({session:String} = '' OR session_id = {session:String})
  AND ({user:String} = '' OR user_id = {user:String})
  AND ({service:String} = '' OR service_name = {service:String})
  AND ({status:String} = '' OR status = {status:String})
  AND ({cost_status:String} = '' OR cost_status = {cost_status:String})
ORDER BY started_ns DESC, id DESC
LIMIT {limit:UInt32}
