"""What the command line and the server do with connections: test, pin, purge, parse again, names, rates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fakes.anthropic import FakeAnthropic, cost_row
from fakes.base import Fake, answer, transport
from fakes.openai import FakeOpenAI, cost, error

from spanledger.reconciler.connections import Connection, ConnectionStore, check
from spanledger.reconciler.connectors import CONNECTORS
from spanledger.reconciler.connectors import openai_line_items as line_items
from spanledger.reconciler.errors import ConfigError, State
from spanledger.reconciler.fx import Rate, read_rates
from spanledger.reconciler.secrets.secret import Secret
from spanledger.reconciler.service import OPENING, Bills
from spanledger.reconciler.store import compress

DAY = date(2026, 11, 18)
COSTS = frozenset({"costs"})


@pytest.fixture
def make(bills_client, clock) -> Callable[..., Bills]:
    def bills(fake: Fake, **environ: str) -> Bills:
        return Bills.on(bills_client, environ, clock=clock, http=lambda: httpx.Client(transport=transport(fake)))

    return bills


def prod(org: str, connector: str = "openai", **fields: Any) -> Connection:
    return Connection(
        org_id=org,
        name="prod",
        connector=connector,
        settings={"requests_per_second": "1000"},
        secrets={"admin_key": "env:KEY"},
        **fields,
    )


def test_a_test_says_what_works_and_takes_nothing_over(make, org):
    """Every stream is asked once; the account is pinned; another account's key is refused from then on."""
    fake = FakeAnthropic()
    fake.cost[date(2026, 11, 19)] = [cost_row("1", "output_tokens")]
    bills = make(fake, KEY=fake.key)
    bills.connections.put(prod(org, "anthropic"))
    report = bills.test(bills.connections.get(org, "prod"))
    assert (report.is_usable, report.account_id, report.account_name) == (True, "org_fake", "Acme")
    assert [(each.stream, each.state, each.lines) for each in report.streams] == [
        ("cost", State.OK, 1),
        ("usage", State.OK, 0),
    ]
    assert bills.connections.get(org, "prod").account == "org_fake"
    assert bills.health(org) == []
    other = bills.test(prod(org, "anthropic", account="org_else"))
    assert (other.is_usable, "belongs to org_fake" in other.problem) == (False, True)


def test_a_pull_with_another_accounts_key_takes_nothing_over(make, org):
    """The key was exchanged for another organization's: no line of it gets into this connection."""
    fake = FakeOpenAI()
    fake.organization = "org-other"
    fake.costs[DAY] = [cost("a, input", "1")]
    bills = make(fake, KEY=fake.key)
    (report,) = bills.sync(prod(org, account="org-fake"))
    assert (report.state, "belongs to org-other" in report.detail) == (State.AUTH_FAILED, True)
    fake.organization = "org-fake"
    assert {each.state for each in bills.sync(prod(org, account="org-fake"))} == {State.OK}


def test_a_connection_that_is_removed_in_the_middle_of_a_pull(make, org):
    """What was purged meanwhile does not come back with the page that was under way; the same name anew is another."""
    fake = FakeOpenAI()
    fake.costs[DAY] = [cost("a, input", "1")]
    bills, other = make(fake, KEY=fake.key), make(fake, KEY=fake.key)
    bills.connections.put(prod(org))
    mine = bills.connections.get(org, "prod")
    bills.sync(mine, since=DAY, until=DAY + timedelta(days=1), streams=COSTS)
    fake.costs[DAY] = [cost("a, input", "2")]

    def while_asked(_: object) -> bool:
        other.connections.remove(mine)
        other.purge(mine)
        return True

    fake.fail_next(answer({"error": {"message": "busy"}}, 503), when=while_asked)
    (report,) = bills.sync(mine, since=DAY, until=DAY + timedelta(days=1), streams=COSTS)
    assert (report.state, "prod was removed meanwhile" in report.detail) == (State.DEGRADED, True)
    sql = "SELECT count() FROM spanledger.bill_lines WHERE org_id = {org:String}"
    assert bills.store.rows(sql, {"org": org}, "") == [(0,)]
    bills.clock.sleep(60)
    bills.connections.put(prod(org))
    (report,) = bills.sync(mine, since=DAY, until=DAY + timedelta(days=1), streams=COSTS)
    assert "was removed meanwhile" in report.detail
    (report,) = bills.sync(bills.connections.get(org, "prod"), since=DAY, until=DAY + timedelta(days=1), streams=COSTS)
    assert report.state is State.OK
    assert bills.store.rows(sql, {"org": org}, "") == [(1,)]


