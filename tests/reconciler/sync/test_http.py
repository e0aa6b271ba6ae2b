"""The HTTP seam: redirects, budget, circuit breaker, clocks."""

from __future__ import annotations

from datetime import date

import httpx
import pytest
from fakes.base import Answer, Fake, answer, serving
from fakes.openai import FakeOpenAI, cost, error

from spanledger.reconciler.errors import RetryableSyncError, State
from spanledger.reconciler.http.budget import Breaker, Budget
from spanledger.reconciler.http.retry import asked_wait, asks_to_retry

DAY = date(2026, 11, 18)
COSTS = frozenset({"costs"})


class Elsewhere(Fake):
    """Another host, that would like to have the key."""

    def reply(self, question):
        return answer({"object": "page", "data": [], "has_more": False, "next_page": None})


def moved(target: str) -> Answer:
    return Answer(307, b"", {"location": target})


def test_a_redirect_to_another_host_does_not_carry_the_key(rig):
    """The request arrives there without authorization; on the same host it keeps it."""
    fake, other = FakeOpenAI(), Elsewhere()
    made = rig(fake, "openai", secrets={"admin_key": fake.key}, hosts={"api.openai.com": fake, "other.example": other})
    fake.fail_next(moved("https://other.example/v1/organization/costs"))
    made.sync("2026-11-18", "2026-11-19", streams=COSTS)
    assert [("authorization" in question.headers) for question in other.questions] == [False]
    fake.fail_next(moved("/v1/organization/costs?start_time=1763424000&end_time=1763510400&bucket_width=1d&limit=31"))
    made.sync("2026-11-18", "2026-11-19", streams=COSTS)
    assert fake.questions[-1].headers["authorization"] == f"Bearer {fake.key}"


def test_a_redirect_to_plain_http_is_not_followed(rig):
    """Not even without the key: the answer could not be believed."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    fake.fail_next(moved("http://api.openai.com/v1/organization/costs"))
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, "redirected" in report.detail, len(fake.questions)) == (State.DEGRADED, True, 1)


def test_a_redirect_circle_ends(rig):
    """After a few hops."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    fake.fail_next(*[moved("/v1/organization/costs")] * 9)
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, "circle" in report.detail) == (State.DEGRADED, True)


def test_a_dead_connection_is_retried_and_then_told(rig):
    """Transport errors: as many attempts as the policy has, then one line."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key}, attempts=3)
    fake.fail_next(*[httpx.ConnectError("connection refused")] * 3)
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, "cannot be reached" in report.detail, len(made.clock.slept)) == (State.DEGRADED, True, 2)


def test_a_server_that_hangs_up_in_the_middle(rig):
    """A real socket closed before the answer, then a good one."""
    fake = FakeOpenAI()
    fake.costs[DAY] = [cost("gpt-4o, input", "1")]
    fake.fail_next(httpx.ReadError("closed"))
    with serving(fake) as address:
        made = rig(None, "openai", secrets={"admin_key": fake.key}, base_url=f"{address}/v1", real=True)
        report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, report.retries) == (State.OK, 1)


def test_too_long_a_wait_is_left_to_the_next_run(rig):
    """Retry-After of an hour: rate_limited at once, and the connection keeps quiet meanwhile."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    fake.fail_next(error(429, "quota", retry_after="3600"))
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, report.requests) == (State.RATE_LIMITED, 1)
    assert "3600 s" in report.detail


def test_the_breaker_opens_and_closes(clock):
    """Three failures open it; after the rest one request may try."""
    breaker = Breaker(clock, threshold=3, rest=60)
    for _ in range(2):
        breaker.gave_up()
        breaker.check()
    breaker.gave_up()
    with pytest.raises(RetryableSyncError, match="not asking again"):
        breaker.check()
    clock.advance(seconds=61)
    breaker.check()
    breaker.gave_up()
    with pytest.raises(RetryableSyncError):
        breaker.check()
    clock.advance(seconds=61)
    breaker.succeeded()
    breaker.gave_up()
    breaker.check()


def test_a_failing_provider_is_left_alone_across_streams(rig):
    """The streams of a connection share the breaker: later ones do not knock again."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key}, attempts=2)
    fake.fail_next(*[error(503, "down")] * 100)
    reports = made.sync("2026-11-18", "2026-11-19")
    assert {report.state for report in reports.values()} == {State.DEGRADED}
    assert len(fake.questions) == 3 * 2


def test_the_budget_spreads_requests(clock):
    """Two per second, three at once: the first three go at once, then half a second each."""
    budget = Budget(clock, per_second=2, burst=3)
    for _ in range(6):
        budget.acquire()
    assert sum(clock.slept) == pytest.approx(1.5)
    clock.slept.clear()
    budget.pause(10)
    budget.acquire()
    assert sum(clock.slept) >= 10


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 30),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_asked_waits(clock, headers, wait):
    """Each spelling; nonsense counts as silence."""
    assert asked_wait(headers, clock.now()) == wait


def test_who_may_retry():
    """The header goes before the status."""
    assert [status for status in (400, 401, 403, 404, 408, 409, 429, 500, 529) if asks_to_retry(status, {})] == [
        408, 409, 429, 500, 529,
    ]  # fmt: skip
    assert asks_to_retry(400, {"x-should-retry": "true"})


def test_a_clock_that_is_wrong_is_remarked(rig):
    """An hour's difference to the provider's Date header; days are not shifted by it."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    page = answer(
        {"object": "page", "data": [], "has_more": False, "next_page": None}, date="Fri, 20 Nov 2026 13:00:00 GMT"
    )
    fake.fail_next(page)
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, "3600 s behind" in report.detail) == (State.OK, True)
