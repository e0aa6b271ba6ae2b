"""How the commands reach the alerts: settings from the config file, the watch on a store."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from spanledger.cli.errors import UserError
from spanledger.cli.recurring import Recurring

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from spanledger.exporters.readings import BudgetReading
    from spanledger.reconciler.alerts.channels import AppriseChannels
    from spanledger.reconciler.alerts.settings import AlertSettings
    from spanledger.reconciler.alerts.watch import Watch

_log = logging.getLogger(__name__)


def settings(file: Path | None) -> AlertSettings | None:
    """What the config file asks to watch; ``None`` where it asks for nothing, or there is no file.

    Raises:
        UserError: names file, line and field.
    """
    if file is None:
        return None
    from spanledger.reconciler.alerts.settings import parse
    from spanledger.reconciler.errors import ConfigError

    try:
        return parse(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise UserError(f"config file {file}: {os.strerror(error.errno or 0)}: name a readable file") from error
    except ConfigError as error:
        raise UserError(str(error)) from error


def channels() -> AppriseChannels:
    """The ways out, with this process's environment behind the references."""
    from spanledger.reconciler.alerts.channels import AppriseChannels
    from spanledger.reconciler.secrets.envelope import keyring_from
    from spanledger.reconciler.secrets.references import Resolver

    return AppriseChannels(Resolver(os.environ, keyring_from(os.environ)))


def watch(client: Client, wanted: AlertSettings) -> Watch:
    """A watch on a store; ``client`` is its alone."""
    from spanledger.reconciler.alerts.read import AlertReader
    from spanledger.reconciler.alerts.store import AlertStore
    from spanledger.reconciler.alerts.watch import Watch
    from spanledger.reconciler.clock import SystemClock

    return Watch(AlertReader(client, wanted), AlertStore(client), channels(), wanted, SystemClock())


class Alerting(Recurring):
    """Looks again and again in a thread of its own, and shows the budgets to the metrics."""

    def __init__(self, watch: Watch, interval_seconds: float) -> None:
        super().__init__("spanledger-alerts", interval_seconds)
        self._watch = watch

    def budgets(self) -> list[BudgetReading]:
        """The budgets at the last look."""
        from spanledger.exporters.readings import BudgetReading

        return [
            BudgetReading(
                org_id=each.budget.org_id,
                budget=each.budget.name,
                period=each.budget.span.value,
                spent_usd=each.spent_usd,
                limit_usd=each.budget.amount_usd,
                forecast_usd=each.forecast_usd,
            )
            for each in self._watch.budgets
        ]

    def work(self) -> None:
        """One look."""
        from spanledger.ledger.errors import StoreError

        try:
            self._watch.look()
        except StoreError as error:
            _log.warning("alerts could not be looked at, trying again: %s", error)
        except Exception:  # noqa: BLE001 - see below
            # The thread is a boundary: a defect here must not end all further alerts silently.
            _log.exception("looking at alerts failed")
