"""The tie-out: every cent between the ledger and the invoice has a name."""
