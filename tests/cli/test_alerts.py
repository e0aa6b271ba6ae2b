"""Alerts from the config file through a serving process to a web server that takes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spanledger.cli.app import run
from spanledger.ledger.client import StoreTarget
from spanledger.ledger.store import Ledger
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

CONFIG = """
[alerts]
notify = ["env:HOOK"]
interval_seconds = 1

[alerts.list]
json = true

[[budgets]]
name = "search"
team = "search"
period = "monthly"
amount_usd = 3
forecast = false
burn_rate = 0
"""


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/T0PSECRET")
    yield bodies
    server.shutdown()
    server.server_close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A ledger with one call of $3.50 by the team."""
    now = int(datetime.now(UTC).timestamp()) * 10**9
    call = Observation(
        org_id="default", trace_id=b"t" * 16, span_id=b"s" * 8, dialect="test", received_ns=now, started_ns=now,
        ended_ns=now + 10**9, provider="openai", operation="chat", request_model="gpt-4o", response_model="gpt-4o",
        response_id="r", usage=Usage(input_uncached=1_000_000, output_text=100_000), team_id="search",
    )  # fmt: skip
    ledger = Ledger.open(StoreTarget.embedded(tmp_path / "data"), PriceBook())
    ledger.ingest([call])
    ledger.close()
    return tmp_path / "data"


def test_a_server_tells_and_shows_what_stands_in_its_config(
    data: Path,
    tmp_path: Path,
    webhook: list[dict[str, Any]],
    serve: Callable[..., Any],
    wait_for: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    Path("spanledger.toml").write_text(CONFIG)
    assert run(["alerts", "check", "--data", str(data)]) == 3
    assert "search   default" in capsys.readouterr().out
    assert run(["alerts", "test"]) == 0
    assert (webhook.pop()["title"], capsys.readouterr().out) == ("Spanledger: test", "env:HOOK: sent\n")
    served = serve(data=data)
    (body,) = wait_for(lambda: list(webhook), "the alert", 60)
    assert body["title"].startswith("[Critical] Budget search: 116.7 % spent in ")
    metrics = served.get("/metrics")
    labels = '{budget="search",org_id="default",period="monthly"}'
    assert f"spanledger_budget_spent_usd{labels} 3.5\n" in metrics
    assert f"spanledger_budget_limit_usd{labels} 3.0\n" in metrics
    (alert,) = wait_for(lambda: _delivered(data, capsys), "the delivery written down")
    assert (alert["kind"], alert["state"]) == ("budget", "100 %")
    assert served.stop() == 0
    assert len(webhook) == 1
    assert "T0PSECRET" not in served.log.read_text()


def _delivered(data: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert run(["alerts", "list", "--data", str(data)]) == 0
    return [alert for alert in json.loads(capsys.readouterr().out) if not alert["undelivered"]]


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        (["alerts", "check"], "", "no [alerts] and no [[budgets]]"),
        (["alerts", "test"], "[alerts]\n", "there is no channel"),
        (["alerts", "test"], "[alerts]\nnotify = ['x']\n", "my.toml, line 2: [alerts] notify: entry 1"),
        (["serve"], "\n[[budgets]]\nname = 'a'\nperiod = 'yearly'\n", "my.toml, line 4: [[budgets]] 'a' period"),
        (["alerts", "check"], "[alerts.chek]\nx = 1\n", "unknown table [alerts.chek]"),
    ],
)
def test_a_mistake_is_one_line(
    command: list[str], text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "my.toml").write_text(text)
    assert run(["--config", str(tmp_path / "my.toml"), *command]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_channel_that_does_not_take_it_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "my.toml").write_text("[alerts]\nnotify = ['env:NOT_SET']\n")
    assert run(["--config", str(tmp_path / "my.toml"), "alerts", "test"]) == 1
    assert "env:NOT_SET: environment variable NOT_SET is not set" in capsys.readouterr().out
