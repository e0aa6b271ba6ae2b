"""The reports' queries, one .sql file each."""

from __future__ import annotations

from importlib.resources import files


def load(name: str) -> str:
    """The text of ``<name>.sql``."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
