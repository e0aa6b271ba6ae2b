"""OpenAI's connector against a faithful fake: shapes, pages, restatements, failures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest
from fakes import openai as fake_openai
from fakes.base import Answer, serving
from fakes.openai import FakeOpenAI, completions, cost, error

from spanledger.reconciler.errors import State

Rigs = Callable[..., "object"]

DAY = date(2026, 11, 18)
TINY = "0.000004500000000000000000000000000000000"


@pytest.fixture
def fake() -> FakeOpenAI:
    return FakeOpenAI()


@pytest.fixture
def openai(rig, fake):
    return rig(fake, "openai", secrets={"admin_key": fake.key})


def test_costs_become_lines_with_model_class_project_and_key(openai, fake):
    """Amounts as number, as long text and as 0E-6176; the line item gives model, class and tier."""
    fake.costs[DAY] = [
        cost("gpt-4o-mini-2024-07-18, input", TINY, quantity=30),
        cost("gpt-4o-mini-2024-07-18, output", 0.06, quantity=100, unit="tokens", key=None),
        cost("priority | gpt-5.6-sol, cached input, long context", "1.5", quantity=2, unit="1000_tokens"),
        cost("web search tool calls", "0E-6176"),
        cost("a new thing of 2027", "2.25"),
        cost("gpt-4o, input", "-0.10", quantity=0, unit="tokens"),
    ]
    report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert (report.state, report.lines) == (State.OK, 6)
    assert report.notes == {"unclassified": 1}
    found = openai.lines(
        "line_item, model, token_class, service_tier, api_key, quantity, unit, amount, currency, charge"
    )
    assert found == [
        ("a new thing of 2027", "", "", "", "key_1", None, "", Decimal("2.25"), "USD", "usage"),
        ("gpt-4o, input", "gpt-4o", "input_uncached", "", "key_1", 0, "tokens", Decimal("-0.1"), "USD", "credit"),
        (
            "gpt-4o-mini-2024-07-18, input", "gpt-4o-mini-2024-07-18", "input_uncached", "", "key_1",
            30, "tokens", Decimal("0.0000045"), "USD", "usage",
        ),
        (
            "gpt-4o-mini-2024-07-18, output", "gpt-4o-mini-2024-07-18", "output_text", "", "",
            100, "tokens", Decimal("0.06"), "USD", "usage",
        ),
        (
            "priority | gpt-5.6-sol, cached input, long context", "gpt-5.6-sol", "cache_read", "priority", "key_1",
            2000, "tokens", Decimal("1.5"), "USD", "usage",
        ),
        ("web search tool calls", "", "web_searches", "", "key_1", None, "", Decimal(0), "USD", "usage"),
    ]  # fmt: skip


def test_usage_classes_are_disjoint_and_sum_to_the_totals(openai, fake):
    """input = uncached + audio + image + cached + written; output = text + audio + image."""
    fake.usage["completions"][DAY] = [
        completions(
            "gpt-5.6-sol", batch=True, service_tier="flex",
            input_tokens=1000, input_cached_tokens=400, input_cache_write_tokens=100, input_uncached_tokens=500,
            output_tokens=500, input_text_tokens=400, output_text_tokens=400, input_cached_text_tokens=300,
            input_audio_tokens=50, input_cached_audio_tokens=50, output_audio_tokens=50, input_image_tokens=50,
            input_cached_image_tokens=50, output_image_tokens=50, num_model_requests=5,
            input_cache_write_30m_tokens=60, input_cache_write_12h_tokens=40,
        ),
        completions("gpt-4o-2024-08-06", input_tokens=7, output_tokens=3, num_model_requests=1, api_key_id=None),
    ]  # fmt: skip
    openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"usage.completions"}))
    found = openai.lines("token_class, quantity, unit, dimensions['cache_lifetime']", "model = 'gpt-5.6-sol'")
    assert found == [
        ("cache_read", 300, "tokens", ""),
        ("cache_read_audio", 50, "tokens", ""),
        ("cache_read_image", 50, "tokens", ""),
        ("cache_write", 40, "tokens", "12h"),
        ("cache_write", 60, "tokens", "30m"),
        ("input_audio", 50, "tokens", ""),
        ("input_image", 50, "tokens", ""),
        ("input_uncached", 400, "tokens", ""),
        ("output_audio", 50, "tokens", ""),
        ("output_image", 50, "tokens", ""),
        ("output_text", 400, "tokens", ""),
        ("requests", 5, "requests", ""),
    ]
    assert sum(row[1] for row in found if row[2] == "tokens") == 1500
    old = openai.lines("token_class, quantity, api_key, service_tier, is_batch", "model = 'gpt-4o-2024-08-06'")
    assert old == [
        ("input_uncached", 7, "", "default", False),
        ("output_text", 3, "", "default", False),
        ("requests", 1, "", "default", False),
    ]


def test_every_other_usage_report(openai, fake):
    """Each endpoint's own quantity, with its own dimensions."""
    fake.usage["embeddings"][DAY] = [{"input_tokens": 16, "num_model_requests": 2, "model": "text-embedding-3-small"}]
    fake.usage["images"][DAY] = [{"images": 2, "num_model_requests": 2, "size": "1024x1024", "source": "image.edit"}]
    fake.usage["audio_speeches"][DAY] = [{"characters": 45, "num_model_requests": 1}]
    fake.usage["audio_transcriptions"][DAY] = [{"seconds": 20, "num_model_requests": 1}]
    fake.usage["vector_stores"][DAY] = [{"usage_bytes": 1024, "project_id": None}]
    fake.usage["code_interpreter_sessions"][DAY] = [{"num_sessions": 1, "project_id": "proj_1"}]
    fake.usage["file_search_calls"][DAY] = [{"num_requests": 2, "vector_store_id": None}]
    fake.usage["web_search_calls"][DAY] = [{"num_requests": 2, "num_model_requests": 2, "context_level": "high"}]
    fake.usage["moderations"][DAY] = [{"input_tokens": 9, "num_model_requests": 1}]
    openai.sync("2026-11-18", "2026-11-19")
    found = openai.lines("token_class, quantity, unit", "token_class != 'requests'")
    assert found == [
        ("audio_seconds", 20, "seconds"),
        ("characters", 45, "characters"),
        ("code_interpreter_sessions", 1, "sessions"),
        ("file_searches", 2, "searches"),
        ("images", 2, "images"),
        ("input_uncached", 16, "tokens"),
        ("moderation_tokens", 9, "tokens"),
        ("storage", 1024, "bytes"),
        ("web_searches", 2, "searches"),
    ]
    assert openai.lines("dimensions['size'], dimensions['source']", "token_class = 'images'") == [
        ("1024x1024", "image.edit")
    ]


