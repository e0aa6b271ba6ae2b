"""Counters: values that only ever grow, whatever happens to the calls behind them.

A counter is the sum of non-negative deltas in its own table. Its truth is a sum over the rollups; what the truth has
more is booked, what it has less (a late duplicate, a repricing) stays visible as `Counter.pending` until growth has
made up for it. Every label set keeps its own account.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from spanledger.ledger.database import Database

REQUESTS: Final = "llm_requests_total"
TOKENS: Final = "llm_tokens_total"
COST: Final = "llm_cost_usd_total"
UNKNOWN_MODEL: Final = "llm_requests_unknown_model_total"

_Key = tuple[str, str, str, str]
_COLUMNS: Final = ("org_id", "metric", "provider", "model", "value")


@dataclass(frozen=True, slots=True)
class Counter:
    """One label set's counter.

    Attributes:
        org_id, provider, model: its labels, lower case (the org as it is).
        metric: its Prometheus name.
        value: what to expose; never goes down.
        pending: a downward correction not yet netted against growth; the truth is ``value - pending``.
    """

    org_id: str
    metric: str
    provider: str
    model: str
    value: Decimal
    pending: Decimal


class Counters:
    """The writer's view. Not thread-safe: its owner serialises."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._booked: dict[_Key, Decimal] | None = None

    def book(self, hours: Sequence[tuple[str, int]]) -> None:
        """Book what the counters of all label sets in these (org, hour)s lack. Run again, it books nothing."""
        if self._booked is None:
            self._booked = _booked(self._database, "")
        rows = self._database.rows("true_totals", {"buckets": hours}, "reading totals")
        grown = {
            key: truth - self._booked.get(key, Decimal(0))
            for key, truth in _true(rows)
            if truth > self._booked.get(key, Decimal(0))
        }
        if not grown:
            return
        booked, self._booked = self._booked, None
        self._database.insert_rows("counters", _COLUMNS, [[*key, delta] for key, delta in grown.items()], "counting")
        # Only after the store has it: whoever does not know whether it has, reads again.
        self._booked = booked | {key: booked.get(key, Decimal(0)) + delta for key, delta in grown.items()}


def read(database: Database, org_id: str) -> list[Counter]:
    """All counters of one org, or of all (``""``)."""
    # In this order: what is booked in between can only make the truth larger, never a correction appear.
    booked = _booked(database, org_id)
    truth = dict(_true(database.rows("all_totals", {"org": org_id}, "reading totals")))
    return [Counter(*key, value, max(value - truth.get(key, Decimal(0)), Decimal(0))) for key, value in booked.items()]


def _booked(database: Database, org_id: str) -> dict[_Key, Decimal]:
    rows = database.rows("booked", {"org": org_id}, "reading counters")
    return {(org, metric, provider, model): value for org, metric, provider, model, value in rows}


def _true(rows: Iterable[Sequence[Any]]) -> Iterable[tuple[_Key, Decimal]]:
    for org, provider, model, calls, tokens, cost in rows:
        if model:
            yield (org, REQUESTS, provider, model), Decimal(calls)
            yield (org, TOKENS, provider, model), Decimal(tokens)
            yield (org, COST, provider, model), cost
        else:
            yield (org, UNKNOWN_MODEL, provider, model), Decimal(calls)
