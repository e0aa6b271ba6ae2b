"""A real Prometheus scrapes a real ledger: every query of the dashboards and every rule is executed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from spanledger.exporters.access import Access
from spanledger.exporters.grafana.files import files
from spanledger.exporters.readings import BudgetReading
from spanledger.exporters.web import create_app

MISSING = [tool for tool in ("prometheus", "promtool") if shutil.which(tool) is None]
if MISSING and os.environ.get("CI"):
    raise RuntimeError(f"{' and '.join(MISSING)} must be installed in CI: apt install prometheus")
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"DASHBOARDS AND ALERTS NOT CHECKED: {', '.join(MISSING)} missing (apt install prometheus)"
)

TOKENS = {"token-of-acme": "acme"}
BUDGETS = [
    BudgetReading("acme", "search", "monthly", Decimal(90), Decimal(100), Decimal(120)),
    BudgetReading("globex", "all", "daily", Decimal(5), Decimal(2), None),
]
DEADLINE = 180
VARIABLES = {"$__rate_interval": "1m", "$__range": "5m", "$org_id": ".*", "$provider": ".*", "$model": ".*"}


GROWTH = {
    "increase(llm_requests_total{org_id='acme',model='gpt-4o'}[1m]) > 0": 2,
    "increase(llm_cost_usd_total{org_id='globex'}[1m]) > 0": 1,
    "increase(llm_requests_unknown_model_total{org_id='globex'}[1m]) > 0": 1,
    "rate(spanledger_refused_requests_total[1m]) > 0": 1,
}
"""What Prometheus must have seen before anything is asked of it, and in how many series."""


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=180, check=False)


def rule_files(repository: Path) -> list[Path]:
    return sorted((repository / "deploy/prometheus").glob("*.rules.yml"))


def test_rules_are_valid(repository):
    checked = promtool("check", "rules", *rule_files(repository))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_fires_when_it_should_and_not_before(repository):
    """promtool plays the series of deploy/prometheus/tests; every alert stands there firing and silent."""
    tests = repository / "deploy/prometheus/tests/spanledger_test.yml"
    checked = promtool("test", "rules", tests)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    alerts = {
        rule["alert"]
        for path in rule_files(repository)
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    cases = [case for test in yaml.safe_load(tests.read_text())["tests"] for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fired == silent == alerts


def test_the_example_configuration_is_valid(repository, tmp_path):
    """As it stands in examples/, once its token is there."""
    for part in ("examples", "deploy"):
        shutil.copytree(repository / part, tmp_path / part)
    (tmp_path / "examples/spanledger-token").write_text("token-of-acme")
    checked = promtool("check", "config", tmp_path / "examples/prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "2 rule files" in checked.stdout


@dataclass
class Prometheus:
    """A running server."""

    url: str

    def get(self, path: str, **params: Any) -> Any:
        answer = httpx.get(self.url + path, params=params, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        return self.get("/api/v1/query", query=expr)["result"]

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not holds():
            assert time.monotonic() < deadline, f"{what}: {self.get('/api/v1/targets')['activeTargets']}"
            time.sleep(0.05)

    def found(self, expr: str) -> list[dict[str, Any]]:
        """The rows of a query that must have some: polled, as a scrape that came late leaves a gap."""
        rows: list[dict[str, Any]] = []

        def is_found() -> bool:
            rows[:] = self.query(expr)
            return bool(rows)

        self.wait(expr, is_found)
        return rows


@pytest.fixture(scope="module")
def prometheus(books, serve, repository, tmp_path_factory) -> Iterator[Prometheus]:
    """Scrapes the example's job with acme's token, and the same ledger once more without a token."""
    folder = tmp_path_factory.mktemp("prometheus")
    refused = {"malformed": 0}
    stats = {"journal_bytes": 10, "journal_limit_bytes": 100, "ingest_lag_seconds": 0.5, "refused_requests": refused}
    app = create_app(
        books.ledger,
        access=Access(TOKENS.get, is_open=True),
        stats=lambda: stats,
        budgets=lambda: BUDGETS,
        now=lambda: books.now,
    )
    target = serve(app).removeprefix("http://")
    config = yaml.safe_load((repository / "examples/prometheus.yml").read_text())
    # A scrape that takes longer than the timeout makes every series stale: leave it time on a busy machine.
    config["global"] = {"scrape_interval": "4s", "evaluation_interval": "2s", "scrape_timeout": "4s"}
    config["rule_files"] = [str(path) for path in rule_files(repository)]
    job = config["scrape_configs"][0]
    job["authorization"]["credentials_file"] = str(folder / "token")
    job["static_configs"][0]["targets"] = [target]
    config["scrape_configs"].append({"job_name": "everything", "static_configs": [{"targets": [target]}]})
    (folder / "token").write_text("token-of-acme\n")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ],
        stdout=log,
        stderr=log,
        cwd=folder,
    )
    try:
        running = Prometheus(f"http://{address}")

        def is_ready() -> bool:
            assert server.poll() is None, (folder / "log").read_text()
            try:
                return httpx.get(f"http://{address}/-/ready", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        running.wait("ready", is_ready)
        running.wait(
            "a scrape of both jobs",
            lambda: len(running.query("spanledger_scrape_success == 1")) == 2,
        )
        # Growth between scrapes: without it, rate() and increase() show nothing but zeros.
        call = books.author.call
        for org_id in ("acme", "globex"):
            books.book(*(call(org_id, exact_cost_usd=Decimal("0.5")) for _ in range(4)), call(org_id, request_model=""))
        refused["malformed"] += 5
        running.wait(
            "the growth in both jobs",
            lambda: all(len(running.query(expr)) == count for expr, count in GROWTH.items()),
        )
        yield running
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def test_both_jobs_are_scraped(prometheus):
    """The token's job sees acme alone."""

    def seen() -> set[tuple[str, str]]:
        orgs = prometheus.query("count by (job, org_id) (llm_requests_total)")
        return {(row["metric"]["job"], row["metric"]["org_id"]) for row in orgs}

    wanted = {("spanledger", "acme"), ("everything", "acme"), ("everything", "globex")}
    prometheus.wait("both jobs", lambda: seen() == wanted)


