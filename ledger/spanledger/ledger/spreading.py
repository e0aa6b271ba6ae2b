"""Gives the calls that a commitment covers their shares of it: see `spanledger.ledger.shares` for the rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from spanledger.ledger import shares
from spanledger.ledger.arrow import pa
from spanledger.ledger.database import Database
from spanledger.ledger.reprice import Changes, changes_of, cost_of
from spanledger.ledger.shares import Pool
from spanledger.semconv.cost import Cost
from spanledger.semconv.prices.overrides import Overrides

_DOING = "spreading commitments over their calls"


@dataclass(frozen=True, slots=True)
class _Day:
    """A pool's calls on a day: how many have no share yet, and what the others share, in units."""

    without: int
    shared: int


class Spreader:
    """Finds and writes shares. Not thread-safe: the ledger serialises."""

    def __init__(self, database: Database, overrides: Overrides, today: date) -> None:
        self._database = database
        self._overrides = overrides
        self._today = today

    def pools(self) -> dict[Pool, list[str]]:
        """Every pool that ever covered a call, with the ids of its prices."""
        found: dict[Pool, list[str]] = defaultdict(list)
        for price_id, name, org, project in self._database.rows("commitment_prices", {}, _DOING):
            found[Pool(name, org, project)].append(price_id)
        return dict(sorted(found.items()))

    def due(self, pool: Pool, price_ids: Sequence[str], month: Sequence[date]) -> dict[date, int]:
        """The days whose shares are not what they should be, with what their calls have to share, in units."""
        accrued = shares.accruals(pool, self._overrides, month)
        if accrued is None:
            return {}  # the file no longer names it: its calls keep what they have
        parameters = _window(month[0], month[-1]) | {"prices": list(price_ids), "share": shares.SHARE}
        days = {
            day: _Day(without, shares.units(shared))
            for day, without, shared in self._database.rows("commitment_days", parameters, _DOING)
        }
        wanted = shares.by_day(accrued, days, month, self._today)
        return {day: share for day, share in wanted.items() if days[day].without or days[day].shared != share}

    def changes(self, price_ids: Sequence[str], day: date, share: int, version: int) -> Changes | None:
        """What sharing `share` units out among a day's calls changes; ``None`` when nothing."""
        table = self._database.arrow("commitment_calls", _window(day, day) | {"prices": list(price_ids)}, _DOING)
        calls: list[dict[str, Any]] = table.select(_READ).to_pylist()
        parts = shares.split(share, [_tokens(call) for call in calls])
        changed: list[tuple[int, Mapping[str, Any], Cost]] = []
        for number, (call, part) in enumerate(zip(calls, parts, strict=True)):
            old = cost_of(call)
            held = shares.share_of(old.total, old.by_class, old.reason)
            if held is None or shares.units(held) != part:
                changed.append((number, call, shares.with_share(_covered(old), shares.amount(part))))
        if not changed:
            return None
        old_rows = table.take(pa.array([number for number, _, _ in changed]))
        return changes_of(day, old_rows, changed, version, "shared")


_READ = [
    "org_id",
    "started_minute",
    "provider",
    "request_model",
    "response_model",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "cost_low_usd",
    "cost_high_usd",
    "cost_status",
    "cost_reason",
    "class_cost_usd",
    "price_id",
]


def months(since: date, until: date) -> Iterable[list[date]]:
    """The days of every month that ``[since, until)`` touches."""
    day = since
    while day < until:
        month = shares.month_days(day)
        yield month
        day = month[-1] + timedelta(days=1)


def _covered(cost: Cost) -> Cost:
    """A cost as the price book gave it, without a share."""
    held = shares.share_of(cost.total, cost.by_class, cost.reason)
    if held is None:
        return cost
    low, high = (None if bound is None else bound - held for bound in (cost.low, cost.high))
    return cost._replace(low=low, high=high)


def _tokens(call: Mapping[str, Any]) -> int:
    return (call["input_tokens"] or 0) + (call["output_tokens"] or 0)


def _window(first: date, last: date) -> dict[str, Any]:
    start, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (first, last))
    return {"since": start, "until": end + timedelta(days=1)}
