"""``/metrics``: names, types and values of the contract, for whoever asks; and what a scrape shows when things fail."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from spanledger.exporters.access import EVERYTHING, Access, Scope
from spanledger.exporters.metrics import LEDGER, SCRAPE_SUCCESS, STATS, LedgerCollector
from spanledger.exporters.readings import BudgetReading, StoreReadings
from spanledger.exporters.web import create_app
from spanledger.ledger.errors import RetryableStoreError

TOKENS = {"token-of-acme": "acme", "token-of-globex": "globex"}

STATS_NOW = {
    "requests": {"grpc/traces": 3, "http/logs": 1},
    "refused_requests": {"malformed": 1},
    "received_bytes": 700,
    "accepted_records": {"traces": 30},
    "refused_records": {"bad_id": 1},
    "dropped_records": {"traces": 5},
    "observations": 25,
    "repeated_observations": 1,
    "decode_errors": {"attribute": 2},
    "dead_letters": 0,
    "store_retries": 4,
    "price_refreshes": 1,
    "price_refresh_failures": 0,
    "corrupt_bytes": 0,
    "ingest_lag_seconds": 0.25,
    "journal_bytes": 4096,
    "journal_limit_bytes": 8 << 30,
    "something_new": 7,
}


def samples(text: str, parse=text_string_to_metric_families) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(found: Mapping, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


@pytest.fixture(scope="module")
def web(books) -> TestClient:
    access = Access(TOKENS.get, is_open=True)
    return TestClient(create_app(books.ledger, access=access, stats=lambda: STATS_NOW, now=lambda: books.now))


def scrape(web: TestClient, token: str = "") -> dict:
    response = web.get("/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples(response.text)


def test_counters_tell_the_ledgers_sums(web):
    """The four names of the contract, with the values that the calls add up to."""
    found = scrape(web)
    gpt = {"provider": "openai", "model": "gpt-4o", "org_id": "acme"}
    assert value(found, "llm_requests_total", **gpt) == 10
    assert value(found, "llm_tokens_total", **gpt) == 9 * 1100
    assert value(found, "llm_cost_usd_total", **gpt) == float(9 * Decimal("0.0035"))
    assert value(found, "llm_cost_usd_total", provider="openai", model="gpt-4o", org_id="globex") == 29.0
    # The call of three days ago is not in the last 24 hours; the unpriced one adds nothing.
    assert value(found, "llm_cost_usd_rolling_24h", org_id="acme") == float(9 * Decimal("0.0035"))
    assert value(found, "spanledger_unpriced_calls_24h", **(gpt | {"model": "no-such-model-2"})) == 1
    assert value(found, "spanledger_duplicates_suppressed_24h", org_id="acme", reason="response_id") == 1
    assert value(found, "spanledger_duplicates_suppressed_usd_24h", org_id="globex", reason="response_id") == 7.25
    assert value(found, "spanledger_scrape_success") == 1


def test_bills_and_tie_outs(web):
    """The latest period of each connection, and how old the provider's data is."""
    found = scrape(web)
    latest = {"org_id": "acme", "connection": "prod", "provider": "openai", "period": "2026-11"}
    assert value(found, "spanledger_tieout_variance_ratio", **latest) == 0.12
    assert value(found, "spanledger_tieout_coverage_ratio", **latest) == 0.88
    assert value(found, "spanledger_tieout_difference_usd", **latest) == 1.25
    assert not [labels for _, labels in found if ("period", "2026-10") in labels]
    # A failed run, and a slice of an unfinished one, make nothing younger.
    assert value(found, "spanledger_sync_age_seconds", org_id="acme", connection="prod", stream="costs") == 3600
    never = {"org_id": "globex", "connection": "globex-secret-prod", "stream": ""}
    assert value(found, "spanledger_sync_age_seconds", **never) == 3 * 86400


def test_a_call_without_a_model_has_a_counter_of_its_own(web):
    """It is in no per-model counter: an empty model label would be a series nobody can act on."""
    found = scrape(web)
    assert value(found, "llm_requests_unknown_model_total", org_id="globex") == 1
    assert not [key for key in found if dict(key[1]).get("model") == ""]


def test_label_values_are_lower_case(web):
    found = scrape(web)
    assert value(found, "llm_requests_total", provider="anthropic", model="claude-sonnet-4-5", org_id="acme") == 1
    for _, labels in found:
        assert all(text == text.lower() for _, text in labels)


def test_names_that_differ_in_case_are_one_series(books):
    """Two spellings of one model add up; they do not collide."""
    call = books.author.call
    books.book(call("mixed-case", request_model="Grok-4"), call("mixed-case", request_model="grok-4"))
    found = scrape(TestClient(create_app(books.ledger, now=lambda: books.now)))
    assert value(found, "llm_requests_total", provider="openai", model="grok-4", org_id="mixed-case") == 2


