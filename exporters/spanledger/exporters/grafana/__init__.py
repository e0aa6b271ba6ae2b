"""Grafana dashboards, generated: one source for every panel's query, unit and text."""
