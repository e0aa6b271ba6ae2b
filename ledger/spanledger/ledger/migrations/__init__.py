"""Numbered, forward-only SQL; see `spanledger.ledger.migrate`."""