def test_a_token_shows_one_organisation(web):
    """And none of the receiver's numbers that tell of others; only what its owner needs to trust the data."""
    found = scrape(web, "token-of-acme")
    assert {dict(labels)["org_id"] for _, labels in found if "org_id" in dict(labels)} == {"acme"}
    names = {name for name, _ in found}
    assert {"spanledger_ingest_lag_seconds", "spanledger_journal_bytes", "spanledger_scrape_success"} <= names
    assert not names & {"spanledger_requests_total", "spanledger_received_bytes_total"}


@pytest.mark.parametrize("header", ["Bearer token-of-nobody", "Basic dTpw", "Bearer", "token-of-acme"])
def test_a_wrong_token_shows_nothing(web, header):
    """On an open listener too: a misspelt token must not widen what is seen."""
    response = web.get("/metrics", headers={"Authorization": header})
    if header == "Bearer":
        assert response.status_code == 200  # no token at all
        return
    assert response.status_code == 401
    assert response.json().keys() == {"error"}
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_closed_listener_needs_a_token(books):
    web = TestClient(create_app(books.ledger, access=Access(TOKENS.get), now=lambda: books.now))
    assert web.get("/metrics").status_code == 401
    assert web.get("/metrics", headers={"Authorization": "Bearer token-of-acme"}).status_code == 200


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
        "application/openmetrics-text",
    ],
)
def test_openmetrics_when_asked_for(web, accept):
    """The same samples in the other format, valid by its own strict parser."""
    response = web.get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert response.text.endswith("# EOF\n")
    assert samples(response.text, parse_openmetrics) == scrape(web)


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "text/plain;version=1.0.0", "text/html"])
def test_plain_text_for_everybody_else(web, accept):
    response = web.get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_types_and_help_of_every_family(web):
    families = {family.name: family for family in text_string_to_metric_families(web.get("/metrics").text)}
    for family in (*LEDGER, SCRAPE_SUCCESS, *(stat.family for stat in STATS)):
        shown = families[family.name.removesuffix("_total")]
        assert (shown.type, shown.documentation) == (family.kind, family.help)


def test_the_receivers_numbers_are_shown_as_they_are(web):
    found = scrape(web)
    assert value(found, "spanledger_requests_total", source="grpc/traces") == 3
    assert value(found, "spanledger_refused_requests_total", reason="malformed") == 1
    assert value(found, "spanledger_journal_limit_bytes") == 8 << 30
    assert value(found, "spanledger_ingest_lag_seconds") == 0.25
    assert value(found, "spanledger_store_retries_total") == 4


def test_every_number_of_the_collector_has_its_metric():
    """The keys are the collector's own: a renamed one would silently vanish from /metrics."""
    from spanledger.collector.stats import Stats

    known = {stat.key for stat in STATS}
    elsewhere = {"processed_frames", "processed_records", "torn_bytes"}
    assert set(Stats().snapshot()) - elsewhere <= known
    others = {"journal_bytes", "journal_limit_bytes", "price_refreshes", "price_refresh_failures"}
    assert known - set(Stats().snapshot()) == others


@dataclass
class Breaking:
    """Readings whose store can be switched off."""

    readings: StoreReadings
    error: Exception | None = None

    def snapshot(self, scope, now):
        if self.error is not None:
            raise self.error
        return self.readings.snapshot(scope, now)


def collect(collector: LedgerCollector) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


@pytest.mark.parametrize("error", [RetryableStoreError("the store is down"), ValueError("a bug"), MemoryError()])
def test_a_failing_store_shows_the_last_values(books, error):
    """Counters that vanish look like a restart; last values and a zero say what is the matter."""
    breaking = Breaking(StoreReadings(books.ledger))
    collector = LedgerCollector(breaking, EVERYTHING, now=lambda: books.now)
    before = collect(collector)
    breaking.error = error
    during = collect(collector)
    assert value(during, "spanledger_scrape_success") == 0
    success = ("spanledger_scrape_success", ())
    assert {k: v for k, v in during.items() if k != success} == {k: v for k, v in before.items() if k != success}
    breaking.error = None
    assert collect(collector) == before


def test_a_store_that_never_answered_shows_no_values(books):
    """No zeros: they would read as counter resets later."""
    breaking = Breaking(StoreReadings(books.ledger), RetryableStoreError("down"))
    assert collect(LedgerCollector(breaking, EVERYTHING)) == {("spanledger_scrape_success", ()): 0}


def test_failing_stats_do_not_fail_the_scrape(books):
    def broken() -> Mapping[str, object]:
        raise RuntimeError("no stats")

    found = collect(LedgerCollector(StoreReadings(books.ledger), EVERYTHING, stats=broken, now=lambda: books.now))
    assert value(found, "spanledger_scrape_success") == 0


