"""The commands' own queries, one .sql file each."""

from __future__ import annotations

from functools import partial

from spanledger.ledger.sql import sql_text

load = partial(sql_text, __name__)
"""The text of ``<name>.sql``."""
