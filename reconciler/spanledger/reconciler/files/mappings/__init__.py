"""Mappings for exports of provider consoles. Consoles change their columns: a mapping of one's own goes first."""
