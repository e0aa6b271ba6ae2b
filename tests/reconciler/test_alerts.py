"""Alerts from rollups to messages: a real store, a real web server and mail server that take them."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from spanledger.reconciler.alerts.budgets import Spend, bounds, since, stand
from spanledger.reconciler.alerts.channels import AppriseChannels, Message
from spanledger.reconciler.alerts.read import AlertReader
from spanledger.reconciler.alerts.settings import AlertSettings, Budget, Span, parse
from spanledger.reconciler.alerts.store import AlertState, AlertStore
from spanledger.reconciler.alerts.watch import Watch
from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.secrets.references import Resolver

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


# ---- settings


def test_a_config_file_is_read_exactly():
    settings = parse(
        """
        [alerts]
        notify = ["env:SLACK_URL"]
        coverage = "off"
        variance = 0.05

        [[budgets]]
        name = "search"
        org = "acme"
        team = "search"
        period = "monthly"
        amount_usd = 1000.10
        warn_at = [1.0, 0.5]
        forecast = false
        notify = ["file:/run/mail", "env:SLACK_URL"]
        """,
        "spanledger.toml",
    )
    assert settings is not None
    assert (settings.coverage, settings.variance, settings.sync_hours) == (None, D("0.05"), D(48))
    assert settings.channels() == ("env:SLACK_URL", "file:/run/mail")
    assert settings.budgets == (
        Budget(
            name="search", org_id="acme", span=Span.MONTHLY, amount_usd=D("1000.10"), where={"team": "search"},
            warn_at=(D("0.5"), D("1.0")), forecast=False, burn_rate=D("14.4"),
            notify=("file:/run/mail", "env:SLACK_URL"),
        ),
    )  # fmt: skip


def test_no_table_no_alerts():
    assert parse('data = "here"', "spanledger.toml") is None


GOOD = '[[budgets]]\nname = "a"\nperiod = "daily"\namount_usd = 1\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[alerts]\nnotify = ['env:X']\nvarianse = 1", 3, "[alerts] varianse: no such key: did you mean variance?"),
        ("[alerts]\ncoverage = 2", 2, "[alerts] coverage: must be a number from 0 to 1, not 2"),
        ("[alerts]\nsync_hours = true", 2, "[alerts] sync_hours: must be a number"),
        ("[alerts]\n\nnotify = ['https://hooks.example/T0PSECRET']", 3, "[alerts] notify: entry 1: a secret reference"),
        ("alerts = 3", 1, "write [alerts] as a table"),
        ("budgets = 3", 1, "write each budget as a table [[budgets]]"),
        (GOOD + "\n[[budgets]]\nperiod = 'daily'\namount_usd = 1", 6, "[[budgets]] number 2: name is missing"),
        (
            GOOD + "\n[[budgets]]\nname = 'A'\nperiod = 'daily'\namount_usd = 1",
            7,
            "'A' name: a second budget of default",
        ),
        ("[[budgets]]\nname = 'b'\nperiod = 'weekly'\namount_usd = 1", 3, "period: 'weekly' is no period"),
        ("[[budgets]]\nname = 'b'\nperiod = 'daily'", 1, "[[budgets]] 'b': amount_usd is missing"),
        ("[[budgets]]\nname = 'b'\nperiod = 'daily'\namount_usd = -5", 4, "amount_usd: must be a number of 0 or more"),
        ("[[budgets]]\nname = 'b'\nperiod = 'daily'\namount_usd = 0", 4, "amount_usd: must be more than 0"),
        ("[[budgets]]\nname = 'b'\nperiod = 'daily'\namount_usd = nan", 4, "amount_usd: must be a number"),
        (GOOD + "warn_at = ['x']", 5, "warn_at: must be fractions"),
        (GOOD + "warn_at = 0.8", 5, "warn_at: must be a list"),
        (GOOD + "forecast = 'yes'", 5, "forecast: must be true or false"),
        (GOOD + "team = ''", 5, "team: is empty"),
        (GOOD + "tema = 'x'", 5, "tema: no such key: did you mean team?"),
    ],
)
def test_a_mistake_names_file_line_and_field(text: str, line: int, said: str):
    with pytest.raises(ConfigError) as caught:
        parse(text, "my.toml")
    error = str(caught.value)
    assert error.startswith(f"my.toml, line {line}: ")
    assert said in error
    assert "\n" not in error
    assert "T0PSECRET" not in error


# ---- budgets


def budget(**more: Any) -> Budget:
    values: dict[str, Any] = {
        "name": "all", "org_id": "acme", "span": Span.MONTHLY, "amount_usd": D(100), "where": {},
        "warn_at": (D("0.8"), D(1)), "forecast": True, "burn_rate": D(6), "notify": None,
    }  # fmt: skip
    return Budget(**(values | more))


def test_periods_are_utc_days_and_months():
    assert bounds(Span.MONTHLY, datetime(2026, 12, 31, 23, tzinfo=UTC)) == (
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    west = datetime.fromisoformat("2026-11-20T20:00:00-08:00")
    assert bounds(Span.DAILY, west)[0] == datetime(2026, 11, 21, tzinfo=UTC)


def test_a_month_goes_on_at_the_pace_of_the_last_complete_days():
    days = [Spend(datetime(2026, 11, day, tzinfo=UTC), D(2), 0) for day in range(1, 21)]
    found = stand(budget(), days, [], NOW)
    # 19 complete days and half of the 20th at two dollars each; ten and a half days to go.
    assert (found.spent_usd, found.forecast_usd) == (D(40), D(40) + D(21))


def test_the_pace_reaches_back_into_the_month_before():
    first = datetime(2026, 11, 1, 6, tzinfo=UTC)
    days = [Spend(datetime(2026, 10, day, tzinfo=UTC), D(7), 0) for day in range(20, 32)]
    found = stand(budget(), days, [], first)
    assert since(Span.MONTHLY, first) == datetime(2026, 10, 25, tzinfo=UTC)
    assert (found.spent_usd, found.forecast_usd) == (D(0), D("208.25"))


def test_too_little_is_no_forecast():
    hours = [Spend(NOW - timedelta(hours=2), D(5), 1)]
    found = stand(budget(span=Span.DAILY), hours, [], NOW)
    assert (found.spent_usd, found.forecast_usd, found.unpriced_calls) == (D(5), None, 1)
    assert stand(budget(), [], [], NOW).forecast_usd is None


def test_pace_is_a_multiple_of_what_the_budget_allows():
    minutes = [Spend(NOW - timedelta(minutes=n), D("0.5"), 0) for n in range(1, 31)]
    found = stand(budget(span=Span.DAILY, amount_usd=D(24)), [], minutes, NOW)
    assert (found.burn_rate, found.burn_rate_5m) == (D(15), D(30))


# ---- messages


@dataclass
class Sink:
    """What arrived; ``status`` is what the web server answers."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    status: int = 200


