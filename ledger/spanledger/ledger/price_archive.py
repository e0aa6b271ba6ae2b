"""The price book in the store: every rate snapshot that priced a call, kept for as long as the ledger is.

A figure can be recomputed and explained when the base data or the overrides file have long moved on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.database import Database
from spanledger.semconv.cost import Cost
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook, PriceRecord, RateSnapshot
from spanledger.semconv.prices.quick import FlatRates
from spanledger.semconv.prices.rates import records_of, snapshot_of, unit_of

_DOING: Final = "recording prices"


class PriceArchive:
    """Appends to and reads from the table of prices. Thread-safe. Raises `spanledger.ledger.errors.StoreError`."""

    def __init__(self, client: Client, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = Database(client)
        self._now = now
        self._lock = threading.Lock()
        self._recorded: set[str] | None = None

    def keep(self, records: Iterable[PriceRecord]) -> int:
        """Record what is not there yet; returns the number of new snapshots."""
        with self._lock:
            if self._recorded is None:
                found = self._database.rows("recorded_prices", {}, "reading the recorded prices")
                self._recorded = {str(price_id) for (price_id,) in found}
            new = [record for record in records if record.price_id not in self._recorded]
            if new:
                at = self._now()
                rows = [_row(record, at) for record in new]
                self._database.insert_rows("price_records", list(rows[0]), [list(row.values()) for row in rows], _DOING)
            added = {record.price_id for record in new}
            self._recorded |= added
            return len(added)

    def knows(self, price_id: str) -> bool:
        """Whether a snapshot is known to be recorded, without asking the store."""
        return self._recorded is not None and price_id in self._recorded

    def snapshot(self, price_id: str) -> RateSnapshot | None:
        """A recorded snapshot, or ``None``."""
        rows = self._database.rows("price_records", {"price_id": price_id}, "reading a price")
        if not rows:
            return None
        return snapshot_of([_record(price_id, row) for row in rows])


def _record(price_id: str, row: Sequence[Any]) -> PriceRecord:
    provider, model, token_class, rate, per, conditions, valid_from, valid_to, source, version = row
    return PriceRecord(
        price_id=price_id,
        provider=provider,
        model=model,
        token_class=token_class,
        rate=rate,
        per=int(per),
        unit=unit_of(token_class),
        conditions=conditions,
        valid_from=valid_from,
        valid_to=valid_to,
        source=source,
        source_version=version,
    )


def _row(record: PriceRecord, recorded_at: datetime) -> dict[str, object]:
    return {
        "price_id": record.price_id,
        "provider": record.provider,
        "model": record.model,
        "token_class": record.token_class,
        "rate": record.rate,
        "per": record.per,
        "unit": record.unit,
        "conditions": dict(record.conditions),
        "valid_from": record.valid_from,
        "valid_to": record.valid_to,
        "source": record.source,
        "source_version": record.source_version,
        "recorded_at": recorded_at,
    }


class ArchivingPricer:
    """A price book that records the rates it uses before anything that they price is written."""

    def __init__(self, book: PriceBook, archive: PriceArchive) -> None:
        self.book = book
        self._archive = archive

    def price_many(self, observations: Sequence[Observation]) -> list[Cost]:
        """One cost for each observation, in their order. See `PriceBook.price_many`."""
        costs = self.book.price_many(observations)
        self._keep({cost.price_id for cost in costs} - {""})
        return costs

    def flat_rates(self, seen: Observation, first_ns: int, last_ns: int) -> FlatRates | None:
        """See `PriceBook.flat_rates`."""
        rates = self.book.flat_rates(seen, first_ns, last_ns)
        if rates is not None and rates.price_id:
            self._keep({rates.price_id})
        return rates

    def _keep(self, used: set[str]) -> None:
        fresh = [price_id for price_id in used if not self._archive.knows(price_id)]
        if fresh:
            snapshots = (self.book.snapshot(price_id) for price_id in sorted(fresh))
            self._archive.keep(record for snapshot in snapshots if snapshot for record in records_of(snapshot))
