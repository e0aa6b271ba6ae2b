-- When every stream of every connection was last pulled in full; one that never was counts from the connection's beginning.
SELECT
    connections.org_id AS org_id,
    connections.name AS connection,
    runs.stream AS stream,
    if(runs.ended_at > 0, runs.ended_at, connections.created_at) AS good_at
FROM spanledger.connections AS connections
LEFT JOIN
(
    SELECT org_id, connection, stream, maxIf(finished_at, state IN ('ok', 'delayed_by_provider')) AS ended_at
    FROM spanledger.sync_runs
    WHERE step = 'run'
    GROUP BY org_id, connection, stream
) AS runs ON runs.org_id = connections.org_id AND runs.connection = connections.name
ORDER BY org_id, connection, stream
