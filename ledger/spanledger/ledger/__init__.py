"""The ledger: evidence in, one row per billable call out, rollups and counters that never go down."""