def test_a_test_names_the_missing_scope_and_the_steps(make, org):
    """The costs stream lacks a scope; the others work; the steps tell how to mend it."""
    fake = FakeOpenAI()
    bills = make(fake, KEY=fake.key)
    said = "You have insufficient permissions for this operation. Missing scopes: api.usage.read."
    fake.fail_next(error(401, said), when=lambda question: "line_item" in question.many("group_by"))
    report = bills.test(prod(org), pin=False)
    states = {each.stream: each.state for each in report.streams}
    assert states.pop("costs") is State.PERMISSION_MISSING
    assert set(states.values()) == {State.OK}
    assert "api.usage.read" in report.streams[0].permission
    assert report.setup


def test_every_connector_says_how_to_get_a_key_and_what_it_asks_for():
    """Names are unique, aliases too; each has steps; each setting and secret says what it is."""
    names = [name for each in CONNECTORS for name in (each.spec.name, *each.spec.aliases)]
    assert len(names) == len(set(names))
    for each in CONNECTORS:
        assert each.spec.setup, each.spec.name
        assert all(found.help for found in (*each.spec.settings, *each.spec.secrets))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "Prod!"}, "--name 'Prod!'"),
        ({"connector": "nope"}, "no connector is called 'nope'"),
        ({"settings": {"colour": "red"}}, "no setting 'colour'"),
        ({"settings": {"requests_per_second": "fast"}}, "--requests-per-second 'fast'"),
        ({"secrets": {}}, "--admin-key-env"),
        ({"secrets": {"admin_key": "env:K", "pin": "env:P"}}, "no secret 'pin'"),
        ({"secrets": {"admin_key": "sk-admin-pasted"}}, "do not pass the secret itself"),
        ({"base_url": "ftp://x"}, "is not an http(s) address"),
        ({"base_url": "http://gateway.example/v1"}, "unencrypted"),
        ({"base_url": "https://me:pw@gateway.example"}, "must not carry"),
        (
            {"connector": "xai", "secrets": {"management_key": "env:K"}, "settings": {"api_url": "http://gw.example"}},
            "--api-url http://gw.example: the credential would travel unencrypted",
        ),
        ({"connector": "anthropic", "settings": {"api": "both"}}, "choose one of auto, analytics, admin"),
        ({"connector": "google", "secrets": {"service_account_key": "env:K"}}, "--table"),
    ],
)
def test_a_connection_that_cannot_work_is_refused(fields, words):
    """One line that names the option."""
    whole = {"org_id": "o", "name": "prod", "connector": "openai", "secrets": {"admin_key": "env:KEY"}, **fields}
    with pytest.raises(ConfigError) as caught:
        check(Connection(**whole))
    assert words in str(caught.value)
    assert "sk-admin-pasted" not in str(caught.value)
    assert "pw@" not in str(caught.value)


def test_plain_http_is_for_this_machine_or_on_request():
    """A fake or gateway on localhost needs no ceremony."""
    for url, settings in (("http://127.0.0.1:8090/v1", {}), ("http://gw.example", {"insecure_http": "on"})):
        check(prod("o", base_url=url) if not settings else Connection(
            org_id="o", name="p", connector="openai", base_url=url, settings=settings, secrets={"admin_key": "env:K"},
        ))  # fmt: skip


def test_connections_are_kept_changed_and_removed(bills_client, clock, org):
    """By name and organisation; a removed name can be used again."""
    store = ConnectionStore(bills_client, clock)
    store.put(prod(org))
    clock.advance(seconds=1)
    store.put(prod(org, base_url="https://gw.example"))
    assert [each.base_url for each in store.all(org)] == ["https://gw.example"]
    clock.advance(seconds=1)
    store.remove(store.get(org, "prod"))
    with pytest.raises(ConfigError, match="there are: none yet"):
        store.get(org, "prod")
    clock.advance(seconds=1)
    store.put(prod(org))
    assert len(store.all(org)) == 1
    assert org in {each.org_id for each in store.all()}


def test_a_secret_that_is_missing_at_pull_time(make, org):
    """The variable is gone: one line, no state of the provider."""
    bills = make(FakeOpenAI())
    with pytest.raises(ConfigError, match="KEY is not set"):
        bills.sync(prod(org))


def test_a_connection_that_cannot_be_opened_reports_as_such(make, org):
    """Anthropic's probe of the account fails: a report, not an exception."""
    fake = FakeAnthropic()
    bills = make(fake, KEY="wrong")
    (report,) = bills.sync(prod(org, "anthropic"))
    assert (report.stream, report.state) == (OPENING, State.AUTH_FAILED)


