-- Calls by any name: an id or its beginning, the provider's id of the answer or of the request, a trace, a span.
SELECT *
FROM spanledger.calls
WHERE org_id = {org:String}
  AND (startsWith(call_id, lower({call:String}))
       OR response_id = {call:String}
       OR call_id = {by_request:String}
       OR trace_id = lower({call:String})
       OR span_id = lower({call:String})
       OR (trace_id, span_id) IN (
           SELECT lower(hex(trace_id)), lower(hex(span_id))
           FROM spanledger.observations
           WHERE org_id = {org:String} AND request_id = {call:String} AND span_id != toFixedString('', 8)))
ORDER BY started_at, call_id
LIMIT 10
