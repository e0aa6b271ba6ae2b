"""SQL texts of the ledger, one statement per file."""
