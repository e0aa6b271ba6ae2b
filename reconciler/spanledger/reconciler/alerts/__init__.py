"""Alerts: budgets, pace, variance, coverage, unpriced calls and stale syncs, told once for each change of state."""
