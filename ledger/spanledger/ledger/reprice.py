"""Pricing settled calls anew: new versions beside the old ones, which stay in ``calls_history``.

What a provider itself said stays, failed attempts and subscription use stay without a cost. Counters never go down: a
lower total is netted against later growth (see `spanledger.ledger.counters`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from spanledger.ledger.arrow import pa
from spanledger.ledger.columns import CALLS_SETTLED
from spanledger.ledger.database import Database
from spanledger.ledger.evidence import storable
from spanledger.ledger.pricing import QUIET_REASONS, Pricer, said
from spanledger.ledger.rollups import Bucket
from spanledger.ledger.shares import is_covered, share_of, with_share
from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.observation import Observation
from spanledger.semconv.places import place
from spanledger.semconv.usage import TOKEN_CLASSES, Usage

_DOING: Final = "pricing calls anew"
_REPLACED: Final = (
    "cost_usd",
    "cost_low_usd",
    "cost_high_usd",
    "cost_status",
    "cost_reason",
    "class_cost_usd",
    "price_id",
)
_KEPT: Final = ("org_id", "started_at", "call_id", "version", *_REPLACED, "usage", "provider")
"""Columns of the old version that ``calls_history`` takes over as they are."""
_READ: Final = (
    "org_id",
    "started_minute",
    "provider",
    "request_model",
    "response_model",
    "usage",
    "usage_partial",
    "usage_estimated",
    "service_tier",
    "inference_geo",
    "server_address",
    "is_batch",
    "max_output_tokens",
    "claimed_cost_usd",
    "project",
    *_REPLACED,
)
"""Columns that are looked at call by call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """What changes for one model on one day. ``None`` means that no call had a cost."""

    day: date
    provider: str
    model: str
    calls: int
    old_usd: Decimal | None
    new_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Changes:
    """The calls of one day whose cost changes: old rows, their new versions, the minutes that they touch."""

    summary: list[Repriced]
    minutes: set[Bucket]
    rows: Any
    history: Any


class Repricer:
    """Finds new costs. Not thread-safe: the ledger serialises."""

    def __init__(self, database: Database, pricer: Pricer) -> None:
        self._database = database
        self._pricer = pricer

    def days(self, since: date, until: date, org_id: str) -> list[date]:
        """The days in ``[since, until)`` (UTC) that hold calls."""
        found = self._database.rows("reprice_days", _range(since, until) | {"org": org_id}, _DOING)
        return [row[0] for row in found]

    def changes(self, day: date, org_id: str, version: int) -> Changes | None:
        """What pricing one day's calls anew changes; ``None`` when nothing."""
        parameters = _range(day, day + timedelta(days=1)) | {"org": org_id, "quiet": list(QUIET_REASONS)}
        table = self._database.arrow("reprice_calls", parameters, _DOING)
        if not table.num_rows:
            return None
        calls: list[dict[str, Any]] = table.select(list(_READ)).to_pylist()
        starts: list[int] = table.column("started_at").cast(pa.int64()).to_pylist()
        costs = self._pricer.price_many([_observed(call, start) for call, start in zip(calls, starts, strict=True)])
        changed = [
            (number, call, cost)
            for number, (call, cost) in enumerate(zip(calls, map(_booked, calls, costs), strict=True))
            if _differs(call, cost)
        ]
        if not changed:
            return None
        old = table.take(pa.array([number for number, _, _ in changed]))
        return changes_of(day, old, changed, version, "repriced")


def write(database: Database, changes: Changes) -> None:
    """Keep the old versions, then write the new ones."""
    database.insert("calls_history", changes.history, _DOING)
    database.insert("calls_settled", changes.rows, _DOING)


def changes_of(
    day: date, old: Any, changed: Sequence[tuple[int, Mapping[str, Any], Cost]], version: int, reason: str
) -> Changes:
    """New versions of calls.

    Args:
        day: on which all of them started (UTC).
        old: their rows of ``calls_settled``.
        changed: for each of those rows a number (unused here), the row as a mapping, and its new cost.
        version: of the new rows.
        reason: why, for ``calls_history``.
    """
    return Changes(
        summary=list(_summary(day, changed)),
        minutes={(call["org_id"], _seconds(call["started_minute"])) for _, call, _ in changed},
        rows=_new_rows(old, [cost for _, _, cost in changed], version),
        history=_history(old, [_model(call) for _, call, _ in changed], version, reason),
    )


