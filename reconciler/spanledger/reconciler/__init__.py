"""What providers say was used and invoiced: connections, connectors, sync, and the tie-out with the ledger."""
