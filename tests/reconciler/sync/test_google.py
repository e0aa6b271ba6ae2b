"""Google: signed JWTs, slow jobs, Pacific days, credits that must not multiply the cost."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from fakes.google import TABLE, Billed, FakeGoogle, failure

from spanledger.reconciler.errors import State


@pytest.fixture
def fake() -> FakeGoogle:
    return FakeGoogle()


@pytest.fixture
def google(rig, fake):
    return rig(
        fake, "google", settings={"table": TABLE, "labels": "team"}, secrets={"service_account_key": fake.key_file}
    )


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def test_cost_credits_tax_and_late_rows(google, fake):
    """Two credits on one row do not double its cost; a late row keeps the next invoice month; labels stay."""
    fake.rows = [
        Billed(
            at(3),
            "Gemini 3 Flash Text Input - Predictions",
            "1.234567",
            used="1000",
            credits=[("FREE_TIER", "Free", "-0.5"), ("PROMOTION", "Trial", "-0.25")],
            labels={"team": "search", "env": "prod"},
            day="2026-11-03",
        ),
        Billed(at(4), "Gemini 2.5 Pro Text Output (Long) - Batch Predictions", "2", used="10", month="202612"),
        Billed(at(4), "Tax", "0.3", cost_type="tax"),
        Billed(at(4), "Rounding error", "-0.000001", cost_type="rounding_error"),
        Billed(at(4), "Compute Engine Core", "99", service="Compute Engine"),
        Billed(at(4), "Generate content cached input token count gemini 2.5 flash lite short input text", "4",
               used="7", service="Gemini API"),
    ]  # fmt: skip
    report = google.sync("2026-11-01", "2026-11-06")["cost"]
    assert report.state is State.OK, report.detail
    rows = google.lines("provider, model, token_class, quantity, amount, charge, dimensions['invoice_month'], is_batch")
    assert rows == [
        ("google", "gemini-2.5-flash-lite", "cache_read", 7, Decimal(4), "usage", "202611", False),
        ("google_vertex", "", "", None, Decimal("-0.000001"), "adjustment", "202611", None),
        ("google_vertex", "", "", None, Decimal("0.3"), "tax", "202611", None),
        ("google_vertex", "gemini-2.5-pro", "output_text", 10, Decimal(2), "usage", "202612", True),
        ("google_vertex", "gemini-3-flash", "input_uncached", 1000, Decimal("1.234567"), "usage", "202611", False),
        ("google_vertex", "gemini-3-flash", "input_uncached", None, Decimal("-0.5"), "credit", "202611", False),
        ("google_vertex", "gemini-3-flash", "input_uncached", None, Decimal("-0.25"), "credit", "202611", False),
    ]
    assert google.lines("dimensions['label.team'], mapContains(dimensions, 'label.env')", "quantity = 1000") == [
        ("search", False)
    ]


def test_a_count_is_of_tokens_only_where_tokens_are_billed(google, fake):
    """Searches are counted, too; characters of older models are no tokens."""
    fake.rows = [
        Billed(at(4), "Grounding with Google Search", "35", used="1000"),
        Billed(at(4), "PaLM Text Input - Predictions", "1", used="4000", unit="characters"),
        Billed(at(4), "Something New", "2", used="7"),
    ]
    google.sync("2026-11-01", "2026-11-06")
    assert google.lines("token_class, quantity, unit, dimensions['quantity']") == [
        ("", 7, "count", ""),
        ("input_uncached", None, "", "4000 characters"),
        ("web_searches", 1000, "searches", ""),
    ]


def test_days_begin_at_midnight_in_los_angeles(google, fake):
    """07:00 UTC in summer, 08:00 UTC in winter, also across the change of the clocks."""
    fake.rows = [
        Billed(datetime(2026, 11, 1, 6, tzinfo=UTC), "A input", "1", day="2026-10-31", month="202610"),
        Billed(datetime(2026, 11, 1, 20, tzinfo=UTC), "A input", "2", day="2026-11-01"),
        Billed(datetime(2026, 11, 2, 20, tzinfo=UTC), "A input", "4", day="2026-11-02"),
    ]
    google.sync("2026-10-31", "2026-11-03")
    assert google.lines("toString(period_start), toString(period_end), slot, amount") == [
        ("2026-10-31 07:00:00.000", "2026-11-01 07:00:00.000", "2026-10-31", Decimal(1)),
        ("2026-11-01 07:00:00.000", "2026-11-02 08:00:00.000", "2026-11-01", Decimal(2)),
        ("2026-11-02 08:00:00.000", "2026-11-03 08:00:00.000", "2026-11-02", Decimal(4)),
    ]


def test_a_slow_job_is_polled_and_pages_are_followed(google, fake):
    """jobComplete false, twice; then three pages by pageToken."""
    fake.rows = [Billed(at(3), f"Model{index} Text Input", "1", used="1") for index in range(5)]
    fake.slow, fake.page_rows = 2, 2
    report = google.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, report.lines) == (State.OK, 5)


def test_a_job_that_never_ends_is_given_up(google, fake):
    """Nothing of the slice is taken over."""
    fake.slow = 1000
    report = google.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, "does not end" in report.detail) == (State.DEGRADED, True)


def test_permissions_places_and_quotas(google, fake):
    """Each of BigQuery's refusals in words that say what to do."""
    fake.fail_next(failure(403, "PERMISSION_DENIED", "accessDenied", "Access Denied: Table"), when=is_query)
    report = google.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, "roles/bigquery.dataViewer" in report.detail) == (State.PERMISSION_MISSING, True)
    fake.location = "EU"
    report = google.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, "--location" in report.detail) == (State.DEGRADED, True)
    fake.location = "US"
    fake.fail_next(failure(403, "x", "rateLimitExceeded", "Exceeded rate limits"), when=is_query)
    report = google.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, report.retries) == (State.OK, 1)


def is_query(question) -> bool:
    return question.path.endswith("/queries")


def test_a_damaged_key_file(rig, fake):
    """One readable line, without the key."""
    made = rig(fake, "google", settings={"table": TABLE}, secrets={"service_account_key": "not json at all"})
    with pytest.raises(ValueError, match="not the JSON file") as caught:
        made.sync("2026-11-01", "2026-11-06")
    assert "not json at all" not in str(caught.value)


def test_a_table_name_is_checked_before_it_gets_near_sql(rig, fake):
    """Only project.dataset.table."""
    made = rig(fake, "google", settings={"table": "a.b.c`; DROP"}, secrets={"service_account_key": fake.key_file})
    with pytest.raises(ValueError, match=r"project\.dataset\.table"):
        made.sync("2026-11-01", "2026-11-06")


def test_the_detailed_table_keeps_resources(rig, fake):
    """Only when asked for: the standard table has no such column."""
    endpoint = "//aiplatform.googleapis.com/projects/1/locations/us-central1/endpoints/7"
    fake.rows = [Billed(at(3), "Gemini 3 Flash Text Input", "1", used="1", resource=endpoint)]
    for detailed, resource in (("on", endpoint), ("off", "")):
        made = rig(
            fake, "google", settings={"table": TABLE, "detailed": detailed},
            secrets={"service_account_key": fake.key_file}, name=f"detailed-{detailed}",
        )  # fmt: skip
        made.sync("2026-11-01", "2026-11-06")
        assert made.lines("dimensions['resource']") == [(resource,)]