def test_sealed_secrets_work_and_move_to_a_new_master_key(bills_client, clock, org):
    """Sealed with one key, pulled with it, re-wrapped under another, pulled again."""
    fake = FakeOpenAI()
    old, new = "11" * 32, "22" * 32

    def bills(*keys: str, tmp: list[str] = []) -> Bills:  # noqa: B006
        import tempfile

        file = tempfile.NamedTemporaryFile("w", delete=False)  # noqa: SIM115
        file.write("\n".join(keys))
        file.close()
        return Bills.on(
            bills_client, {"SPANLEDGER_MASTER_KEY_FILE": file.name}, clock=clock,
            http=lambda: httpx.Client(transport=transport(fake)),
        )  # fmt: skip

    first = bills(old)
    sealed = first.seal(org, "prod", "admin_key", Secret(fake.key))
    first.connections.put(
        Connection(
            org_id=org, name="prod", connector="openai", secrets={"admin_key": sealed},
            settings={"requests_per_second": "1000"},
        )
    )  # fmt: skip
    assert first.test(first.connections.get(org, "prod"), pin=False).is_usable
    clock.advance(seconds=1)
    both = bills(new, old)
    both.rewrap(both.connections.get(org, "prod"))
    only = bills(new)
    assert only.test(only.connections.get(org, "prod"), pin=False).is_usable
    with pytest.raises(ConfigError, match="no master key"):
        Bills.on(bills_client, {}, clock=clock).seal(org, "x", "y", Secret("z"))


def test_purging_takes_the_lines_out(make, org, bills_client):
    """The bill is empty; the history stays."""
    fake = FakeOpenAI()
    fake.costs[DAY] = [cost("a, input", "1")]
    bills = make(fake, KEY=fake.key)
    bills.sync(prod(org), since=DAY, until=DAY + timedelta(days=1), streams=COSTS)
    assert bills.purge(prod(org)) == 1

    def count(table: str) -> int:
        sql = f"SELECT count() FROM spanledger.{table} WHERE org_id = {{org:String}}"
        return int(bills_client.query(sql, parameters={"org": org}).first_row[0])

    assert (count("bill_lines"), count("bill_line_versions")) == (0, 1)


def test_kept_responses_are_read_again_with_better_tables(make, org, monkeypatch, clock, bills_client):
    """A line item becomes known: the old day gets its class without asking the provider; nothing else changes."""
    fake = FakeOpenAI()
    for day in (16, 17, 18):
        fake.costs[date(2026, 11, day)] = [cost("gpt-9 dreams", str(day)), cost("a, input", "1")]
    fake.costs[date(2026, 11, 17)] = [cost("a, input", "1")]
    bills = make(fake, KEY=fake.key)
    bills.sync(prod(org), since=date(2026, 11, 16), until=date(2026, 11, 19), streams=COSTS)
    asked = len(fake.questions)
    clock.advance(days=1)
    monkeypatch.setitem(line_items.TOOLS, "gpt-9 dreams", "dreams")
    (report,) = bills.reparse(prod(org), since=date(2026, 11, 1), until=date(2026, 11, 20), stream="costs")
    assert (report.state, report.slots_changed, report.slots_unchanged) == (State.OK, 2, 1)
    assert len(fake.questions) == asked
    sql = (
        "SELECT token_class, amount, toString(fetched_at) FROM spanledger.bill_lines WHERE org_id = {org:String} "
        "AND line_item = 'gpt-9 dreams' ORDER BY ALL"
    )
    found = bills_client.query(sql, parameters={"org": org}).result_rows
    assert [tuple(row) for row in found] == [
        ("dreams", Decimal(16), "2026-11-20 12:00:00.000"),
        ("dreams", Decimal(18), "2026-11-20 12:00:00.000"),
    ]
    (again,) = bills.reparse(prod(org), since=date(2026, 11, 1), until=date(2026, 11, 20), stream="costs")
    assert again.slots_changed == 0


