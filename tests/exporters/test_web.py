"""Health and the breakdown API: right sums from the right rollup, one organisation by token, readable errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from starlette.testclient import TestClient

from spanledger.exporters import health
from spanledger.exporters.access import Access
from spanledger.exporters.web import create_app
from spanledger.ledger.errors import PermanentStoreError, RetryableStoreError

TOKENS = {"token-of-acme": "acme", "token-of-globex": "globex"}
ACME = {"Authorization": "Bearer token-of-acme"}


@pytest.fixture(scope="module")
def web(books) -> TestClient:
    return TestClient(create_app(books.ledger, access=Access(TOKENS.get, is_open=True), now=lambda: books.now))


def get(web: TestClient, path: str, headers: dict[str, str] | None = ACME, **params) -> dict:
    response = web.get(path, params=params, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


# -- spend ------------------------------------------------------------------------------------------------------------


def test_spend_of_the_last_week_by_default(web):
    """All of it in one row, amounts as decimal texts."""
    answer = get(web, "/api/v1/spend")
    assert (answer["from"], answer["to"]) == ("2026-11-13T12:35:00Z", "2026-11-20T12:35:00Z")
    assert answer["currency"] == "USD"
    assert answer["rows"] == [answer["total"]]
    assert answer["total"] == {
        "calls": 12,
        "errors": 1,
        "unpriced_calls": 1,
        "input_tokens": 11_000,
        "output_tokens": 1_100,
        "cost_usd": "0.035",
        "cost_low_usd": "0.035",
        "cost_high_usd": "0.035",
    }
    assert not answer["truncated"]


def test_spend_by_dimensions(web):
    """Dearest first; the sums of the rows are the total."""
    answer = get(web, "/api/v1/spend", by="provider,model")
    assert answer["by"] == ["provider", "model"]
    assert [(row["provider"], row["model"], row["cost_usd"]) for row in answer["rows"]] == [
        ("openai", "gpt-4o", "0.0315"),
        ("anthropic", "claude-sonnet-4-5", "0.0035"),
        ("openai", "no-such-model-2", None),
    ]
    assert sum(Decimal(row["cost_usd"] or 0) for row in answer["rows"]) == Decimal(answer["total"]["cost_usd"])
    assert sum(row["calls"] for row in answer["rows"]) == answer["total"]["calls"]


def test_an_unknown_price_is_null_and_no_calls_cost_nothing(web):
    rows = {row["model"]: row for row in get(web, "/api/v1/spend", by="model")["rows"]}
    assert rows["no-such-model-2"]["cost_usd"] is None
    assert rows["no-such-model-2"]["unpriced_calls"] == 1
    empty = get(web, "/api/v1/spend", **{"from": "2020-01-01", "to": "2020-01-02"})
    assert empty["total"]["calls"] == 0
    assert empty["total"]["cost_usd"] == "0"
    assert get(web, "/api/v1/spend", by="model", **{"from": "2020-01-01", "to": "2020-01-02"})["rows"] == []


@pytest.mark.parametrize("bucket", ["minute", "hour", "day"])
@pytest.mark.parametrize("dimension", ["", "team", "session"])
def test_every_bucket_and_source_gives_the_same_sum(web, bucket, dimension):
    """Minutes, hours, days and single calls tell one truth; buckets come in order."""
    span = {"from": "2026-11-17", "to": "2026-11-21"}
    answer = get(web, "/api/v1/spend", by=",".join(filter(None, (bucket, dimension))), **span)
    assert answer["total"] == get(web, "/api/v1/spend", **span)["total"]
    times = [row["time"] for row in answer["rows"]]
    assert times == sorted(times)
    assert sum(row["calls"] for row in answer["rows"]) == 12
    assert all(time.endswith({"minute": ":00Z", "hour": ":00:00Z", "day": "T00:00:00Z"}[bucket]) for time in times)


def test_a_span_that_cuts_days_reads_minutes(web, books):
    """From and to are taken to the minute."""
    answer = get(web, "/api/v1/spend", **{"from": "2026-11-20T12:30:00Z", "to": "2026-11-20T12:33:00Z"})
    counted = books.ledger.query(
        "SELECT count() FROM spanledger.calls WHERE org_id = 'acme'"
        " AND started_at >= '2026-11-20 12:30:00' AND started_at < '2026-11-20 12:33:00'"
    ).first_row[0]
    assert answer["total"]["calls"] == counted == 3


@pytest.mark.parametrize(
    ("since", "until", "shown"),
    [
        ("2026-11-20T12:30:59Z", "2026-11-20T12:31:01Z", ("2026-11-20T12:30:00Z", "2026-11-20T12:32:00Z")),
        ("2026-11-20T12:30:00+02:00", "", ("2026-11-20T10:30:00Z", "2026-11-20T12:35:00Z")),
        ("2026-11-20T12:30:00 02:00", "", ("2026-11-20T10:30:00Z", "2026-11-20T12:35:00Z")),
        ("2026-11-20T12:30", "", ("2026-11-20T12:30:00Z", "2026-11-20T12:35:00Z")),
        ("1763600000", "1763700000", ("2025-11-20T00:53:00Z", "2025-11-21T04:40:00Z")),
        ("2026-11-01", "2026-11-02", ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z")),
    ],
)
def test_ways_to_write_a_time(web, since, until, shown):
    span = {"from": since} | ({"to": until} if until else {})
    answer = get(web, "/api/v1/spend", **span)
    assert (answer["from"], answer["to"]) == shown


def test_rows_are_limited_and_the_total_is_not(web):
    answer = get(web, "/api/v1/spend", by="minute", limit="2")
    assert len(answer["rows"]) == 2
    assert answer["truncated"]
    assert answer["total"]["calls"] == 12


def test_every_dimension_is_answered(web):
    for dimension in ("provider", "model", "team", "feature", "service", "environment", "project", "workspace", "org"):
        assert get(web, "/api/v1/spend", by=dimension)["by"] == [dimension]
    for dimension in ("session", "user"):
        rows = get(web, "/api/v1/spend", by=dimension, **{"from": "2026-11-20"})["rows"]
        assert len(rows) > 1


@pytest.mark.parametrize("path", ["/api/v1/spend", "/api/v1/calls"])
@pytest.mark.parametrize("dimension", ["org", "team", "session", "user", "service"])
def test_a_token_shows_one_organisation(web, books, path, dimension):
    """And without a token, the open listener shows both: this test can fail."""
    params = {"by": dimension} if path.endswith("spend") else {}
    for headers, expected in ((ACME, False), (None, True)):
        text = web.get(path, params=params, headers=headers).text
        assert (books.secret in text or '"globex"' in text) is expected


# -- calls ------------------------------------------------------------------------------------------------------------


def test_pages_of_calls_make_the_whole(web, books):
    """Newest first, each call once, no call missing."""
    pages, cursor = [], ""
    while True:
        page = get(web, "/api/v1/calls", limit="5", **({"cursor": cursor} if cursor else {}))
        pages.append(page["calls"])
        cursor = page["next"]
        if cursor is None:
            break
    assert [len(page) for page in pages] == [5, 5, 1]
    calls = [call for page in pages for call in page]
    assert [call["started_at"] for call in calls] == sorted((call["started_at"] for call in calls), reverse=True)
    known = books.ledger.query(
        "SELECT call_id FROM spanledger.calls WHERE org_id = 'acme' AND started_at > '2026-11-20 00:00:00'"
    ).result_rows
    assert {call["call_id"] for call in calls} == {call_id for (call_id,) in known}
    assert calls[0]["started_at"] == "2026-11-20T12:34:56.000000001Z"


def test_a_call_says_what_is_known_of_it(web):
    newest = get(web, "/api/v1/calls", limit="1")["calls"][0]
    assert newest["cost_usd"] == "0.0035"
    assert newest["cost_status"] == "exact"
    assert newest["team"] == "red"
    assert newest["witness_count"] == 2
    assert newest["input_tokens"] == 1000
    assert newest["cache_read_tokens"] is None


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"provider": "anthropic"}, 1),
        ({"model": "GPT-4o"}, 9),
        ({"team": "blue"}, 3),
        ({"feature": "search", "session": "acme-0"}, 3),
        ({"user": "u-1"}, 1),
        ({"status": "error"}, 1),
        ({"cost_status": "unpriced", "status": "ok"}, 1),
        ({"service": "nobody"}, 0),
        ({"from": "2026-11-17", "to": "2026-11-18"}, 1),
    ],
)
def test_calls_can_be_filtered(web, filters, count):
    assert len(get(web, "/api/v1/calls", **filters)["calls"]) == count


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "params", "says"),
    [
        ("/api/v1/spend", {"by": "color"}, "not a dimension: choose of provider"),
        ("/api/v1/spend", {"by": "day,hour"}, "choose one of day, hour, minute"),
        ("/api/v1/spend", {"from": "yesterday"}, "from='yesterday' is not a time"),
        ("/api/v1/spend", {"to": "2026-13-01"}, "to='2026-13-01' is not a time"),
        ("/api/v1/spend", {"from": "99999999999999999999"}, "is not a time"),
        ("/api/v1/spend", {"from": "1950-01-01"}, "is not a time"),
        ("/api/v1/spend", {"from": "2026-11-21"}, "is not before"),
        ("/api/v1/spend", {"limit": "0"}, "not a number from 1 to"),
        ("/api/v1/spend", {"limit": "1e3"}, "not a number from 1 to"),
        ("/api/v1/spend", {"limit": "9" * 5000}, "not a number from 1 to"),
        ("/api/v1/spend", {"to": "9" * 5000}, "is not a time"),
        ("/api/v1/calls", {"cursor": "OTk5" * 2000}, "not one of ours"),
        ("/api/v1/spend", {"group": "team"}, "unknown parameter 'group'"),
        ("/api/v1/spend", {"from": ["2026-11-01", "2026-11-02"]}, "given 2 times"),
        ("/api/v1/spend", {"by": "session", "from": "2026-01-01"}, "at most 31 days"),
        ("/api/v1/calls", {"cursor": "nonsense"}, "not one of ours"),
        ("/api/v1/calls", {"cursor": "MTIz"}, "not one of ours"),
        ("/api/v1/calls", {"cursor": "ü"}, "not one of ours"),
        ("/api/v1/calls", {"models": "x"}, "unknown parameter 'models'"),
        ("/api/v1/calls", {"limit": "100000"}, "not a number from 1 to 1000"),
    ],
)
def test_a_bad_parameter_is_one_readable_line(web, path, params, says):
    response = web.get(path, params=params)
    assert response.status_code == 400
    assert response.json().keys() == {"error"}
    assert says in response.json()["error"]
    assert "\n" not in response.json()["error"]


@pytest.mark.parametrize("path", ["/api/v1/spend", "/api/v1/calls", "/metrics"])
def test_a_closed_listener_needs_a_token(books, path):
    web = TestClient(create_app(books.ledger, access=Access(TOKENS.get), now=lambda: books.now))
    response = web.get(path)
    assert response.status_code == 401
    assert "spanledger tokens create" in response.json()["error"]
    assert web.get(path, headers=ACME).status_code == 200


def test_unknown_paths_and_methods(web):
    assert web.get("/api/v2/spend").status_code == 404
    assert "openapi.json" in web.get("/nowhere").json()["error"]
    assert web.post("/api/v1/spend").status_code == 405
    assert "POST is not served" in web.post("/metrics").json()["error"]


class Down:
    """A ledger whose store does not answer."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def counters(self, org_id=None):
        raise self.error

    def query(self, sql, parameters=None):
        raise self.error


