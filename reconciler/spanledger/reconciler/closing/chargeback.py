"""Chargeback that is kept: each connection's bill for a period, spread over teams, features or whatever else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.allocation import Allocated
from spanledger.reconciler.clock import Clock
from spanledger.reconciler.reporting.shares import allocations
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.run import Period


class Chargeback:
    """Spreads an org's bills. Raises `spanledger.ledger.errors.StoreError`."""

    def __init__(self, client: Client, clock: Clock, names: ModelNames, org_id: str) -> None:
        self._client = client
        self._clock = clock
        self._names = names
        self._org = org_id

    def spread(self, period: Period, by: Sequence[str]) -> dict[str, list[Allocated]]:
        """Each connection's bill of the period, given to owners; keeps the result in ``allocations``.

        Args:
            period: which days of the bill.
            by: names of `spanledger.reconciler.reporting.spend.DIMENSIONS`: what an owner is.
        """
        result = allocations(self._client, self._org, period, self._names, by)
        self._save(period, by, result)
        return result

    def _save(self, period: Period, by: Sequence[str], result: Mapping[str, Sequence[Allocated]]) -> None:
        version = int(self._clock.now().timestamp() * 1_000_000)
        columns = ("org_id", "connection", "period", "dimensions", "owner", "day", "charge", "amount_usd", "version")
        rows = [
            [self._org, name, period.name, list(by), list(a.owner), a.day, a.charge.value, a.amount, version]
            for name, shares in result.items()
            for a in shares
        ]
        if rows:
            with store_errors("keeping the allocation"):
                self._client.insert("spanledger.allocation_versions", rows, column_names=list(columns))


def by_owner(shares: Sequence[Allocated]) -> dict[tuple[str, ...], Decimal]:
    """What each owner pays in all."""
    totals: dict[tuple[str, ...], Decimal] = {}
    for share in shares:
        totals[share.owner] = totals.get(share.owner, Decimal(0)) + share.amount
    return dict(sorted(totals.items(), key=lambda entry: (-entry[1], entry[0])))
