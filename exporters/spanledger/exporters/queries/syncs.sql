-- When every stream of every connection was last pulled in full; a connection that never was counts from its beginning.
SELECT
    c.org_id AS org_id,
    c.name AS connection,
    s.stream AS stream,
    if(s.ended_at > 0, s.ended_at, c.created_at) AS good_at
FROM spanledger.connections AS c
LEFT JOIN
(
    SELECT
        org_id,
        connection,
        stream,
        maxIf(finished_at, state IN ('ok', 'delayed_by_provider')) AS ended_at
    FROM spanledger.sync_runs
    WHERE step = 'run'
    GROUP BY org_id, connection, stream
) AS s ON s.org_id = c.org_id AND s.connection = c.name
WHERE {all_orgs:Bool} OR c.org_id = {org_id:String}
ORDER BY org_id, connection, stream
