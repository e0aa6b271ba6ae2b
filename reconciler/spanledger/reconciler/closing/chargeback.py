"""Chargeback over the store: a connection's bill for a period, spread over teams, features, users or whatever else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.allocation import Allocated, OwnedUse, allocate
from spanledger.reconciler.clock import Clock
from spanledger.reconciler.closing.sql import load
from spanledger.reconciler.tieout.bill import billed_items, tier
from spanledger.reconciler.tieout.items import Dims
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.read import Account, TieOutReader
from spanledger.reconciler.tieout.run import Period, by_whole_periods
from spanledger.reconciler.windows import midnight

DIMENSIONS: Final[Mapping[str, str]] = {
    "team": "team_id",
    "feature": "feature",
    "service": "service_name",
    "environment": "environment",
    "project": "project",
    "workspace": "workspace",
    "api_key": "api_key_fingerprint",
    "model": "model",
}
"""What billed money can be spread over, and the rollup's column for it."""


class DimensionError(ValueError):
    """Money cannot be spread over this; the text names what it can be spread over."""


class Chargeback:
    """Spreads an org's bills. Raises `spanledger.ledger.errors.StoreError`."""

    def __init__(self, client: Client, clock: Clock, names: ModelNames, org_id: str) -> None:
        self._client = client
        self._clock = clock
        self._names = names
        self._org = org_id
        self._reader = TieOutReader(client, org_id)

    def spread(self, period: Period, by: Sequence[str]) -> dict[str, list[Allocated]]:
        """Each connection's bill of the period, given to owners; keeps the result in ``allocations``.

        Args:
            period: which days of the bill.
            by: names of `DIMENSIONS`: what an owner is.

        Raises:
            DimensionError: ``by`` names something else, or nothing.
        """
        unknown = [name for name in by if name not in DIMENSIONS]
        if unknown or not by:
            raise DimensionError(
                f"billed money cannot be spread over {', '.join(unknown) or 'nothing'}: "
                f"choose from {', '.join(DIMENSIONS)}"
            )
        result: dict[str, list[Allocated]] = {}
        for account in self._reader.accounts(period.start, period.end):
            bill = self._reader.billed(account, period.start, period.end)
            rows, used = by_whole_periods(bill, self._uses(account, period, by), period)
            billed = [item for item in billed_items(rows, self._names) if period.start <= item.dims.day < period.end]
            result[account.connection] = allocate(used, billed, width=len(by))
        self._save(period, by, result)
        return result

    def _uses(self, account: Account, period: Period, by: Sequence[str]) -> list[OwnedUse]:
        owner = "[" + ", ".join(f"toString({DIMENSIONS[name]})" for name in by) + "]"
        with store_errors("reading who used what"):
            result = self._client.query(  # pyright: ignore[reportUnknownMemberType]
                load("owned_use").replace("{{owner}}", owner),
                parameters={
                    "org": self._org,
                    "providers": list(account.providers),
                    "zone": account.zone,
                    "since": midnight(period.start, account.zone),
                    "until": midnight(period.end, account.zone),
                },
            )
        rows: Sequence[Sequence[Any]] = result.result_rows
        return [self._use(dict(zip(result.column_names, row, strict=True))) for row in rows]

    def _use(self, row: Mapping[str, Any]) -> OwnedUse:
        return OwnedUse(
            owner=tuple(row["owner"]),
            dims=Dims(
                day=row["day"],
                model=self._names.canonical(row["model"]),
                token_class=row["class"],
                project=row["project"],
                workspace=row["workspace"],
                service_tier=tier(row["service_tier"]),
                batch=str(bool(row["is_batch"])).lower(),
            ),
            quantity=Decimal(row["used"]),
            cost=row["cost"],
        )

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
