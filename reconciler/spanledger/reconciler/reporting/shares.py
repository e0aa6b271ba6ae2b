"""Who pays: a period's bills spread over any dimensions, single users and sessions included. Writes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.allocation import Allocated, OwnedUse, Owner, allocate
from spanledger.reconciler.reporting.spend import DIMENSIONS, OF_CALLS
from spanledger.reconciler.reporting.sql import load
from spanledger.reconciler.tieout.bill import billed_items, tier
from spanledger.reconciler.tieout.grain import Grain
from spanledger.reconciler.tieout.items import Charge, Dims
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.read import Account, TieOutReader, share_of
from spanledger.reconciler.tieout.run import Period
from spanledger.reconciler.windows import midnight

_OVERHEAD = frozenset({Charge.CREDIT, Charge.TAX, Charge.UNMATCHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one owner pays, in US dollars.

    Attributes:
        owner: the values of the dimensions, in their order; all ``unattributed`` for what nobody's calls explain.
        usage: usage and tool fees.
        overhead: credits, tax and lines that name nothing known, by the stated rule.
    """

    owner: Owner
    usage: Decimal
    overhead: Decimal

    @property
    def total(self) -> Decimal:
        return self.usage + self.overhead


def shares(client: Client, org_id: str, period: Period, names: ModelNames, by: Sequence[str]) -> list[Share]:
    """Spread every connection's bill over owners, the one who pays most first; the shares sum to the bills exactly.

    Args:
        client: of the store.
        org_id: whose bills.
        period: which days of them.
        names: how models are called.
        by: names of `spanledger.reconciler.reporting.spend.DIMENSIONS`: what an owner is.

    Raises:
        StoreError: the store failed.
    """
    sums: dict[Owner, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for parts in allocations(client, org_id, period, names, by).values():
        for part in parts:
            sums[part.owner][part.charge in _OVERHEAD] += part.amount
    found = [Share(owner=owner, usage=usage, overhead=overhead) for owner, (usage, overhead) in sums.items()]
    return sorted(found, key=lambda share: (-share.total, share.owner))


def allocations(
    client: Client, org_id: str, period: Period, names: ModelNames, by: Sequence[str]
) -> dict[str, list[Allocated]]:
    """Each connection's bill of a period, given to owners. Arguments and errors as of `shares`."""
    reader = TieOutReader(client, org_id)
    accounts = reader.accounts(period.start, period.end)
    # A day more on both sides: calls over midnight are recognised as the tie-out does it.
    since, until = period.start - timedelta(days=1), period.end + timedelta(days=1)
    bills = [(account, reader.billed(account, since, until)) for account in accounts]
    uses: dict[tuple[str, ...], list[OwnedUse]] = {}
    found: dict[str, list[Allocated]] = {}
    for account, bill in bills:
        key = (account.zone, *account.providers)
        if key not in uses:
            uses[key] = _uses(client, org_id, account, since, until, names, by)
        grain = Grain.of(bill, period.start, period.end, names.family)
        found[account.connection] = allocate(
            grain.used(share_of(account, bill, uses[key], bills).items),
            billed_items(grain.rows(bill), names),
            width=len(by),
            family=names.family,
            counts=lambda day: period.start <= day < period.end,
        )
    return found


def _uses(
    client: Client, org_id: str, account: Account, since: date, until: date, names: ModelNames, by: Sequence[str]
) -> list[OwnedUse]:
    owner = "[" + ", ".join(f"toString({DIMENSIONS[name]})" for name in by) + "]"
    source = "spanledger.usage_by_hour" if OF_CALLS.isdisjoint(by) else load("calls_as_usage")
    with store_errors("reading who used what"):
        rows: Sequence[Sequence[Any]] = client.query(  # pyright: ignore[reportUnknownMemberType]
            load("owned_use").replace("{{owner}}", owner).replace("{{source}}", source),
            parameters={
                "org": org_id,
                "providers": list(account.providers),
                "zone": account.zone,
                "since": midnight(since, account.zone),
                "until": midnight(until, account.zone),
            },
        ).result_rows
    return [
        OwnedUse(
            owner=tuple(names_of_owner),
            dims=Dims(
                day=day,
                model=names.canonical(model),
                token_class=token_class,
                project=project,
                workspace=workspace,
                service_tier=tier(service_tier),
                batch=str(bool(is_batch)).lower(),
            ),
            quantity=Decimal(used),
            cost=cost,
        )
        for names_of_owner, day, model, project, workspace, service_tier, is_batch, token_class, used, cost in rows
    ]