def test_a_store_that_is_down_is_said_so():
    """503 and when to come back, for what may pass; metrics and health still answer."""
    web = TestClient(create_app(Down(RetryableStoreError("store failed while reading spend:\nno route to host"))))
    response = web.get("/api/v1/spend")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.json() == {"error": "store failed while reading spend: no route to host"}
    assert "spanledger_scrape_success 0.0" in web.get("/metrics").text
    assert web.get("/healthz").status_code == 200
    web = TestClient(create_app(Down(PermanentStoreError("no such table"))))
    assert web.get("/api/v1/calls").status_code == 500


def test_a_token_cannot_be_checked_while_the_store_is_down(books):
    def verify(token: str) -> str | None:
        raise RetryableStoreError("store failed while reading tokens")

    web = TestClient(create_app(books.ledger, access=Access(verify)))
    assert web.get("/api/v1/spend", headers=ACME).status_code == 503


# -- health -----------------------------------------------------------------------------------------------------------


def ready(books, checks) -> tuple[int, dict]:
    response = TestClient(create_app(books.ledger, access=Access(TOKENS.get), checks=checks)).get("/readyz")
    return response.status_code, response.json()


def test_health_needs_no_token(books):
    """Orchestrators have none."""
    web = TestClient(create_app(books.ledger, access=Access(TOKENS.get)))
    assert web.get("/healthz").json() == {"status": "ok"}
    assert web.get("/readyz").status_code == 200


