"""What a serving process does by itself: pull bills and tie out, spread commitments, drop old single calls."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Final

from clickhouse_connect.driver.client import Client

from spanledger.cli.recurring import Recurring
from spanledger.ledger.errors import StoreError
from spanledger.ledger.store import Ledger
from spanledger.reconciler.clock import SystemClock
from spanledger.reconciler.connections import Connection
from spanledger.reconciler.scheduler import Scheduler
from spanledger.reconciler.service import Bills
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.report import tie_out_period
from spanledger.reconciler.tieout.run import Period
from spanledger.semconv.prices.overrides import MissingRateError, Overrides

_log = logging.getLogger(__name__)

CLOSING_DAYS: Final = 10
"""Days of a month during which the month before is tied out as well: providers still restate it."""
RETENTION_SECONDS: Final = 86_400.0
SPREADING_SECONDS: Final = 3_600.0
LATE: Final = timedelta(days=62)
"""How late a call may come and still get its share of a commitment by itself."""


def scheduler(ledger: Ledger, client: Client, contracts: Overrides | None) -> Scheduler:
    """Pulls every connection regularly and ties its months out; `start` it.

    Args:
        ledger: takes the exact usage that batch results tell.
        client: a client of the store, for the scheduler alone.
        contracts: the user's overrides, which explain names of models.

    Raises:
        ConfigError: the master key for stored secrets cannot be used.
    """
    bills = Bills.on(client, os.environ, ingest=lambda found: ledger.ingest(found, []))

    def tie_out(connection: Connection) -> None:
        today = datetime.now(UTC).date()
        months = {today, today - timedelta(days=CLOSING_DAYS)}
        for month in sorted({f"{day:%Y-%m}" for day in months}):
            try:
                tie_out_period(
                    client,
                    org_id=connection.org_id,
                    period=Period.parse(month),
                    only=connection.name,
                    names=ModelNames.of(contracts, connection.org_id),
                    clock=SystemClock(),
                    today=today,
                )
            except StoreError as error:
                _log.warning("tie-out of %s, %s: %s", connection.name, month, error)

    return Scheduler(bills, after_sync=tie_out)


class Spreading(Recurring):
    """Gives the calls that monthly commitments cover their shares: at the start and every hour, three months back."""

    def __init__(self, ledger: Ledger, contracts: Overrides) -> None:
        """Spread the commitments of `contracts` over `ledger`'s calls."""
        super().__init__("spanledger-commitments", SPREADING_SECONDS)
        self._ledger = ledger
        self._contracts = contracts

    def work(self) -> None:
        """Day by day, so that a stop waits for one day at most."""
        today = datetime.now(UTC).date()
        try:
            for _ in self._ledger.spread(self._contracts, today - LATE, today + timedelta(days=1)):
                if self.is_stopped:
                    return
        except (StoreError, MissingRateError) as error:
            _log.warning("commitments were not spread over their calls, trying again: %s", error)


class Retention(Recurring):
    """Drops single calls older than some days, at the start and once a day. Rollups and counters stay."""

    def __init__(self, ledger: Ledger, keep_days: int) -> None:
        """Keep so many whole days of `ledger`'s calls."""
        super().__init__("spanledger-retention", RETENTION_SECONDS)
        self._ledger = ledger
        self._keep_days = keep_days

    def work(self) -> None:
        """One drop; a store that fails is asked again the next day."""
        try:
            dropped = self._ledger.retain(self._keep_days)
        except StoreError as error:
            _log.warning("old calls could not be dropped, trying again tomorrow: %s", error)
        else:
            if dropped:
                rows = sum(each.rows for each in dropped)
                _log.info("dropped %s rows older than %s days", rows, self._keep_days)