def test_registering_reads_nothing(books):
    """describe() names all families, so that a registry needs no scrape to know them."""
    breaking = Breaking(StoreReadings(books.ledger), AssertionError("read at registration"))
    collector = LedgerCollector(breaking, EVERYTHING, stats=lambda: STATS_NOW)
    registry = CollectorRegistry(auto_describe=True)
    registry.register(collector)
    described = {metric.name for metric in collector.describe()}
    breaking.error = None
    collected = {metric.name for metric in collector.collect()}
    assert collected <= described


def growth(books, web: TestClient, *events: Callable[[], None]) -> list[dict]:
    scrapes = [scrape(web)]
    for event in events:
        event()
        scrapes.append(scrape(web))
    return scrapes


def test_counters_never_go_down(books):
    """A late duplicate takes a call back; the counter waits, and says so, until growth has caught up."""
    call = books.author.call
    first = call("late", response_id="")
    second = replace(first, trace_id=b"L" * 16, span_id=b"L" * 8, dialect="other", response_id="late-1")
    web = TestClient(create_app(books.ledger, now=lambda: books.now))
    scrapes = growth(
        books,
        web,
        lambda: books.book(first),
        lambda: books.book(second),
        lambda: books.book(second, first),
        lambda: books.book(*(call("late") for _ in range(3))),
    )
    counters = [{k: v for k, v in found.items() if k[0].endswith("_total")} for found in scrapes]
    for before, after in pairwise(counters):
        assert before.keys() <= after.keys()
        assert all(after[key] >= before[key] for key in before)
    late = {"provider": "openai", "model": "gpt-4o", "org_id": "late"}
    calls = books.ledger.query("SELECT count() FROM spanledger.calls WHERE org_id = 'late'").first_row[0]
    pending = value(scrapes[-1], "spanledger_counter_adjustment_pending", metric="llm_requests_total", org_id="late")
    assert value(scrapes[-1], "llm_requests_total", **late) - pending == calls


def test_the_last_24_hours_roll(books):
    """Calls leave the gauge a day after they started; an organisation without calls shows 0."""
    books.book(books.author.call("rolling", exact_cost_usd=Decimal("2.5")))
    readings = StoreReadings(books.ledger)

    def spent(after: timedelta) -> float:
        collector = LedgerCollector(readings, Scope("rolling"), now=lambda: books.now + after)
        return value(collect(collector), "llm_cost_usd_rolling_24h", org_id="rolling")

    assert spent(timedelta(0)) == 2.5
    assert spent(timedelta(hours=23, minutes=59)) == 2.5
    assert spent(timedelta(hours=24, minutes=1)) == 0


def test_duplicates_are_read_once_a_minute_at_most(books):
    readings = StoreReadings(books.ledger)
    scope = Scope("fresh")
    assert not readings.snapshot(scope, books.now).suppressed
    first = books.author.call("fresh")
    books.book(first, replace(first, trace_id=b"F" * 16, span_id=b"F" * 8, dialect="other"))
    assert not readings.snapshot(scope, books.now + timedelta(seconds=59)).suppressed
    assert len(readings.snapshot(scope, books.now + timedelta(seconds=60)).suppressed) == 1


def test_compressed_when_asked(web):
    """Prometheus always asks for gzip."""
    plain = web.get("/metrics", headers={"Accept-Encoding": "identity"})
    packed = web.get("/metrics", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert samples(packed.text) == samples(plain.text)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="NOT CHECKED: promtool is missing (apt install prometheus)"
)
def test_promtool_finds_no_fault(web):
    """Except with one name that the contract fixes."""
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=web.get("/metrics").content,
        capture_output=True,
        timeout=30,
        check=False,
    )
    complaints = (checked.stdout + checked.stderr).decode().splitlines()
    assert complaints == ["spanledger_counter_adjustment_pending metric name should not include type 'counter'"]


def test_budgets_are_shown_to_whom_they_belong(books):
    readings = [
        BudgetReading("acme", "Search", "monthly", Decimal("1.25"), Decimal(10), Decimal("3.5")),
        BudgetReading("globex", "all", "daily", Decimal(0), Decimal(2), None),
    ]
    app = create_app(
        books.ledger, access=Access(TOKENS.get, is_open=True), budgets=lambda: readings, now=lambda: books.now
    )
    found = scrape(TestClient(app))
    labels = {"org_id": "acme", "budget": "search", "period": "monthly"}
    assert value(found, "spanledger_budget_spent_usd", **labels) == 1.25
    assert value(found, "spanledger_budget_limit_usd", **labels) == 10
    assert value(found, "spanledger_budget_forecast_usd", **labels) == 3.5
    shown = {key for key in scrape(TestClient(app), "token-of-globex") if key[0].startswith("spanledger_budget")}
    assert {dict(labels)["budget"] for _, labels in shown} == {"all"}
    assert {name for name, _ in shown} == {"spanledger_budget_spent_usd", "spanledger_budget_limit_usd"}