def test_ready_when_every_check_passes(books, tmp_path):
    checks = {
        "store": health.store_writable(books.ledger.client, tmp_path),
        "journal": health.journal_below_limit(lambda: {"journal_bytes": 94, "journal_limit_bytes": 100}),
        "pipeline": health.pipeline_moves(lambda: {"journal_bytes": 1, "processed_frames": 1}),
    }
    assert ready(books, checks) == (200, {"status": "ready", "checks": ["journal", "pipeline", "store"]})


def test_not_ready_says_why(books, tmp_path):
    """All reasons at once; a check that itself fails is a reason."""

    def broken() -> str | None:
        raise OSError("disk on fire")

    checks = {
        "journal": health.journal_below_limit(lambda: {"journal_bytes": 95, "journal_limit_bytes": 100}),
        "broken": broken,
        "store": health.store_writable(books.ledger.client, tmp_path),
    }
    status, answer = ready(books, checks)
    assert status == 503
    assert "journal: the journal holds 95 of 100 bytes" in answer["error"]
    assert "broken: OSError: disk on fire" in answer["error"]
    assert "store:" not in answer["error"]


def test_a_stuck_pipeline_is_seen():
    """Frames wait and none leaves: not ready after the time given; any progress starts the clock anew."""
    stats: dict[str, object] = {"journal_bytes": 10, "processed_frames": 5}
    time = [0.0]
    check = health.pipeline_moves(lambda: stats, seconds=60, clock=lambda: time[0])
    assert check() is None
    time[0] = 59
    assert check() is None
    time[0] = 60
    assert "nothing has left the journal for 60 s" in (check() or "")
    stats["processed_frames"] = 6
    assert check() is None
    time[0] = 121
    assert check() is not None
    stats["journal_bytes"] = 0
    assert check() is None
    time[0] = 1000
    assert check() is None


