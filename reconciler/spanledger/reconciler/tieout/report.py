"""All tie-outs of an org for a period: read, computed, kept, explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import combinations
from typing import Final

from clickhouse_connect.driver.client import Client

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.cycles import no_search_for_cycles
from spanledger.reconciler.tieout.causes import Cause, causes
from spanledger.reconciler.tieout.listing import Source
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.read import TieOutReader
from spanledger.reconciler.tieout.run import Period, TieOut, run_tie_out
from spanledger.reconciler.tieout.store import TieOutStore
from spanledger.reconciler.tieout.unseen import Unseen, ghost_spend, shadow_spend
from spanledger.semconv.money import text

_NEARLY_ALL: Final = Decimal("0.9")
"""From this share of equal lines on, two bills are doubted to be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tied:
    """The results of a period.

    Attributes:
        results: one for each connection.
        causes: what their residuals mean, by connection.
        unbilled: booked cost that no connection bills, by provider.
        shadow: what is billed and was never seen in spans, by connection.
        ghosts: what spans show and no bill does, by connection.
        doubts: what is wrong with the bills together, in plain lines.
    """

    results: tuple[TieOut, ...]
    causes: Mapping[str, list[Cause]]
    unbilled: Mapping[str, Decimal]
    shadow: Mapping[str, list[Unseen]]
    ghosts: Mapping[str, list[Unseen]]
    doubts: tuple[str, ...] = ()


@no_search_for_cycles()
def tie_out_period(
    client: Client,
    *,
    org_id: str,
    period: Period,
    names: ModelNames,
    clock: Clock,
    today: date,
    only: str = "",
    keep: bool = True,
) -> Tied:
    """Tie out every connection of an org that has bill lines around the period, and keep the results.

    Args:
        client: of a store that may be written.
        org_id: whose.
        period: which days.
        names: how models are called.
        clock: stamps what is kept.
        today: the current day, UTC: later days cannot be missing, and young ones may not be final.
        only: one connection's name, or ``""`` for all.
        keep: whether the results are written to the store, which then must take writes.

    Raises:
        StoreError: the store failed.
    """
    reader = TieOutReader(client, org_id)
    results: list[TieOut] = []
    explained: dict[str, list[Cause]] = {}
    shadow: dict[str, list[Unseen]] = {}
    ghosts: dict[str, list[Unseen]] = {}
    for evidence in reader.evidence(period, only=only):
        result = run_tie_out(evidence, period, names, today=today)
        source = Source(
            org_id=org_id,
            connection=result.connection,
            providers=tuple(result.provider.split("+")),
            written=names.written,
        )
        span, family = result.grain.span, names.family
        explained[result.connection] = causes(
            result.findings, [item.dims for item in evidence.booked], source, family=family, span=span
        )
        shadow[result.connection] = shadow_spend(result.findings, result.booked, family, source, span=span)
        ghosts[result.connection] = ghost_spend(result.findings, result.billed, family, source, span=span)
        # The ledger's side of a large month is large; nobody asks for it any more.
        results.append(replace(result, booked=()))
    if keep:
        TieOutStore(client, clock).save(org_id, results)
    unbilled = {} if only else reader.unbilled_providers(period)
    return Tied(
        results=tuple(results),
        causes=explained,
        unbilled=unbilled,
        shadow=shadow,
        ghosts=ghosts,
        doubts=tuple(_twice(results)),
    )


def _twice(results: Sequence[TieOut]) -> Iterator[str]:
    """Connections that bill the same lines: one invoice that came in by two ways."""
    for one, other in combinations(results, 2):
        if set(one.provider.split("+")).isdisjoint(other.provider.split("+")):
            continue
        mine, theirs = _lines(one), _lines(other)
        shared = mine & theirs
        same = sum((abs(amount) * count for (*_, amount), count in shared.items()), Decimal(0))
        least = min(
            sum((abs(amount) * count for (*_, amount), count in side.items()), Decimal(0)) for side in (mine, theirs)
        )
        if least and same >= least * _NEARLY_ALL:
            yield (
                f"`{one.connection}` and `{other.connection}` bill the same {shared.total()} lines, ${text(same)}: "
                f"one invoice twice? spanledger connections remove {other.connection}"
            )


def _lines(result: TieOut) -> Counter[tuple[str, date, str, str, str, Decimal]]:
    return Counter(
        (result.provider, item.dims.day, item.dims.model, item.dims.token_class, item.dims.project, item.amount)
        for item in result.billed
        if item.amount
    )
