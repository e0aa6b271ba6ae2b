"""Chargeback over the store, and the closing of periods."""