def test_pages_are_followed_to_the_end_with_an_empty_day_between(openai, fake):
    """A page ends in the middle of the range, an empty day lies between; the next page repeats the query."""
    fake.rows_per_page = 1
    for day in (16, 18):
        fake.costs[date(2026, 11, day)] = [cost("gpt-4o, input", "1", quantity=1)]
    openai.sync("2026-11-16", "2026-11-19", streams=frozenset({"costs"}))
    assert openai.total() == 2
    assert [question.one("page")[:5] for question in fake.questions] == ["", "page_"]


def test_a_restated_day_is_replaced_and_a_vanished_line_is_gone(openai, fake):
    """The second pull gives another amount, one line less and one more: no trace of the first remains."""
    fake.costs[DAY] = [cost("gpt-4o, input", "1"), cost("gpt-4o, output", "5")]
    openai.sync("2026-11-15", "2026-11-20", streams=frozenset({"costs"}))
    fake.costs[DAY] = [cost("gpt-4o, input", "1.25"), cost("o9, input", "0.5")]
    openai.clock.advance(hours=5)
    report = openai.sync("2026-11-15", "2026-11-20", streams=frozenset({"costs"}))["costs"]
    assert openai.lines("line_item, amount") == [("gpt-4o, input", Decimal("1.25")), ("o9, input", Decimal("0.5"))]
    assert (report.slots_changed, report.slots_unchanged) == (1, 4)
    fake.costs[DAY] = []
    openai.sync("2026-11-15", "2026-11-20", streams=frozenset({"costs"}))
    assert openai.lines() == []


def test_the_same_answer_again_changes_nothing(openai, fake):
    """No new version, no new raw copy: only the run is recorded."""
    fake.costs[DAY] = [cost("gpt-4o, input", "1")]
    openai.sync("2026-11-15", "2026-11-20", streams=frozenset({"costs"}))
    before = openai.lines("version, source_id, fetched_at")
    report = openai.sync("2026-11-15", "2026-11-20", streams=frozenset({"costs"}))["costs"]
    assert report.slots_changed == 0
    assert openai.lines("version, source_id, fetched_at") == before


@pytest.mark.parametrize(
    ("answers", "waits"),
    [
        ([error(429, "slow down", retry_after="2")], [2.0]),
        ([error(500, "oops", **{"retry-after-ms": "1500"})], [1.5]),
        (
            [error(503, "later", date="Fri, 20 Nov 2026 10:00:00 GMT", retry_after="Fri, 20 Nov 2026 10:00:07 GMT")],
            [7.0],
        ),
    ],
)
def test_asked_waits_are_kept(openai, fake, answers, waits):
    """Seconds, milliseconds, and an HTTP date measured against the server's own clock."""
    fake.fail_next(*answers)
    report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert (report.state, report.retries) == (State.OK, 1)
    assert openai.clock.slept == waits


