"""Fixtures of the reconciler's tests: a store, a clock that only moves when told, the providers' fakes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.migrate import migrate

sys.path.insert(0, str(Path(__file__).parent))

_counter = itertools.count(1)


class Clock:
    """Stands still; `sleep` moves it and remembers."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += timedelta(seconds=max(0.0, seconds))

    def set(self, now: datetime) -> None:
        self._now = now

    def advance(self, **units: Any) -> None:
        self._now += timedelta(**units)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))


# Of a module, not of the session: a process has one embedded store open at a time.
@pytest.fixture(scope="module")
def bills_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = connect(StoreTarget.embedded(tmp_path_factory.mktemp("bills")))
    migrate(client)
    yield client
    client.close()


@pytest.fixture
def org() -> str:
    """An organisation of its own for each test: tests share a store, never a row."""
    return f"org-{next(_counter)}"
