"""Regular pulls inside a serving process: the last days every hour, everything that may be restated every night.

APScheduler keeps the time; each connection has its own pair of jobs, so that one slow provider holds up nobody. Runs
never overlap for one connection, missed runs are made up once, and every start is spread by a few minutes.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, Final, cast

from spanledger.ledger.errors import StoreError
from spanledger.reconciler.clock import SystemClock
from spanledger.reconciler.connections import Connection
from spanledger.reconciler.connectors import connector
from spanledger.reconciler.errors import ConfigError, State
from spanledger.reconciler.planning import Depth
from spanledger.reconciler.service import Bills

REFRESH_SECONDS: Final = 60
"""How soon a connection that was added or removed meanwhile is noticed."""
THREADS: Final = 4
_DAY_SECONDS: Final = 86_400

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When to pull. ``nightly_hour`` is UTC; 0 disables neither."""

    hourly: bool = True
    nightly_hour: int = 4


def next_pull(connection: Connection, now: datetime, schedule: Schedule | None = None) -> datetime:
    """When a serving process pulls a connection next: within the hour, or at night where nothing is pulled hourly.

    Args:
        connection: as kept.
        now: aware, UTC.
        schedule: of the serving process; the usual one when not given.
    """
    schedule = schedule or Schedule()
    hour = now.replace(minute=_shift((connection.org_id, connection.name)), second=0, microsecond=0)
    if not (schedule.hourly and _has_hourly(connection)):
        hour = hour.replace(hour=schedule.nightly_hour)
        return hour if hour > now else hour + timedelta(days=1)
    return hour if hour > now else hour + timedelta(hours=1)


def _has_hourly(connection: Connection) -> bool:
    found = connector(connection.connector)
    settings = {setting.name: connection.setting(found.spec, setting.name) for setting in found.spec.settings}
    try:
        streams = found.readers(settings)
    except ConfigError:
        return True  # it will be tried, and will say what is wrong
    # What is known of single calls is read with every pull.
    return not streams or any(stream.policy.hourly for stream in streams)


class Scheduler:
    """Pulls every connection regularly. `start` once, `stop` once."""

    def __init__(
        self,
        bills: Bills,
        *,
        schedule: Schedule | None = None,
        after_sync: Callable[[Connection], None] | None = None,
    ) -> None:
        """
        Args:
            bills: what to pull with.
            schedule: when.
            after_sync: told after each pull of a connection (a tie-out may follow).
        """
        self._bills = bills
        self._schedule = schedule or Schedule()
        self._after_sync = after_sync
        self._known: dict[tuple[str, str], Connection] = {}
        self._failures = 0
        self._lock = threading.Lock()
        self._scheduler: Any = None

    @property
    def failures(self) -> int:
        """Pulls that ended with an error of ours (store, configuration) since the start."""
        return self._failures

    def start(self) -> None:
        """Begin in the background. Connections are read from the store, now and every minute."""
        background = cast("Any", import_module("apscheduler.schedulers.background"))
        pools = cast("Any", import_module("apscheduler.executors.pool"))
        self._scheduler = background.BackgroundScheduler(
            timezone="UTC",
            executors={"default": pools.ThreadPoolExecutor(THREADS)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 3600},
        )
        self._scheduler.add_job(
            self.refresh, "interval", seconds=REFRESH_SECONDS, id="refresh", next_run_time=self._bills.clock.now()
        )
        self._scheduler.start()

    def stop(self) -> None:
        """End: interrupts waiting pulls (their slices resume with the next start) and waits for running statements."""
        if isinstance(self._bills.clock, SystemClock):
            self._bills.clock.interrupt()
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)
            self._scheduler = None

    def jobs(self) -> dict[str, str]:
        """Job id → next run as ISO 8601, for status pages."""
        if self._scheduler is None:
            return {}
        return {job.id: job.next_run_time.isoformat() for job in self._scheduler.get_jobs() if job.next_run_time}

    def refresh(self) -> None:
        """Take up new connections and drop removed ones."""
        try:
            found = {(each.org_id, each.name): each for each in self._bills.connections.all()}
        except StoreError as error:
            _log.warning("connections cannot be read: %s", error)
            self._failures += 1
            return
        with self._lock:
            for key in self._known.keys() - found.keys():
                self._drop(key)
            for key, connection in found.items():
                if self._known.get(key) != connection:
                    self._add(key, connection)
            self._known = found

    def run(self, org_id: str, name: str, depth: Depth) -> None:
        """Pull one connection now, in this thread; errors are logged and counted."""
        try:
            connection = self._bills.connections.get(org_id, name)
            reports = self._bills.sync(connection, depth=depth)
        except (ConfigError, StoreError) as error:
            self._failures += 1
            _log.warning("scheduled sync of %s: %s", name, error)
            return
        except Exception:  # noqa: BLE001 - see below
            # The scheduler's threads are a boundary: a defect in one connector must not end the others' pulls.
            self._failures += 1
            _log.exception("scheduled sync of %s failed", name)
            return
        for report in reports:
            if report.state is not State.OK:
                _log.warning("scheduled sync of %s, %s: %s: %s", name, report.stream, report.state.value, report.detail)
        if self._after_sync is not None:
            self._after_sync(connection)

    def _add(self, key: tuple[str, str], connection: Connection) -> None:
        self._drop(key)
        org_id, name = key
        shift = _shift(key)
        if self._schedule.hourly:
            self._scheduler.add_job(
                self.run, "cron", minute=shift, id=f"hourly/{org_id}/{name}", args=(org_id, name, Depth.HOT),
                replace_existing=True,
            )  # fmt: skip
        self._scheduler.add_job(
            self.run, "cron", hour=self._schedule.nightly_hour, minute=shift, id=f"nightly/{org_id}/{name}",
            args=(org_id, name, Depth.FULL), replace_existing=True,
        )  # fmt: skip
        if key not in self._known and self._is_due(connection):
            # A new connection, or one that slept while the server was off, does not wait for the hour.
            self._scheduler.add_job(
                self.run, id=f"first/{org_id}/{name}", args=(org_id, name, Depth.FULL), replace_existing=True
            )

    def _is_due(self, connection: Connection) -> bool:
        known = [found for found in self._bills.health(connection.org_id) if found.connection == connection.name]
        return not known or any(found.age_seconds > _DAY_SECONDS for found in known)

    def _drop(self, key: tuple[str, str]) -> None:
        for kind in ("hourly", "nightly", "first"):
            job_id = f"{kind}/{key[0]}/{key[1]}"
            if self._scheduler.get_job(job_id) is not None:
                self._scheduler.remove_job(job_id)


def _shift(key: tuple[str, str]) -> int:
    """A minute of the hour that is always the same for one connection and spread over all of them."""
    return int.from_bytes(hashlib.sha256("/".join(key).encode()).digest()[:2], "big") % 60
