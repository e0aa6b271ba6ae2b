"""Regular pulls inside a serving process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import httpx
from fakes.base import transport
from fakes.openai import FakeOpenAI

from spanledger.reconciler.connections import Connection
from spanledger.reconciler.errors import State
from spanledger.reconciler.planning import Depth
from spanledger.reconciler.scheduler import Schedule, Scheduler, next_pull
from spanledger.reconciler.service import Bills


def prod(org: str) -> Connection:
    return Connection(
        org_id=org,
        name="prod",
        connector="openai",
        settings={"requests_per_second": "1000"},
        secrets={"admin_key": "env:KEY"},
    )


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_the_scheduler_pulls_new_connections_and_forgets_removed_ones(bills_client, org):
    """Jobs for every connection; the first pull does not wait for the hour; a removed one loses its jobs."""
    fake = FakeOpenAI()
    bills = Bills.on(bills_client, {"KEY": fake.key}, http=lambda: httpx.Client(transport=transport(fake)))
    bills.connections.put(prod(org))
    told: list[str] = []
    scheduler = Scheduler(bills, schedule=Schedule(nightly_hour=3), after_sync=lambda each: told.append(each.org_id))
    scheduler.start()
    try:
        wait_for(lambda: org in told)
        jobs = scheduler.jobs()
        assert {f"hourly/{org}/prod", f"nightly/{org}/prod", "refresh"} <= set(jobs)
        assert datetime.fromisoformat(jobs[f"nightly/{org}/prod"]).hour == 3
        assert {each.state for each in bills.health(org)} == {State.OK}
        bills.connections.remove(bills.connections.get(org, "prod"))
        scheduler.refresh()
        assert f"hourly/{org}/prod" not in scheduler.jobs()
        scheduler.run(org, "prod", Depth.HOT)
        assert scheduler.failures == 1
    finally:
        scheduler.stop()
    assert scheduler.jobs() == {}


def test_a_restart_does_not_pull_what_is_fresh(bills_client, org):
    """A connection that was pulled within the day waits for its hour."""
    fake = FakeOpenAI()
    bills = Bills.on(bills_client, {"KEY": fake.key}, http=lambda: httpx.Client(transport=transport(fake)))
    bills.connections.put(prod(org))
    bills.sync(bills.connections.get(org, "prod"))
    asked = len(fake.questions)
    scheduler = Scheduler(bills)
    scheduler.start()
    try:
        wait_for(lambda: f"hourly/{org}/prod" in scheduler.jobs())
        assert f"first/{org}/prod" not in scheduler.jobs()
    finally:
        scheduler.stop()
    assert len(fake.questions) == asked


def test_the_next_pull_is_within_the_hour_or_at_night(org):
    """The same minute for one connection always; where each request costs money, at night only."""
    now = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
    first = next_pull(prod(org), now)
    assert timedelta(0) < first - now <= timedelta(hours=1)
    assert next_pull(prod(org), first) - first == timedelta(hours=1)
    bedrock = Connection(org_id=org, name="prod", connector="aws_bedrock")
    night = next_pull(bedrock, now)
    assert (night.date(), night.hour, night.minute) == (date(2026, 11, 21), 4, first.minute)
    assert next_pull(bedrock, now.replace(hour=3)).day == 20
    assert next_pull(prod(org), now, Schedule(hourly=False)) == night
