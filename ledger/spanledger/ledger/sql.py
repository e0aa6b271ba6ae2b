"""The ledger's SQL texts, read from ``queries/``."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def query(name: str) -> str:
    """The text of ``queries/<name>.sql``."""
    return resources.files("spanledger.ledger.queries").joinpath(f"{name}.sql").read_text(encoding="utf-8")