@pytest.fixture
def webhook() -> Iterator[Sink]:
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if sink.status == 200:
                sink.bodies.append(json.loads(body) | {"path": self.path})
            self.send_response(sink.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    sink.url = f"http://127.0.0.1:{server.server_port}/hooks/T0PSECRET"
    yield sink
    server.shutdown()
    server.server_close()


@pytest.fixture
def mailbox() -> Iterator[Sink]:
    sink = Sink()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 sink\r\n")
            mail: list[str] = []
            in_data = False
            while line := self.rfile.readline().decode():
                if in_data and line == ".\r\n":
                    sink.mails.append("".join(mail))
                    in_data = False
                elif in_data:
                    mail.append(line)
                    continue
                elif line.upper().startswith("DATA"):
                    in_data = True
                    self.wfile.write(b"354 go on\r\n")
                    continue
                elif line.upper().startswith("QUIT"):
                    self.wfile.write(b"221 bye\r\n")
                    return
                self.wfile.write(b"250 ok\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    sink.url = f"mailto://127.0.0.1:{server.server_address[1]}?from=ledger@acme.test&to=finops@acme.test&mode=insecure"
    yield sink
    server.shutdown()
    server.server_close()


def channels(**urls: str) -> AppriseChannels:
    return AppriseChannels(Resolver(urls))


def test_a_webhook_and_a_mailbox_take_messages(webhook: Sink, mailbox: Sink):
    sender = channels(HOOK=webhook.url, MAIL=mailbox.url)
    message = Message("Budget a: 81 % spent", "$81.00 of $100.00", "warning")
    assert sender.send("env:HOOK", message) is None
    assert sender.send("env:MAIL", message) is None
    (body,) = webhook.bodies
    assert (body["path"], body["title"], body["message"]) == ("/hooks/T0PSECRET", message.title, message.text)
    assert body["type"] == "warning"
    (mail,) = mailbox.mails
    assert "To: finops@acme.test" in mail.replace("<", "").replace(">", "")
    assert "$81.00 of $100.00" in mail


def test_what_does_not_arrive_is_said_without_the_url(webhook: Sink, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    webhook.status = 500
    sender = channels(HOOK=webhook.url, BAD="nonsense")
    problems = [sender.send(f"env:{name}", Message("t", "x")) for name in ("HOOK", "BAD", "NONE")]
    assert problems[0] is not None
    assert "500" in problems[0]
    assert "holds no URL that Apprise understands" in str(problems[1])
    assert problems[2] == "environment variable NONE is not set (secret of [alerts] notify)"
    assert "T0PSECRET" not in caplog.text + "".join(map(str, problems))


def test_slack_is_known_by_its_own_address(monkeypatch: pytest.MonkeyPatch):
    """The address that Slack shows is taken as it is; nothing leaves this machine here: the proxy refuses."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    url = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    problem = channels(SLACK=url).send("env:SLACK", Message("t", "x"))
    assert "Slack" in str(problem)
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in str(problem)


# ---- the watch, on a store


@dataclass
class Desk:
    """A watch over one organisation of a shared store."""

    client: Client
    org: str
    clock: Any
    settings: AlertSettings
    sender: AppriseChannels

    def look(self) -> list[AlertState]:
        """A look by a watch that knows nothing but what the store remembers."""
        watch = Watch(
            AlertReader(self.client, self.settings), AlertStore(self.client), self.sender, self.settings, self.clock
        )
        return watch.look()

    def spend(self, cost: str, *, at: datetime, team: str = "search", unpriced: int = 0, version: int = 1) -> None:
        """A rollup row at every grain, as the ledger writes them."""
        for grain, bucket in (
            ("minute", at.replace(second=0, microsecond=0)),
            ("hour", at.replace(minute=0, second=0, microsecond=0)),
            ("day", at.replace(hour=0, minute=0, second=0, microsecond=0)),
        ):
            row = {
                "bucket": bucket, "org_id": self.org, "provider": "openai", "model": "gpt-4o", "team_id": team,
                "calls": 1 + unpriced, "unpriced_calls": unpriced, "cost_usd": D(cost), "version": version,
            }  # fmt: skip
            table = f"spanledger.usage_by_{grain}_settled"
            self.client.insert(table, [list(row.values())], column_names=list(row))

    def states(self) -> dict[tuple[str, str], str]:
        found = [state for state in AlertStore(self.client).all() if state.org_id == self.org]
        return {(state.kind, state.subject): state.state for state in found}


@pytest.fixture
def desk(bills_client: Client, org: str, clock: Any, webhook: Sink) -> Desk:
    # Others' rows of the shared store are no business of these tests: only budgets, which name their organisation.
    settings = AlertSettings(
        notify=("env:HOOK",), variance=None, coverage=None, unpriced_calls=None, sync_hours=None, price_drift=None,
        budgets=(budget(org_id=org, name="team", where={"team": "search"}, forecast=False, burn_rate=D(0)),),
    )  # fmt: skip
    return Desk(bills_client, org, clock, settings, channels(HOOK=webhook.url))


def test_each_change_is_told_once(desk: Desk, webhook: Sink):
    desk.spend("79", at=NOW - timedelta(days=3))
    desk.spend("500", at=NOW - timedelta(days=3), team="ads")
    desk.spend("500", at=NOW - timedelta(days=30))
    assert desk.look() == []
    desk.spend("2", at=NOW - timedelta(days=2))
    assert [state.state for state in desk.look()] == ["80 %"]
    assert desk.look() == []
    desk.spend("30", at=NOW - timedelta(days=1))
    assert [state.state for state in desk.look()] == ["100 %"]
    assert [(body["title"], body["type"]) for body in webhook.bodies] == [
        (f"[Warning] Budget team: 81 % spent in 2026-11 ({desk.org})", "warning"),
        (f"[Critical] Budget team: 111 % spent in 2026-11 ({desk.org})", "failure"),
    ]
    assert "$81.00 of $100.00 are spent" in webhook.bodies[0]["message"]
    # A correction brings it back: told, too. Replayed rows of the same version change nothing.
    desk.spend("1", at=NOW - timedelta(days=3), version=2)
    desk.spend("1", at=NOW - timedelta(days=3), version=2)
    desk.look()
    desk.look()
    assert [body["title"] for body in webhook.bodies[2:]] == [
        f"[Resolved] Budget team: 33 % spent in 2026-11 ({desk.org})"
    ]


def test_a_new_period_begins_in_silence(desk: Desk, webhook: Sink):
    desk.spend("90", at=NOW)
    desk.look()
    desk.clock.advance(days=14)
    desk.look()
    assert desk.states() == {("budget", "team 2026-11"): "closed"}
    assert len(webhook.bodies) == 1


def test_what_was_not_taken_is_sent_again(desk: Desk, webhook: Sink, caplog: pytest.LogCaptureFixture):
    webhook.status = 503
    desk.spend("90", at=NOW)
    desk.look()
    desk.clock.advance(seconds=60)
    assert desk.look() == []
    assert webhook.bodies == []
    assert "T0PSECRET" not in caplog.text
    webhook.status = 200
    desk.clock.advance(seconds=60)
    desk.look()
    desk.look()
    assert len(webhook.bodies) == 1


def test_a_forecast_holds_until_it_is_clearly_below(desk: Desk, webhook: Sink):
    settings = desk.settings
    desk.settings = AlertSettings(
        **{
            **{
                name: getattr(settings, name)
                for name in ("notify", "variance", "coverage", "unpriced_calls", "sync_hours", "price_drift")
            },
            "budgets": (budget(org_id=desk.org, name="all", warn_at=(), burn_rate=D(0)),),
        }
    )
    for day in range(1, 20):
        desk.spend("3.6", at=datetime(2026, 11, day, 9, tzinfo=UTC))
    desk.look()  # 68.40 and 10.5 days at 3.60: 106.20
    for day in range(13, 20):
        desk.spend("2.8", at=datetime(2026, 11, day, 9, tzinfo=UTC), version=2)
    desk.look()  # 62.80 + 29.40 = 92.20
    assert [body["title"] for body in webhook.bodies] == [
        f"[Warning] Budget all: forecast $106.20 of $100.00 in 2026-11 ({desk.org})",
        f"[Resolved] Budget all: forecast $92.20 of $100.00 in 2026-11 ({desk.org})",
    ]
    for day in range(13, 20):
        desk.spend("3.6", at=datetime(2026, 11, day, 9, tzinfo=UTC), version=3)
    desk.look()
    for day in range(13, 20):
        desk.spend("3.2", at=datetime(2026, 11, day, 9, tzinfo=UTC), version=4)
    assert desk.look() == []  # 65.60 + 33.60 = 99.20: below, but not clearly
    assert len(webhook.bodies) == 3


def test_a_burning_budget_is_critical(desk: Desk, webhook: Sink):
    desk.settings = AlertSettings(
        notify=("env:HOOK",), variance=None, coverage=None, unpriced_calls=None, sync_hours=None, price_drift=None,
        budgets=(budget(org_id=desk.org, name="day", span=Span.DAILY, warn_at=(), forecast=False),),
    )  # fmt: skip
    for minute in (2, 4, 30, 50):
        desk.spend("10", at=NOW - timedelta(minutes=minute))
    desk.look()
    desk.clock.advance(minutes=8)  # over for five minutes, but the hour still burns
    desk.look()
    desk.clock.advance(hours=1)
    desk.look()
    assert [body["title"].partition("]")[0] for body in webhook.bodies] == ["[Critical", "[Resolved"]
    assert "9.6 times the pace" in webhook.bodies[0]["message"]


def test_bills_prices_and_syncs_are_watched(desk: Desk, webhook: Sink):
    """All at once, in one message; then all of them mended."""
    desk.settings = AlertSettings(notify=("env:HOOK",))
    client, org = desk.client, desk.org

    def tied(variance: str, coverage: str, version: int) -> None:
        row = {
            "org_id": org, "connection": "prod", "provider": "openai", "period": "2026-11",
            "period_start": NOW.date().replace(day=1), "period_end": NOW.date().replace(month=12, day=1),
            "billed_usd": D(100), "booked_usd": D(90), "booked_high_usd": D(90), "coverage": D(coverage),
            "variance": D(variance), "missing_days": [], "problems": [], "content_hash": b"x" * 16,
            "computed_at": NOW, "version": version,
        }  # fmt: skip
        client.insert("spanledger.tieout_versions", [list(row.values())], column_names=list(row))

    def pulled(at: datetime) -> None:
        row = {
            "org_id": org, "connection": "prod", "stream": "costs", "run_id": "r", "step": "run", "state": "ok",
            "started_at": at, "finished_at": at,
        }  # fmt: skip
        client.insert("spanledger.sync_runs", [list(row.values())], column_names=list(row))

    def billed(version: int, *prices: str) -> None:
        """Input at 2.50 a million in the books, and on the bill of the last days at these."""
        for age, price in enumerate(reversed(prices), start=1):
            row = {
                "org_id": org, "connection": "prod", "provider": "openai", "day": NOW.date() - timedelta(days=age),
                "model": "gpt-4o", "token_class": "input_uncached", "quantity": D(10**6), "billed_usd": D(price),
                "billed_unit_price": D(price) / 10**6, "matched_quantity": D(10**6),
                "matched_billed_usd": D(price), "matched_booked_usd": D("2.5"),
                "booked_unit_price": D("0.0000025"), "drift": D(price) / D("2.5") - 1, "is_final": True,
                "content_hash": b"x" * 16, "computed_at": NOW, "version": version,
            }  # fmt: skip
            client.insert("spanledger.implied_price_versions", [list(row.values())], column_names=list(row))

    connection = {"org_id": org, "name": "prod", "connector": "openai", "created_at": NOW, "version": 1}
    client.insert("spanledger.connection_versions", [list(connection.values())], column_names=list(connection))
    tied("0.1", "0.9", 1)
    billed(1, "2.5", "2.4", "2.4")
    pulled(NOW - timedelta(hours=50))
    desk.spend("0", at=NOW - timedelta(hours=1), unpriced=3)
    desk.look()
    (body,) = webhook.bodies
    assert body["title"].startswith("Spanledger: 5 changes")
    for line in (
        "prod, 2026-11: 10 % of the bill needs attention",
        "prod, 2026-11: the ledger has seen 90 % of the bill",
        "openai gpt-4o: 3 calls of the last 24 hours have no price",
        "prod: costs was last pulled in full 50 hours ago",
        "openai gpt-4o: input_uncached is billed 4 % below the booked price",
    ):
        assert f"[Warning] {line} ({org})" in body["message"]
    assert (
        "So on the bill of prod since 2026-11-18: openai bills 4 % less than is booked for model `gpt-4o` since "
        "2026-11-18. If that is right: spanledger prices override --prices prices.toml --provider openai --model "
        "'gpt-4o' --discount 4% --from 2026-11-18, then spanledger "
        "reprice --since 2026-11-18."
    ) in body["message"]
    tied("0.001", "0.999", 2)
    billed(2, "2.5", "2.5", "2.5")
    pulled(NOW)
    desk.spend("1", at=NOW - timedelta(hours=1), version=2)
    assert {(state.kind, state.state) for state in desk.look()} == {
        (kind, "ok") for kind in ("variance", "coverage", "unpriced", "sync", "price_drift")
    }
    assert desk.look() == []


def test_the_documented_configuration_is_valid():
    page = Path(__file__).parents[2].joinpath("docs/alerts.md").read_text(encoding="utf-8")
    settings = parse(page.split("```toml\n")[1].split("```")[0], "docs/alerts.md")
    assert settings is not None
    assert [budget.name for budget in settings.budgets] == ["whole company", "search"]
