"""The HTTP seam: redirects, budget, circuit breaker, clocks."""

from __future__ import annotations

from datetime import date

import httpx
import pytest
from fakes.base import Answer, Fake, answer, serving
from fakes.openai import FakeOpenAI, cost, error

from spanledger.reconciler.connectors.lists import listed
from spanledger.reconciler.errors import ConfigError, PermanentSyncError, RetryableSyncError, State
from spanledger.reconciler.http.budget import Breaker, Budget
from spanledger.reconciler.http.retry import asked_wait, asks_to_retry
from spanledger.reconciler.opening import plain_client

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


def test_a_wait_of_a_year_holds_up_nobody_for_a_year(rig):
    """Runs meanwhile end at once, without asking and without sleeping; after an hour the provider is asked again."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    fake.fail_next(error(429, "quota", retry_after="31536000"))
    made.sync("2026-11-18", "2026-11-19", streams=COSTS)
    made.clock.advance(minutes=30)
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, report.requests, made.clock.slept) == (State.RATE_LIMITED, 0, [])
    assert "1800 s of it are left" in report.detail
    made.clock.advance(minutes=30)
    assert made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"].state is State.OK


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
        ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after-ms": "0", "retry-after": "7"}, 7),
        ({"retry-after": "0", "x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after": "0"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 30),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_asked_waits(clock, headers, wait):
    """Each spelling; nonsense, and a wait of nothing, count as silence: the back-off decides."""
    assert asked_wait(headers, clock.now()) == wait


def test_who_may_retry():
    """The header goes before the status."""
    known = (400, 401, 403, 404, 408, 409, 429, 500, 501, 520, 522, 524, 529)
    assert [status for status in known if asks_to_retry(status, {})] == [408, 409, 429, 500, 501, 520, 522, 524, 529]
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


def test_a_gateways_error_page_is_told_by_its_title(rig):
    """Not by its mark-up."""
    fake = FakeOpenAI()
    page = b"<!DOCTYPE html>\n<html><head><title>\n 522: Connection &amp; timed out</title></head>" + b"<p>x</p>" * 900
    fake.fail_next(*[Answer(522, page, {"content-type": "text/html"})] * 2)
    made = rig(fake, "openai", secrets={"admin_key": fake.key}, attempts=2)
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert report.detail.endswith("answered 522 to /organization/costs: a web page, '522: Connection & timed out'")
    assert len(made.clock.slept) == 1


def test_an_answer_of_brackets_is_a_broken_answer(rig):
    """Nested more deeply than Python can follow: retried, then told."""
    fake = FakeOpenAI()
    fake.fail_next(*[Answer(200, b"[" * 100_000)] * 2)
    made = rig(fake, "openai", secrets={"admin_key": fake.key}, attempts=2)
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, "not JSON" in report.detail) == (State.DEGRADED, True)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [("socks5://me:hunter2@127.0.0.1:1", "pip install socksio"), ("ftp://me:hunter2@proxy", "no address like http://")],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(monkeypatch, proxy, words):
    """The variables to look at, in one line."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigError, match=words) as caught:
        plain_client()
    assert "HTTPS_PROXY" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-admin-\u200b1", "sk-admin-1\nsk-admin-2", "Bearer sk-admin-1"])
def test_a_key_that_was_copied_with_more_is_refused_before_it_is_sent(rig, key):
    """Invisible characters, two lines, the header's own word: the place is named, the key is not."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": key})
    with pytest.raises(ConfigError, match=r"at position \d+, which no key has") as caught:
        made.sync("2026-11-18", "2026-11-19", streams=COSTS)
    assert "sk-admin" not in str(caught.value)
    assert not fake.questions


def test_a_page_that_comes_twice_is_no_second_charge(rig):
    """Under ever new cursors; empty pages may repeat."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    start = 1794960000
    bucket = {"object": "bucket", "start_time": start, "end_time": start + 86400, "results": []}
    empty = [{"object": "page", "data": [bucket], "has_more": True, "next_page": f"page_{n}"} for n in range(3)]
    full = {**bucket, "results": [cost("gpt-4o, input", "1.5"), cost("gpt-4o, output", "0.5")]}
    pages = [*empty, {"object": "page", "data": [full], "has_more": True, "next_page": "page_a"}]
    last = {"object": "page", "data": [bucket], "has_more": False, "next_page": None}
    again = {"object": "page", "data": [full], "has_more": False, "next_page": None}
    fake.fail_next(*map(answer, [*pages, last]))
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, made.total()) == (State.OK, 2)
    fake.fail_next(*map(answer, [*pages, again]))
    report = made.sync("2026-11-18", "2026-11-19", streams=COSTS)["costs"]
    assert (report.state, "sent a page of 2026-11-18 twice" in report.detail) == (State.DEGRADED, True)
    assert made.total() == 2


@pytest.mark.parametrize(("cursor", "ends"), [("after", ["a", "b", "a", "b"]), ("after_id", ["a", "a"])])
def test_a_list_that_never_ends_is_left(rig, cursor, ends):
    """Cursors that stand still or go in a circle."""
    fake = Lists(ends)
    made = rig(fake, "openai", secrets={"admin_key": "sk-admin-1"})
    with made.opener.open(made.connection) as opened, pytest.raises(PermanentSyncError, match="repeated a page cursor"):
        list(listed(opened.api, "/things", cursor=cursor))
    assert len(fake.questions) == len(set(ends)) + 1


class Lists(Fake):
    """Pages of one object, the last ids as told, round and round."""

    def __init__(self, ends: list[str]) -> None:
        super().__init__()
        self.ends = ends

    def reply(self, question):
        last = self.ends[(len(self.questions) - 1) % len(self.ends)]
        return answer({"data": [{"id": last}], "has_more": True, "last_id": last})
