"""Queries on providers' data warehouses."""
