"""The queries of alerts, one .sql file each; all read rollups, never single calls."""

from __future__ import annotations

from importlib.resources import files


def load(name: str) -> str:
    """The text of ``<name>.sql``."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