def cost_of(call: Mapping[str, Any]) -> Cost:
    """The cost that stands in a row of ``calls_settled``."""
    return Cost(
        status=CostStatus(call["cost_status"]),
        total=call["cost_usd"],
        low=call["cost_low_usd"],
        high=call["cost_high_usd"],
        by_class=dict(call["class_cost_usd"]),
        price_id=call["price_id"],
        reason=call["cost_reason"],
    )


def _range(since: date, until: date) -> dict[str, Any]:
    return {
        "since": datetime(since.year, since.month, since.day, tzinfo=UTC),
        "until": datetime(until.year, until.month, until.day, tzinfo=UTC),
    }


def _seconds(value: Any) -> int:
    return int(value.timestamp()) if isinstance(value, datetime) else int(value)


def _observed(call: Mapping[str, Any], started_ns: int) -> Observation:
    """As much of the call as pricing looks at."""
    usage: Mapping[str, int] = dict(call["usage"])
    return Observation(
        org_id=call["org_id"],
        provider=call["provider"],
        request_model=call["request_model"],
        response_model=call["response_model"],
        started_ns=started_ns,
        usage=Usage(
            **{name: usage[name] for name in TOKEN_CLASSES if name in usage},
            counts={name: count for name, count in usage.items() if name not in TOKEN_CLASSES},
            partial=bool(call["usage_partial"]),
            estimated=bool(call["usage_estimated"]),
        ),
        service_tier=call["service_tier"],
        # Calls that were settled before this was read have their host alone.
        inference_geo=place(call["provider"], call["inference_geo"], call["server_address"]),
        is_batch=bool(call["is_batch"]),
        max_output_tokens=call["max_output_tokens"],
        claimed_cost_usd=call["claimed_cost_usd"],
        project=call["project"],
    )


def _booked(call: Mapping[str, Any], cost: Cost) -> Cost:
    if is_covered(cost):
        held = share_of(call["cost_usd"], dict(call["class_cost_usd"]), call["cost_reason"])
        return cost if held is None else with_share(cost, held)
    claimed = call["claimed_cost_usd"]
    if cost.status is CostStatus.UNPRICED and claimed and storable(claimed) is not None:
        return said(CostStatus.CLAIMED, claimed, call["price_id"])
    return cost


def _values(cost: Cost) -> dict[str, Any]:
    return {
        "cost_usd": _stored(cost.total),
        "cost_low_usd": _stored(cost.low),
        "cost_high_usd": _stored(cost.high),
        "cost_status": cost.status.value,
        "cost_reason": cost.reason,
        "class_cost_usd": [(name, _stored(amount)) for name, amount in cost.by_class.items()],
        "price_id": cost.price_id,
    }


def _stored(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else storable(amount)


def _differs(call: Mapping[str, Any], cost: Cost) -> bool:
    new = _values(cost)
    money = any(new[name] != call[name] for name in ("cost_usd", "cost_low_usd", "cost_high_usd"))
    return money or any(new[name] != call[name] for name in ("cost_status", "price_id"))


def _new_rows(table: Any, costs: Sequence[Cost], version: int) -> Any:
    values = [_values(cost) for cost in costs]
    columns: list[Any] = []
    for column in CALLS_SETTLED:
        if column.name in _REPLACED:
            columns.append(pa.array([value[column.name] for value in values], column.kind.arrow))
        elif column.name == "version":
            columns.append(pa.array([version] * len(values), column.kind.arrow))
        else:
            columns.append(table.column(column.name).combine_chunks())
    return pa.Table.from_arrays(columns, names=[column.name for column in CALLS_SETTLED])


def _history(old: Any, models: Sequence[str], version: int, reason: str) -> Any:
    count = len(models)
    columns = {name: old.column(name) for name in _KEPT}
    columns |= {
        "replaced_by": pa.array([version] * count, pa.uint64()),
        "reason": pa.array([reason] * count),
        "model": pa.array(models),
    }
    return pa.table(columns)


def _model(call: Mapping[str, Any]) -> str:
    return str(call["response_model"] or call["request_model"]).lower()


def _summary(day: date, changed: Sequence[tuple[int, Mapping[str, Any], Cost]]) -> Iterator[Repriced]:
    groups: dict[tuple[str, str], list[tuple[Decimal | None, Decimal | None]]] = defaultdict(list)
    for _, call, cost in changed:
        groups[call["provider"], _model(call)].append((call["cost_usd"], _stored(cost.total)))
    for (provider, model), costs in sorted(groups.items()):
        yield Repriced(
            day=day,
            provider=provider,
            model=model,
            calls=len(costs),
            old_usd=_sum([old for old, _ in costs]),
            new_usd=_sum([new for _, new in costs]),
        )


def _sum(amounts: Sequence[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if known else None
