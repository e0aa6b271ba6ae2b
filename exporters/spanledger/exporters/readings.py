"""What the metrics and the API read from the ledger, as values: nothing here knows HTTP or Prometheus.

All reads go to rollups and counters, so their cost does not grow with the number of calls; only the latest calls and
breakdowns by session or user look at single calls, in a bounded span of time. Amounts are `Decimal` US dollars, times
are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol

from clickhouse_connect.driver.query import QueryResult

from spanledger.exporters.access import Scope
from spanledger.ledger.counters import Counter
from spanledger.ledger.sql import sql_text

DAY: Final = timedelta(hours=24)
ZERO: Final = Decimal(0)
SUPPRESSED_FRESH: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class LastDay:
    """The last 24 hours of one label set."""

    org_id: str
    provider: str
    model: str
    cost_usd: Decimal
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Evidence of the last 24 hours that would have been billed a second time, by what gave it away.

    `cost_usd` is what it would have cost, as far as that is known.
    """

    org_id: str
    reason: str
    observations: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class TieOut:
    """The latest tie-out of a connection.

    Attributes:
        variance: money that needs attention, as a share of the larger of bill and ledger.
        coverage: matched / billed; ``None`` when nothing was billed.
        difference_usd: billed − booked.
    """

    org_id: str
    connection: str
    provider: str
    period: str
    variance: Decimal
    coverage: Decimal | None
    difference_usd: Decimal


@dataclass(frozen=True, slots=True)
class Sync:
    """A stream of a connection, and when it was last pulled in full (or the connection made, when it never was)."""

    org_id: str
    connection: str
    stream: str
    good_at: datetime


@dataclass(frozen=True, slots=True)
class PriceDrift:
    """The share by which a billed unit price exceeds the booked one; the newest complete day of the last week."""

    org_id: str
    connection: str
    provider: str
    model: str
    token_class: str
    drift: Decimal


@dataclass(frozen=True, slots=True)
class BudgetReading:
    """A configured budget in its current period (`daily` or `monthly`, UTC); the forecast is None where unknown."""

    org_id: str
    budget: str
    period: str
    spent_usd: Decimal
    limit_usd: Decimal
    forecast_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one scrape shows, read together."""

    now: datetime

    counters: Sequence[Counter]
    last_day: Sequence[LastDay]
    suppressed: Sequence[Suppressed]
    tieouts: Sequence[TieOut]
    syncs: Sequence[Sync]
    drifts: Sequence[PriceDrift]


class LedgerReader(Protocol):
    """What we need of the ledger (`spanledger.ledger.store.Ledger`). Thread-safe."""

    def counters(self, org_id: str | None = None) -> Sequence[Counter]:
        """All counters, or those of one organisation."""
        ...

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> QueryResult:
        """Run read-only SQL."""
        ...


class Readings(Protocol):
    """What the metrics need."""

    def snapshot(self, scope: Scope, now: datetime, /) -> Snapshot:
        """Read everything for one scrape.

        Raises:
            StoreError: the store does not answer.
        """
        ...


class StoreReadings:
    """Reads the ledger. Thread-safe as far as the ledger is."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger
        self._suppressed: dict[Scope, tuple[datetime, Sequence[Suppressed]]] = {}

    def snapshot(self, scope: Scope, now: datetime) -> Snapshot:
        """Read everything for one scrape; `now` ends the last 24 hours."""
        until = now.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        since = until - DAY
        return Snapshot(
            now=now,
            counters=self._ledger.counters(scope.org_id),
            last_day=[LastDay(*row) for row in self.rows("last_day", scope, {"since": since, "until": until})],
            suppressed=self._recently_suppressed(scope, now, since),
            tieouts=[TieOut(*row) for row in self.rows("tieouts", scope)],
            syncs=[Sync(*row) for row in self.rows("syncs", scope)],
            drifts=[PriceDrift(*row) for row in self.rows("price_drift", scope, {"today": now.astimezone(UTC).date()})],
        )

    def _recently_suppressed(self, scope: Scope, now: datetime, since: datetime) -> Sequence[Suppressed]:
        """Read again once a minute at most: it is the one reading whose cost grows with what it counts."""
        read_at, found = self._suppressed.get(scope, (None, ()))
        if read_at is None or not timedelta(0) <= now - read_at < SUPPRESSED_FRESH:
            found = [
                Suppressed(org_id, reason, observations, cost or ZERO)
                for org_id, reason, observations, cost in self.rows("suppressed", scope, {"since": since})
            ]
            self._suppressed[scope] = (now, found)
        return found

    def rows(
        self, name: str, scope: Scope, parameters: Mapping[str, Any] | None = None, text: str | None = None
    ) -> Sequence[Sequence[Any]]:
        """Run ``queries/<name>.sql`` (or `text`, made from it) within a scope.

        Raises:
            StoreError: the store does not answer, or refuses.
        """
        bound = {"all_orgs": scope.org_id is None, "org_id": scope.org_id or "", **(parameters or {})}
        found: Sequence[Sequence[Any]] = self._ledger.query(text or sql(name), bound).result_rows
        return found


sql = partial(sql_text, "spanledger.exporters.queries")
"""The text of ``queries/<name>.sql``."""