def test_a_journal_without_numbers_is_no_reason():
    assert health.journal_below_limit(dict)() is None


def test_a_store_that_fails_is_not_writable(tmp_path):
    class Client:
        def query(self, sql):
            raise ConnectionRefusedError("no server")

    assert "no server" in (health.store_writable(Client())() or "")
    missing = tmp_path / "gone"
    assert "not writable" in (health.store_writable(Client(), missing)() or "")


# -- openapi ----------------------------------------------------------------------------------------------------------


def test_the_description_matches_the_api(web):
    """Every parameter that it names is taken, with the values that it lists."""
    document = get(web, "/api/v1/openapi.json")
    assert document["openapi"].startswith("3.1")
    for path, item in document["paths"].items():
        for parameter in item["get"]["parameters"]:
            assert parameter["in"] == "query"
            name, schema = parameter["name"], parameter["schema"]
            choices = schema.get("items", {}).get("enum", ["1" if schema["type"] == "integer" else "x"])
            for choice in choices:
                span = {"from": "2026-11-20"} if name == "by" else {}
                response = web.get(path, params={name: choice, **span})
                assert "unknown parameter" not in response.text
                assert response.status_code == (400 if name in ("from", "to", "cursor") else 200), response.text


def test_times_are_in_utc():
    """The default clock is aware."""
    from spanledger.exporters.web import utc_now

    assert abs(utc_now() - datetime.now(UTC)) < timedelta(minutes=1)