def test_backoff_without_a_header_and_a_cut_body(openai, fake):
    """429 without any word, a broken body and a 500 cost three retries with growing waits."""
    fake.fail_next(error(429, "slow"), Answer(200, b'{"object": "page", "data": [', {}), error(500, "oops"))
    report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert (report.state, report.retries) == (State.OK, 3)
    first, second, third = openai.clock.slept
    assert 0.25 <= first <= 0.5 <= second <= 1.0 <= third <= 2.0


def test_the_servers_word_on_retrying_goes_first(openai, fake):
    """``x-should-retry: false`` on a 500 ends it; the state is degraded and nothing was replaced."""
    fake.fail_next(error(500, "broken for good", **{"x-should-retry": "false"}))
    report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert (report.state, len(fake.questions)) == (State.DEGRADED, 1)
    assert "broken for good" in report.detail


def test_a_wrong_key_is_not_tried_twice(openai, fake):
    """401: one question for all streams, one readable line with the mend."""
    fake.key = "another"
    reports = openai.sync("2026-11-18", "2026-11-19")
    assert {report.state for report in reports.values()} == {State.AUTH_FAILED}
    assert len(fake.questions) == 1
    assert "sk-admin-" in reports["costs"].detail
    assert "Owner" in reports["costs"].detail


def test_a_missing_scope_is_named(openai, fake):
    """A restricted key answers 401 with the missing scope."""
    said = "You have insufficient permissions for this operation. Missing scopes: api.usage.read. Check ..."
    fake.fail_next(error(401, said))
    report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert report.state is State.PERMISSION_MISSING
    assert "lacks the scope api.usage.read" in report.detail


def test_the_costs_outage_leaves_the_old_lines(openai, fake):
    """404 on costs: degraded, and what was known stays."""
    fake.costs[DAY] = [cost("gpt-4o, input", "1")]
    openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))
    fake.fail_next(error(404, "Not found"), error(404, "Not found"))
    report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert report.state is State.DEGRADED
    assert openai.total() == 1


def test_a_repeated_cursor_is_an_error_not_a_loop(openai, fake):
    """Nothing of the slice is taken over."""
    page = fake_openai.answer({"object": "page", "data": [], "has_more": True, "next_page": "page_again"})
    fake.fail_next(*[page] * 20)
    report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert report.state is State.DEGRADED
    assert "repeated a page cursor" in report.detail
    assert len(fake.questions) == 2


def test_amount_null_is_unknown_not_zero(openai, fake):
    """The line is kept with amount NULL and the stream says so; a missing currency fails the slice."""
    fake.costs[DAY] = [cost("gpt-4o, input", None), cost("gpt-4o, output", "1")]
    report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert (report.state, report.notes["without_amount"]) == (State.DEGRADED, 1)
    assert openai.lines("amount") == [(Decimal(1),), (None,)]
    fake.costs[DAY] = [cost("gpt-4o, input", "1", currency="")]
    report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert "without a currency" in report.detail
    assert len(openai.lines()) == 2


def test_digits_beyond_the_ledger_are_kept_beside_it(openai, fake):
    """A 35-digit amount is rounded in the column and whole in ``amount_exact``."""
    value = "1234567.12345678901234567890123456789012345"
    fake.costs[DAY] = [cost("gpt-4o, input", value)]
    openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))
    assert openai.lines("amount, dimensions['amount_exact']") == [(Decimal("1234567.123456789012"), value)]


def test_finality_follows_the_days_age(openai, fake):
    """Three days after its end a day is final; the flag flips on a later pull without a restatement."""
    for day in (15, 18):
        fake.costs[date(2026, 11, day)] = [cost("gpt-4o, input", "1")]
    openai.sync("2026-11-15", "2026-11-19", streams=frozenset({"costs"}))
    assert openai.lines("is_final") == [(False,), (True,)]
    openai.clock.advance(days=2)
    openai.sync("2026-11-15", "2026-11-19", streams=frozenset({"costs"}))
    assert openai.lines("is_final") == [(True,), (True,)]


def test_over_a_real_socket(rig, fake):
    """The same through a real HTTP server, at another base URL."""
    fake.prefix = "/gateway/v1"
    fake.costs[DAY] = [cost("gpt-4o, input", "1")]
    with serving(fake) as address:
        openai = rig(None, "openai", secrets={"admin_key": fake.key}, base_url=f"{address}/gateway/v1", real=True)
        report = openai.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]
    assert report.state is State.OK, report.detail
    assert openai.total() == 1
