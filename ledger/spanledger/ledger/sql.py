"""SQL texts: one ``.sql`` file each, beside the code that runs them."""

from __future__ import annotations

from functools import cache, partial
from importlib import resources


@cache
def sql_text(package: str, name: str) -> str:
    """The text of ``<name>.sql`` in `package`, read once.

    Raises:
        FileNotFoundError: the package has no such file.
    """
    return resources.files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")


query = partial(sql_text, "spanledger.ledger.queries")
"""The text of one of the ledger's own queries."""
