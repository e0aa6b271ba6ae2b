"""Dropping old single calls without touching what was counted.

Calls, evidence and minutes go, a whole month at a time; hours, days and counters stay for ever, so no total ever goes
down. Evidence for a month that was dropped is refused from then on: it could not be told from what was settled before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from spanledger.ledger.database import Database
from spanledger.ledger.errors import PermanentStoreError

TABLES: Final = (
    "observations",
    "calls_settled",
    "calls_history",
    "witnesses_settled",
    "suppressed_settled",
    "duplicates_by_minute_settled",
    "tool_calls_settled",
    "span_links",
    "usage_by_minute_settled",
)
"""What is dropped: everything that is as large as the number of calls."""
LEAST_DAYS: Final = 2
"""Late evidence, clocks and running calls need this much."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """One partition of one table that was (or would be) dropped: a month, or a day of ``observations``."""

    table: str
    partition: str
    rows: int


class Retention:
    """Not thread-safe: its owner serialises."""

    def __init__(self, database: Database, cluster: str = "") -> None:
        self._database = database
        self._cluster = cluster
        rows = database.rows("kept_from", {}, "reading what is kept")
        self.kept_from: int = rows[0][0] if rows else 0
        """Evidence before this (seconds since the epoch) is refused; 0 when nothing was ever dropped."""

    def plan(self, keep_days: int, now: datetime) -> tuple[datetime, list[Dropped]]:
        """The first moment that stays, and what would go.

        Raises:
            PermanentStoreError: fewer days than `LEAST_DAYS`.
        """
        if keep_days < LEAST_DAYS:
            raise PermanentStoreError(f"keeping {keep_days} days of calls is too few: keep at least {LEAST_DAYS}")
        oldest = now.astimezone(UTC) - timedelta(days=keep_days)
        first = oldest.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        parts = f"clusterAllReplicas('{self._cluster}', system.parts)" if self._cluster else "system.parts"
        parameters = {"tables": list(TABLES), "month": first.year * 100 + first.month}
        rows = self._database.rows("old_partitions", parameters, "looking for old calls", parts=parts)
        return first, [Dropped(str(table), str(partition), int(count)) for table, partition, count in rows]

    def drop(self, kept_from: datetime, partitions: list[Dropped], version: int) -> None:
        """Refuse what is older from now on, then drop it. Interrupted, it is simply done again."""
        row = ["calls", kept_from, version]
        columns = ["subject", "kept_from", "version"]
        self._database.insert_rows("retention", columns, [row], "noting what is kept")
        self.kept_from = int(kept_from.timestamp())
        where = f" ON CLUSTER '{self._cluster}'" if self._cluster else ""
        for dropped in partitions:
            self._database.command(
                f"ALTER TABLE spanledger.{dropped.table}{where} DROP PARTITION {int(dropped.partition)}",
                f"dropping {dropped.partition} of {dropped.table}",
            )
