"""Regular pulls inside a serving process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import httpx
from fakes.base import transport
from fakes.openai import FakeOpenAI

from spanledger.reconciler.connections import Connection
from spanledger.reconciler.errors import State
from spanledger.reconciler.planning import Depth
from spanledger.reconciler.scheduler import Schedule, Scheduler
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
