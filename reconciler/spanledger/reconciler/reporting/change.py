"""Why spend changed between two periods of the store: `spanledger.reconciler.change` fed from rollups and tie-outs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.change import Place, Spend, explain_change
from spanledger.reconciler.reporting.sql import load
from spanledger.reconciler.spread import spread
from spanledger.reconciler.tieout.run import Period
from spanledger.reconciler.windows import midnight

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The change of known spend, in US dollars: booked, plus billed money that no span told of.

    Attributes:
        before, after: the two periods.
        before_usd, after_usd: their spend.
        parts: the split; its amounts sum to ``after_usd - before_usd`` exactly.
        models: the change of booked cost by provider and model, largest first.
        is_coverage_known: whether both periods have a bill; without one the part ``coverage`` is 0 by necessity.
    """

    before: Period
    after: Period
    before_usd: Decimal
    after_usd: Decimal
    parts: Mapping[str, Decimal]
    models: Sequence[tuple[str, str, Decimal, Decimal]]
    is_coverage_known: bool


def change(
    client: Client, org_id: str, before: Period, after: Period, *, unseen: tuple[Decimal | None, Decimal | None]
) -> Change:
    """Split the change between two periods.

    Args:
        client: of the store.
        org_id: whose.
        before: the earlier period.
        after: the later one.
        unseen: billed money without telemetry in both periods; ``None`` where there is no bill.

    Raises:
        StoreError: the store failed.
    """
    old, new = _places(client, org_id, before), _places(client, org_id, after)
    known = unseen[0] is not None and unseen[1] is not None
    unseen_before, unseen_after = (unseen[0] or _ZERO, unseen[1] or _ZERO) if known else (_ZERO, _ZERO)
    models: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [_ZERO, _ZERO])
    for side, places in enumerate((old, new)):
        for place, item in places.items():
            models[place.provider, place.model][side] += item.cost
    return Change(
        before=before,
        after=after,
        before_usd=_total(old) + unseen_before,
        after_usd=_total(new) + unseen_after,
        parts=explain_change(old, new, unseen_before=unseen_before, unseen_after=unseen_after),
        models=sorted(
            ((provider, model, costs[0], costs[1]) for (provider, model), costs in models.items()),
            key=lambda m: (-abs(m[3] - m[2]), m[0], m[1]),
        ),
        is_coverage_known=known,
    )


def _total(places: Mapping[Place, Spend]) -> Decimal:
    return sum((item.cost for item in places.values()), _ZERO)


def _places(client: Client, org_id: str, period: Period) -> dict[Place, Spend]:
    with store_errors("reading what changed"):
        rows: Sequence[Sequence[Any]] = client.query(  # pyright: ignore[reportUnknownMemberType]
            load("places"),
            parameters={"org": org_id, "since": midnight(period.start, "UTC"), "until": midnight(period.end, "UTC")},
        ).result_rows
    found: dict[tuple[str, str, str], dict[str, Spend]] = defaultdict(dict)
    for provider, model, tier, token_class, used, cost in rows:
        found[provider, model, tier][token_class] = Spend(quantity=Decimal(used), cost=cost)
    return {
        Place(provider=provider, model=model, tier=tier, token_class=name): item
        for (provider, model, tier), classes in found.items()
        for name, item in classed(classes).items()
    }


def classed(classes: Mapping[str, Spend]) -> Mapping[str, Spend]:
    """Give the money that no class carries (one exact amount for a whole call) to the classes, by quantity."""
    rest = classes.get("")
    weights = {name: item.quantity for name, item in classes.items() if name and item.quantity > 0}
    if rest is None or not rest.cost or not weights:
        return classes
    extra = spread(rest.cost, weights)
    return {
        name: Spend(quantity=item.quantity, cost=item.cost + extra.get(name, _ZERO))
        for name, item in classes.items()
        if name
    }
