"""Rollups and counters: what new evidence touched is computed again and replaced, never added to.

Minutes come from calls, hours from minutes, days from hours, counters from hours by model. Each run does whole buckets
and writes what is true now, so it may run twice, late, or again after a crash: `Rollups.begin` notes in the store what
an ingest will touch before it touches it.

Work is proportional to what was touched. So that a stream of small ingests does not spend all its time here, runs keep
a distance (`REST`): what is dirty meanwhile is remembered, and done by the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from spanledger.ledger.counters import Counters
from spanledger.ledger.database import Database

Bucket = tuple[str, int]
"""(org, start of the bucket in seconds since the epoch)"""

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86_400
REST: Final = 19.0
"""A run that took a second is followed by this many seconds without one: rollups take a twentieth of the time."""
_CHUNK: Final = 1_000
"""Buckets per statement: keeps one query's parameters well below the store's limits."""
_DOING: Final = "rolling up usage"


class Rollups:
    """Keeps rollups and counters true. Not thread-safe: its owner serialises."""

    def __init__(self, database: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._counters = Counters(database)
        self._dirty: dict[Bucket, bool] = {}
        self._not_before = monotonic()
        self._complete_to = 0
        self.kept_from = 0
        """Calls before this (seconds since the epoch) were dropped: what was rolled up of them stays as it is."""

    @property
    def dirty(self) -> bool:
        """Whether something was touched since the last run."""
        return bool(self._dirty)

    @property
    def due_in(self) -> float:
        """Seconds until the next run is due; 0 or less when it is."""
        return self._not_before - self._monotonic()

    def recover(self) -> None:
        """Take up what an interrupted process had begun."""
        for _, buckets in self._database.rows("unfinished", {}, "reading what was interrupted"):
            self.touch(buckets, restated=True)

    def begin(self, version: int, minutes: Iterable[Bucket]) -> None:
        """Note, durably, what the ingest with this version is about to touch."""
        self._note(version, sorted(set(minutes)))

    def touch(self, minutes: Iterable[Bucket], *, restated: bool) -> None:
        """Minutes whose calls were written; `restated` when rows may also have moved or gone."""
        for org, minute in minutes:
            if minute >= self.kept_from:
                self._dirty[org, minute] = restated or self._dirty.get((org, minute), False)

    def run(self, version: int) -> None:
        """Bring everything up to date. Idempotent; on an error everything stays dirty.

        Args:
            version: higher than that of every run and ingest before.
        """
        if not self._dirty:
            return
        begun = self._monotonic()
        hours, days = _start(self._dirty, HOUR), _start(self._dirty, DAY)
        self._replace("rollup_minutes", "rollup_vanished", self._dirty, MINUTE, version, unit="minute")
        self._replace("rollup_models", "rollup_vanished_models", hours, HOUR, version)
        # Evidence joins or leaves a call only where something is restated.
        rejoined = {bucket: True for bucket, restated in self._dirty.items() if restated}
        self._replace("rollup_duplicates", "rollup_vanished_duplicates", rejoined, MINUTE, version)
        self._replace("rollup_hours", "rollup_vanished", hours, HOUR, version, unit="hour")
        self._replace("rollup_days", "rollup_vanished", days, DAY, version, unit="day")
        for chunk in _chunks(sorted(hours)):
            self._counters.book(_tuples(chunk))
        self._dirty.clear()
        self._complete_to = version
        ended = self._monotonic()
        self._not_before = ended + REST * (ended - begun)

    def finish(self, version: int) -> None:
        """Note, durably, that nothing is left to do (at a clean end)."""
        if not self._dirty and self._complete_to:
            self._note(version, [])

    def _note(self, version: int, minutes: Sequence[Bucket]) -> None:
        row = [version, datetime.now(UTC), _tuples(minutes), self._complete_to]
        self._database.insert_rows(
            "ingests", ["version", "begun_at", "buckets", "rolled_up_to"], [row], "noting what is about to change"
        )

    def _replace(
        self, name: str, vanished: str, buckets: Mapping[Bucket, bool], width: int, version: int, **texts: str
    ) -> None:
        for chunk in _chunks(sorted(buckets)):
            self._database.run(name, _parameters(chunk, width, version), _DOING)
        for chunk in _chunks(sorted(bucket for bucket, restated in buckets.items() if restated)):
            self._database.run(vanished, _parameters(chunk, width, version), _DOING, **texts)


def _start(buckets: Mapping[Bucket, bool], width: int) -> dict[Bucket, bool]:
    wider: dict[Bucket, bool] = {}
    for (org, second), restated in buckets.items():
        bucket = org, second // width * width
        wider[bucket] = restated or wider.get(bucket, False)
    return wider


def _parameters(buckets: Sequence[Bucket], width: int, version: int) -> dict[str, Any]:
    return {
        "buckets": _tuples(buckets),
        "low": min(second for _, second in buckets),
        "high": max(second for _, second in buckets) + width,
        "version": version,
    }


def _tuples(buckets: Iterable[Bucket]) -> list[Bucket]:
    return [(org, second) for org, second in buckets]


def _chunks(buckets: Sequence[Bucket]) -> Iterable[Sequence[Bucket]]:
    for start in range(0, len(buckets), _CHUNK):
        yield buckets[start : start + _CHUNK]
