SELECT org_id, trace_id, span_id, parent_span_id
FROM spanledger.span_links
WHERE trace_id IN (SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))
