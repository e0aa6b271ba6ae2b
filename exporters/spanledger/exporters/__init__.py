"""What the ledger shows to others: Prometheus metrics, the breakdown API, dashboards, and SQL over HTTP."""