@pytest.mark.parametrize("body", [b"no zstd", compress(b'{"data": [], "has_more": false}')], ids=["broken", "other"])
def test_a_kept_response_that_is_not_the_received_one_is_not_believed(make, org, bills_client, body):
    """Whatever happened to the copy, the bill stays as it was, and the line says what to do."""
    fake = FakeOpenAI()
    fake.costs[DAY] = [cost("a, input", "1")]
    bills = make(fake, KEY=fake.key)
    bills.sync(prod(org), since=DAY, until=DAY + timedelta(days=1), streams=COSTS)
    where = f"WHERE org_id = '{org}'"
    ((sha256,),) = bills.store.rows(
        f"SELECT sha256 FROM spanledger.raw_responses {where}", {}, "testing", as_bytes=("sha256",)
    )
    bills_client.command(f"ALTER TABLE spanledger.raw_bodies DELETE {where} SETTINGS mutations_sync = 2")
    bills_client.insert(
        "spanledger.raw_bodies", [[org, "prod", sha256, body]], column_names=["org_id", "connection", "sha256", "body"]
    )
    (report,) = bills.reparse(prod(org), since=DAY, until=DAY + timedelta(days=1), stream="costs")
    assert (report.state, "pull its days again" in report.detail) == (State.DEGRADED, True)
    assert bills_client.query(f"SELECT sum(amount) FROM spanledger.bill_lines {where}").first_row[0] == 1


def test_exchange_rates_reach_old_bills_through_reparse(make, org, bills_client, tmp_path):
    """Euros without a rate have no dollars; with the ECB's file they do."""
    fake = FakeOpenAI()
    fake.costs[DAY] = [cost("a, input", "2", currency="eur")]
    bills = make(fake, KEY=fake.key)
    (report,) = bills.sync(prod(org), since=DAY, until=DAY + timedelta(days=1), streams=COSTS)
    assert report.notes["without_rate"] == 1
    path = tmp_path / "ecb.csv"
    path.write_text("Date,USD,JPY,XYZ,\n2026-11-17,1.25,150,N/A,\n2026-11-01,1.1,140,,\n")
    bills.learn_rates(list(read_rates(path)))
    bills.reparse(prod(org), since=DAY, until=DAY + timedelta(days=1), stream="costs")
    sql = "SELECT amount, amount_usd FROM spanledger.bill_lines WHERE org_id = {org:String}"
    assert [tuple(row) for row in bills_client.query(sql, parameters={"org": org}).result_rows] == [
        (Decimal(2), Decimal("2.5"))
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n", "first line"),
        ("date,currency,usd\n2026-13-01,EUR,1\n", "line 2"),
        ("date,currency,usd\n2026-11-01,EUR,0\n", "line 2"),
    ],
)
def test_a_rates_file_that_is_wrong(tmp_path, text, words):
    """The line is named."""
    path = tmp_path / "rates.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        list(read_rates(path))


def test_rates_are_dated_and_do_not_reach_far():
    """The last one on or before the day, at most ten days old."""
    from spanledger.reconciler.fx import FxRates
    from spanledger.reconciler.units import Money

    rates = FxRates([Rate("EUR", date(2026, 11, 6), Decimal("1.2")), Rate("eur", date(2026, 11, 10), Decimal("1.3"))])
    euro = Money(Decimal(10), "EUR")
    assert [rates.usd(euro, date(2026, 11, day)) for day in (5, 6, 9, 10, 20, 21)] == [None, 12, 12, 13, 13, None]
    assert rates.usd(Money(Decimal(10), "USD"), DAY) == 10
    assert rates.usd(Money(Decimal(10), "DIEM"), DAY) is None


def test_names_for_ids(make, org, bills_client):
    """Projects and keys are kept with their names and hints."""
    fake = FakeOpenAI()
    bills = make(fake, KEY=fake.key)
    assert bills.learn_names(prod(org)) == 2
    sql = "SELECT kind, id, name, hint FROM spanledger.account_objects WHERE org_id = {org:String} ORDER BY kind"
    assert [tuple(row) for row in bills_client.query(sql, parameters={"org": org}).result_rows] == [
        ("api_key", "key_1", "prod", "sk-...x1"),
        ("project", "proj_1", "Default project", ""),
    ]


def test_health_shows_the_last_state_and_the_last_success(make, org, clock):
    """A failure after a success: both are told, with the age of the data."""
    fake = FakeOpenAI()
    bills = make(fake, KEY=fake.key)
    bills.connections.put(prod(org))
    bills.sync(prod(org), streams=COSTS)
    clock.advance(hours=2)
    fake.fail_next(error(500, "down", **{"x-should-retry": "false"}))
    bills.sync(prod(org), streams=COSTS)
    clock.advance(hours=1)
    (found,) = bills.health(org)
    assert (found.state, found.age_seconds) == (State.DEGRADED, 3 * 3600)
    assert found.last_success == datetime(2026, 11, 20, 12, tzinfo=UTC)
