-- Versions go on from here, whatever the clock says.
SELECT greatest((SELECT max(version) FROM spanledger.calls_settled), (SELECT max(version) FROM spanledger.ingests))