def panels() -> list[tuple[str, str]]:
    found = []
    for text in files().values():
        for panel in json.loads(text)["panels"]:
            found += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    return found


def expanded(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr
    return expr


@pytest.mark.parametrize(("title", "expr"), panels())
def test_every_panel_shows_data(prometheus, title, expr):
    """A query that Prometheus takes but that matches nothing is as broken as one that it refuses."""
    assert all(float(row["value"][1]) >= 0 for row in prometheus.found(expanded(expr))), title


def test_two_scrapes_of_one_ledger_are_not_added_up(prometheus, books):
    """The total of the dashboard is the ledger's, although acme's series come twice."""
    expr = next(expr for title, expr in panels() if title == "Spend, last 24 h")
    shown = float(prometheus.found(expanded(expr))[0]["value"][1])
    since = "started_at >= toDateTime64('2026-11-19 12:35:00', 3, 'UTC')"
    exact = books.ledger.query(f"SELECT sum(cost_usd) FROM spanledger.calls WHERE {since}").first_row[0]
    assert shown == pytest.approx(float(exact), rel=1e-12)
    growth = next(expr for title, expr in panels() if title.startswith("Spend in range, by org"))
    rows = {row["metric"]["org_id"] for row in prometheus.found(expanded(growth))}
    assert rows == {"acme", "globex"}


def test_every_variable_has_values(prometheus):
    for text in files().values():
        for variable in json.loads(text)["templating"]["list"]:
            if variable["type"] == "query":
                metric, _, label = variable["definition"].removeprefix("label_values(").rstrip(")").partition(", ")
                assert prometheus.get(f"/api/v1/label/{label}/values", **{"match[]": metric})


def test_every_rule_evaluates(prometheus, repository):
    """Loaded, evaluated without error; the recordings have values for both organisations."""

    def evaluated() -> bool:
        groups = prometheus.get("/api/v1/rules")["groups"]
        return all(rule["health"] == "ok" for group in groups for rule in group["rules"])

    prometheus.wait("all rules evaluated", evaluated)
    rules = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    written = [yaml.safe_load(path.read_text())["groups"] for path in rule_files(repository)]
    assert len(rules) == sum(len(group["rules"]) for groups in written for group in groups) > 20
    for rule in rules:
        assert not rule.get("lastError"), rule
        if rule["type"] == "recording" and rule["name"].startswith("org:"):
            prometheus.wait(rule["name"], lambda name=rule["name"]: len(prometheus.query(name)) == 2)
        prometheus.query(rule["query"])


def test_the_budget_alerts_see_the_spend(prometheus):
    """The default budget of 100 dollars a day, against 29 and some: no alert on the budget; a fast burn is pending."""
    budget = prometheus.found("org:llm_daily_budget_usd:max")
    assert {float(row["value"][1]) for row in budget} == {100.0}
    assert prometheus.query("org:llm_cost_usd_rolling_24h:max > on (org_id) org:llm_daily_budget_usd:max") == []
    assert prometheus.query("ALERTS{alertname='LlmBudgetExceeded'}") == []
    assert prometheus.found("org:llm_cost_usd:burnrate5m > 6")


def test_the_budgets_of_the_configuration_alert(prometheus):
    """Pending at once: one is spent, one nearly and by forecast; acme's token sees its own alone."""

    def pending() -> set[tuple[str, str]]:
        return {(row["metric"]["alertname"], row["metric"]["budget"]) for row in prometheus.query("ALERTS{budget!=''}")}

    wanted = {("LlmOwnBudgetSpent", "all"), ("LlmOwnBudgetNearlySpent", "search"), ("LlmOwnBudgetForecast", "search")}
    prometheus.wait("the budgets' alerts", lambda: pending() == wanted)
    seen = {row["metric"]["budget"] for row in prometheus.found("spanledger_budget_limit_usd{job='spanledger'}")}
    assert seen == {"search"}
