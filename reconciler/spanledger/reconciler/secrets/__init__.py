"""Secrets: where they come from, how they are sealed at rest, and how they never show."""
