"""The ledger as Prometheus metrics.

Counters come from the ledger's own monotone accounts, so that they survive restarts and stay right with any number of
exporters; they are not counted in this process. Money is `Decimal` until the sample is made: the exposition format
knows doubles only.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, cast

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.registry import Collector

from spanledger.exporters.access import Scope
from spanledger.exporters.readings import ZERO, BudgetReading, Readings, Snapshot

_log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

StatsSource = Callable[[], Mapping[str, object]]
"""Takes a snapshot of the receiver's own numbers (`spanledger.collector.stats.Stats.snapshot` and more)."""

BudgetSource = Callable[[], Sequence[BudgetReading]]
"""The configured budgets of all organisations as they were last looked at."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric's name, type, help and labels; the list in docs/metrics.md is checked against these."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    def empty(self) -> CounterMetricFamily | GaugeMetricFamily:
        make = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return make(self.name, self.help, labels=self.labels)


_BY_MODEL: Final = ("provider", "model", "org_id")

LLM_REQUESTS: Final = Family(
    "llm_requests_total", "counter", "Requests to LLM providers, failed ones included.", _BY_MODEL
)
LLM_TOKENS: Final = Family("llm_tokens_total", "counter", "Input and output tokens.", _BY_MODEL)
LLM_COST: Final = Family("llm_cost_usd_total", "counter", "Cost in US dollars.", _BY_MODEL)
LLM_UNKNOWN: Final = Family(
    "llm_requests_unknown_model_total",
    "counter",
    "Requests whose model nobody told; in no other llm_ counter.",
    ("org_id",),
)
LLM_ROLLING: Final = Family(
    "llm_cost_usd_rolling_24h", "gauge", "Cost in US dollars of the calls started in the last 24 hours.", ("org_id",)
)
UNPRICED: Final = Family(
    "spanledger_unpriced_calls_24h", "gauge", "Calls of the last 24 hours whose cost is unknown.", _BY_MODEL
)
SUPPRESSED: Final = Family(
    "spanledger_duplicates_suppressed_24h",
    "gauge",
    "Spans and events of the last 24 hours that were recognised as further evidence of a call counted already.",
    ("org_id", "reason"),
)
SUPPRESSED_USD: Final = Family(
    "spanledger_duplicates_suppressed_usd_24h",
    "gauge",
    "What they would have added to the cost, in US dollars, had they been counted.",
    ("org_id", "reason"),
)
PENDING: Final = Family(
    "spanledger_counter_adjustment_pending",
    "gauge",
    "By how much a counter is ahead of the ledger after a correction; later growth uses it up.",
    ("metric", "org_id"),
)
_BY_PERIOD: Final = ("org_id", "connection", "provider", "period")
TIEOUT_VARIANCE: Final = Family(
    "spanledger_tieout_variance_ratio",
    "gauge",
    "Difference between invoice and ledger that needs attention, as a share of the larger; latest month tied out.",
    _BY_PERIOD,
)
TIEOUT_COVERAGE: Final = Family(
    "spanledger_tieout_coverage_ratio",
    "gauge",
    "Share of the invoice that the ledger matches; latest month tied out.",
    _BY_PERIOD,
)
TIEOUT_DIFFERENCE: Final = Family(
    "spanledger_tieout_difference_usd",
    "gauge",
    "Billed minus booked, in US dollars; latest month tied out.",
    _BY_PERIOD,
)
PRICE_DRIFT: Final = Family(
    "spanledger_price_drift_ratio",
    "gauge",
    "Share by which the billed unit price exceeds the booked one; newest complete billed day of the last week.",
    ("org_id", "connection", "provider", "model", "token_class"),
)
SYNC_AGE: Final = Family(
    "spanledger_sync_age_seconds",
    "gauge",
    "Time since a provider's bills or usage were last pulled in full.",
    ("org_id", "connection", "stream"),
)
_BY_BUDGET: Final = ("org_id", "budget", "period")
BUDGET_SPENT: Final = Family(
    "spanledger_budget_spent_usd", "gauge", "Spent of a budget in its current period, in US dollars.", _BY_BUDGET
)
BUDGET_LIMIT: Final = Family("spanledger_budget_limit_usd", "gauge", "A budget's amount, in US dollars.", _BY_BUDGET)
BUDGET_FORECAST: Final = Family(
    "spanledger_budget_forecast_usd",
    "gauge",
    "What will be spent of a budget by the end of its period at the recent pace, in US dollars.",
    _BY_BUDGET,
)
SCRAPE_SUCCESS: Final = Family(
    "spanledger_scrape_success", "gauge", "1 if the ledger was read for this scrape, 0 if last known values are shown."
)

LEDGER: Final = (
    LLM_REQUESTS,
    LLM_TOKENS,
    LLM_COST,
    LLM_UNKNOWN,
    LLM_ROLLING,
    UNPRICED,
    SUPPRESSED,
    SUPPRESSED_USD,
    PENDING,
    TIEOUT_VARIANCE,
    TIEOUT_COVERAGE,
    TIEOUT_DIFFERENCE,
    PRICE_DRIFT,
    SYNC_AGE,
)
BUDGETS: Final = (BUDGET_SPENT, BUDGET_LIMIT, BUDGET_FORECAST)
_COUNTERS: Final = {family.name: family for family in (LLM_REQUESTS, LLM_TOKENS, LLM_COST, LLM_UNKNOWN)}


@dataclass(frozen=True, slots=True)
class Stat:
    """One number of the receiver: the key in its snapshot, the metric, and whether every token may see it."""

    key: str
    family: Family
    is_for_all: bool = False


STATS: Final = (
    Stat(
        "journal_bytes",
        Family("spanledger_journal_bytes", "gauge", "Bytes in the journal, not yet in the ledger."),
        True,
    ),
    Stat(
        "journal_limit_bytes",
        Family("spanledger_journal_limit_bytes", "gauge", "Bytes at which the journal refuses more."),
        True,
    ),
    Stat(
        "ingest_lag_seconds",
        Family("spanledger_ingest_lag_seconds", "gauge", "Age of the newest evidence when it reached the ledger."),
        True,
    ),
    Stat(
        "requests",
        Family("spanledger_requests_total", "counter", "Export requests acknowledged.", ("source",)),
    ),
    Stat(
        "refused_requests",
        Family("spanledger_refused_requests_total", "counter", "Export requests refused.", ("reason",)),
    ),
    Stat("received_bytes", Family("spanledger_received_bytes_total", "counter", "Bytes received.")),
    Stat(
        "accepted_records",
        Family("spanledger_accepted_records_total", "counter", "Spans and log records acknowledged.", ("signal",)),
    ),
    Stat(
        "refused_records",
        Family("spanledger_refused_records_total", "counter", "Records refused in accepted requests.", ("reason",)),
    ),
    Stat(
        "dropped_records",
        Family("spanledger_dropped_records_total", "counter", "Records that are not about a model call.", ("signal",)),
    ),
    Stat(
        "observations",
        Family("spanledger_observations_total", "counter", "Records handed to the ledger as evidence of a call."),
    ),
    Stat(
        "repeated_observations",
        Family("spanledger_repeated_observations_total", "counter", "Those of them that the ledger had already."),
    ),
    Stat(
        "decode_errors",
        Family("spanledger_decode_errors_total", "counter", "What could not be read after acceptance.", ("what",)),
    ),
    Stat("dead_letters", Family("spanledger_dead_letters_total", "counter", "Batches put aside for good.")),
    Stat("store_retries", Family("spanledger_store_retries_total", "counter", "Times the store refused for now.")),
    Stat(
        "price_refreshes",
        Family("spanledger_price_refreshes_total", "counter", "Times newer base prices were taken over."),
    ),
    Stat(
        "price_refresh_failures",
        Family("spanledger_price_refresh_failures_total", "counter", "Times newer base prices could not be had."),
    ),
    Stat("corrupt_bytes", Family("spanledger_journal_corrupt_bytes_total", "counter", "Journal bytes found damaged.")),
)


class LedgerCollector(Collector):
    """Reads the ledger at every scrape, within one scope. `collect` never raises."""

    def __init__(
        self,
        readings: Readings,
        scope: Scope,
        *,
        stats: StatsSource | None = None,
        budgets: BudgetSource | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._readings = readings
        self._scope = scope
        self._stats = stats
        self._budgets = budgets
        self._now = now
        self._lock = threading.Lock()
        self._last: Sequence[Metric] = tuple(family.empty() for family in LEDGER)
        self._last_receiver: Sequence[Metric] = ()
        self._is_failing = False

    def describe(self) -> Iterable[Metric]:
        """All families without samples: the registry then knows their names without reading the store."""
        yield from (family.empty() for family in LEDGER)
        yield SCRAPE_SUCCESS.empty()
        yield from (family.empty() for family in BUDGETS if self._budgets is not None)
        yield from (stat.family.empty() for stat in self._visible_stats())

    def collect(self) -> Iterable[Metric]:
        """The current values; the last known ones, and ``spanledger_scrape_success 0``, when the store fails."""
        with self._lock:
            success = self._refresh()
            families = (*self._last, *self._budget_families(), *self._last_receiver)
        state = SCRAPE_SUCCESS.empty()
        state.add_metric([], 1.0 if success else 0.0)
        return (*families, state)

    def _refresh(self) -> bool:
        try:
            self._last_receiver = tuple(self._receiver())
            self._last = _families(self._readings.snapshot(self._scope, self._now()))
        except Exception as error:  # noqa: BLE001 - the boundary to Prometheus: a scrape shows what is known
            if not self._is_failing:
                _log.warning("metrics show their last known values: %s", error)
            self._is_failing = True
            return False
        self._is_failing = False
        return True

    def _budget_families(self) -> Sequence[Metric]:
        if self._budgets is None:
            return ()
        spent, limit, forecast = (family.empty() for family in BUDGETS)
        for each in self._budgets():
            if self._scope.org_id in (None, each.org_id):
                labels = [each.org_id.lower(), each.budget.lower(), each.period]
                spent.add_metric(labels, float(each.spent_usd))
                limit.add_metric(labels, float(each.limit_usd))
                if each.forecast_usd is not None:
                    forecast.add_metric(labels, float(each.forecast_usd))
        return spent, limit, forecast

    def _visible_stats(self) -> Sequence[Stat]:
        if self._stats is None:
            return ()
        return [stat for stat in STATS if stat.is_for_all or self._scope.org_id is None]

    def _receiver(self) -> Iterable[Metric]:
        if self._stats is None:
            return
        values = self._stats()
        for stat in self._visible_stats():
            family = stat.family.empty()
            value = values.get(stat.key)
            if isinstance(value, Mapping):
                for label, count in sorted(cast("Mapping[str, int | float]", value).items()):
                    family.add_metric([label.lower()], float(count))
            elif isinstance(value, int | float):
                family.add_metric([], float(value))
            if family.samples:
                yield family


_Sums = dict[tuple[Family, tuple[str, ...]], Decimal]


def _families(snapshot: Snapshot) -> Sequence[Metric]:
    sums: _Sums = defaultdict(Decimal)
    _add_usage(sums, snapshot)
    _add_bills(sums, snapshot)
    lowered: _Sums = defaultdict(Decimal)
    for (family, labels), value in sums.items():
        lowered[family, tuple(label.lower() for label in labels)] += value
    families = {family: family.empty() for family in LEDGER}
    for (family, labels), value in sorted(lowered.items(), key=lambda item: item[0][1]):
        families[family].add_metric(labels, float(value))
    return tuple(families.values())


def _add_usage(sums: _Sums, snapshot: Snapshot) -> None:
    labels: tuple[str, ...]
    orgs: set[str] = set()
    for counter in snapshot.counters:
        family = _COUNTERS.get(counter.metric)
        if family is not None:
            labels = (counter.org_id,) if family is LLM_UNKNOWN else (counter.provider, counter.model, counter.org_id)
            sums[family, labels] += counter.value
            sums[PENDING, (counter.metric, counter.org_id)] += counter.pending
        orgs.add(counter.org_id)
    for row in snapshot.last_day:
        orgs.add(row.org_id)
        sums[LLM_ROLLING, (row.org_id,)] += row.cost_usd
        if row.unpriced_calls:
            sums[UNPRICED, (row.provider, row.model, row.org_id)] += row.unpriced_calls
    for org_id in orgs:
        # A quiet organisation shows 0, it does not vanish.
        sums[LLM_ROLLING, (org_id,)] += ZERO
    for found in snapshot.suppressed:
        sums[SUPPRESSED, (found.org_id, found.reason)] += found.observations
        sums[SUPPRESSED_USD, (found.org_id, found.reason)] += found.cost_usd


def _add_bills(sums: _Sums, snapshot: Snapshot) -> None:
    for tied in snapshot.tieouts:
        labels = (tied.org_id, tied.connection, tied.provider, tied.period)
        sums[TIEOUT_VARIANCE, labels] = tied.variance
        sums[TIEOUT_DIFFERENCE, labels] = tied.difference_usd
        if tied.coverage is not None:
            sums[TIEOUT_COVERAGE, labels] = tied.coverage
    for drifting in snapshot.drifts:
        meter = (drifting.provider, drifting.model, drifting.token_class)
        sums[PRICE_DRIFT, (drifting.org_id, drifting.connection, *meter)] = drifting.drift
    for sync in snapshot.syncs:
        age = Decimal((snapshot.now - sync.good_at).total_seconds())
        sums[SYNC_AGE, (sync.org_id, sync.connection, sync.stream)] = age


def render(collector: LedgerCollector, accept: str) -> tuple[bytes, str]:
    """The scrape's body and content type: OpenMetrics when the ``Accept`` header asks for it, else text 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    if "application/openmetrics-text" in accept:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type
    return generate_latest(registry), CONTENT_TYPE
