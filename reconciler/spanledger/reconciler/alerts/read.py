"""How everything that is watched stands now: read from rollups and kept results, never from single calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.alerts import rules
from spanledger.reconciler.alerts.budgets import HOUR, Spend, since, stand
from spanledger.reconciler.alerts.settings import DIMENSIONS, AlertSettings, Budget, Span
from spanledger.reconciler.alerts.sql import load
from spanledger.reconciler.alerts.standing import BudgetStanding, Standing
from spanledger.reconciler.reporting.prices import read_prices, stretches, suggestions
from spanledger.reconciler.tieout.run import Period

TIEOUTS_OPEN_DAYS: Final = 45
"""A month's tie-out is watched until so many days after its end: until then its bill is settled and closed."""

DRIFT_FRESH_DAYS: Final = 7
"""A billed price is news for so long; bills of running days are left to the next day."""
DRIFT_HISTORY_DAYS: Final = 90
"""How far back the beginning of a drift is looked for."""

_SOURCES: Final = {Span.DAILY: "spanledger.usage_by_hour", Span.MONTHLY: "spanledger.usage_by_day"}
_DAY: Final = timedelta(hours=24)


class AlertReader:
    """Reads standings over all organisations. Raises `spanledger.ledger.errors.StoreError` only."""

    def __init__(self, client: Client, settings: AlertSettings) -> None:
        self._client = client
        self._settings = settings

    def budgets(self, now: datetime) -> list[BudgetStanding]:
        """Every budget in its current period, in the order of the configuration."""
        return [self._budget(budget, now) for budget in self._settings.budgets]

    def standings(self, budgets: Sequence[BudgetStanding], now: datetime) -> list[Standing]:
        """Everything that is watched, what is in order included.

        Args:
            budgets: as `budgets` gives them.
            now: the current instant, aware.
        """
        settings = self._settings
        found = [each for budget in budgets for each in rules.of_budget(budget, settings)]
        if settings.variance is not None or settings.coverage is not None:
            for row in self._rows("tieouts", since=now.date() - timedelta(days=TIEOUTS_OPEN_DAYS)):
                found += rules.of_tieout(row, settings)
        if settings.unpriced_calls is not None:
            found += [rules.of_unpriced(row, settings) for row in self._rows("unpriced", since=now - _DAY)]
        if settings.sync_hours is not None:
            found += [rules.of_sync(row, settings, now) for row in self._rows("syncs")]
        if settings.price_drift is not None:
            today = now.date()
            since = today - timedelta(days=DRIFT_FRESH_DAYS)
            for row in self._rows("drifting", since=since, today=today, limit=settings.price_drift):
                found += self._drifts(str(row["org_id"]), since, today, settings.price_drift)
        return found

    def _drifts(self, org_id: str, since: date, today: date, limit: Decimal) -> list[Standing]:
        """Read in full only for who has a drift: since when, and what would mend it."""
        period = Period(today - timedelta(days=DRIFT_HISTORY_DAYS), today, "recently")
        found = [s for s in stretches(read_prices(self._client, org_id, period)) if s.last_day >= since]
        drifting = [s for s in found if s.is_last and s.drift is not None and abs(s.drift) > limit]
        return rules.of_drifts(org_id, drifting, suggestions(found, today=today), self._settings)

    def _budget(self, budget: Budget, now: datetime) -> BudgetStanding:
        buckets = self._spend(budget, _SOURCES[budget.span], since(budget.span, now), now)
        minutes = self._spend(budget, "spanledger.usage_by_minute", now - HOUR - timedelta(minutes=1), now)
        return stand(budget, buckets, minutes, now)

    def _spend(self, budget: Budget, source: str, start: datetime, now: datetime) -> list[Spend]:
        where = " ".join(f"AND {DIMENSIONS[name]} = {{by_{name}:String}}" for name in budget.where)
        rows = self._rows(
            "spend",
            source=source,
            where=where,
            org=budget.org_id,
            since=start,
            until=now,
            **{f"by_{name}": value for name, value in budget.where.items()},
        )
        return [Spend(row["bucket"], Decimal(row["cost"]), int(row["unpriced"])) for row in rows]

    def _rows(self, name: str, *, source: str = "", where: str = "", **parameters: object) -> list[Mapping[str, Any]]:
        sql = load(name).replace("{{source}}", source).replace("{{where}}", where)
        with store_errors("reading what alerts watch"):
            result = self._client.query(sql, parameters=parameters)  # pyright: ignore[reportUnknownMemberType]
            rows: Sequence[Sequence[Any]] = result.result_rows
            return [dict(zip(result.column_names, row, strict=True)) for row in rows]
