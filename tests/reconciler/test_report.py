"""The report over a real store: what it says, in every format, for good books and for bad ones."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from report_books import CREDIT, Books

from spanledger.cli import access, output
from spanledger.cli.app import run
from spanledger.exporters.readings import sql
from spanledger.ledger.client import StoreTarget, connect

DAY = date(2026, 9, 3)
NEXT = DAY + timedelta(days=1)
TODAY = datetime.now(UTC).date()
ORG = "acme"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    books = Books(tmp_path_factory.mktemp("store"))
    # acme: two days, two teams, a discount from the second day on, one project without spans, a credit.
    for day, calls in ((DAY, 2), (NEXT, 3)):
        for _ in range(calls):
            books.call(ORG, day, user_id="ann", session_id="s1", feature="find")
        books.call(ORG, day, team_id="<script>alert(1)</script>", user_id="bob", session_id="=s2", feature="find")
    books.bill(ORG, DAY, 3)
    for name, quantity, amount in (("input_uncached", 4 * 10**6, "9.6"), ("output_text", 4 * 10**5, "3.84")):
        books.line(ORG, NEXT, amount, quantity=quantity, token_class=name)
    books.bill(ORG, NEXT, 1, project="jobs")
    books.line(ORG, NEXT, "-1.5", charge=CREDIT, model="", project="", line_item="promotion")
    # broken: interrupted calls, on a final day and on one that is not.
    for day, final in ((DAY, True), (NEXT, False)):
        books.call("broken", day)
        books.call("broken", day, output=10_000, partial=True, max_output_tokens=50_000)
        books.line("broken", day, "5", quantity=2 * 10**6, token_class="input_uncached", is_final=final)
        books.line("broken", day, "1.3", quantity=130_000, token_class="output_text", is_final=final)
    # odd: an invoice that came in twice, euros without a rate, a negative line, days that are missing.
    books.call("odd", DAY)
    books.bill("odd", DAY)
    books.bill("odd", DAY, connection="copy")
    books.line("odd", DAY, "4", currency="EUR", token_class="output_text", line_item="abroad")
    books.line("odd", DAY, "-0.25", token_class="input_uncached", line_item="correction")
    # steady: a store with a past, for the forecast.
    for n in range(60):
        day = TODAY - timedelta(days=n)
        books.call("steady", day, tokens=2_000_000 if day.weekday() < 5 else 1_000_000)
    # shared: a month's fixed amount, and searches beside it.
    books.line("shared", DAY, "3", quantity=1500, token_class="input_uncached")
    books.line("shared", DAY, "0.02", quantity=2, token_class="web_searches")
    # docs: what docs/report.md shows.
    for number, day in enumerate((DAY, NEXT)):
        for _ in range(20 + 6 * number):
            books.call("docs", day, team_id="search", user_id="ann")
        for _ in range(6):
            books.call("docs", day, team_id="support", user_id="bob", tokens=600_000, cached=400_000)
        calls = 20 + 6 * number
        rate = D("0.96") if number else D(1)
        for name, quantity, price in (
            ("input_uncached", calls * 10**6 + 6 * 600_000, "2.5"),
            ("cache_read", 6 * 400_000, "1.25"),
            ("output_text", (calls + 6) * 10**5, "10"),
        ):
            amount = D(quantity) * D(price) * rate / 10**6
            books.line("docs", day, str(amount), quantity=quantity, token_class=name)
    books.line("docs", NEXT, "4.2", quantity=420_000, token_class="output_text", project="jobs")
    books.call("docs", NEXT, project="playground", team_id="", tokens=300_000, output=20_000)
    books.write()
    return books.path


@pytest.fixture(scope="module")
def client(store: Path) -> Iterator[Client]:
    opened = connect(StoreTarget.embedded(store))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def open_store(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the store open: opening it again for each would be most of their time."""
    monkeypatch.setattr(access, "client", lambda *_, **__: nullcontext(client))


def report(store: Path, capsys: pytest.CaptureFixture[str], *words: str, org: str = ORG) -> str:
    assert run(["report", *words, "--data", str(store), "--org", org]) == 0
    return capsys.readouterr().out


def document(store: Path, capsys: pytest.CaptureFixture[str], *words: str, org: str = ORG) -> dict[str, list]:  # type: ignore[type-arg]
    found: dict[str, list] = json.loads(report(store, capsys, *words, "--format", "json", org=org))  # type: ignore[type-arg]
    return found


def total(rows: list[dict[str, str]], name: str) -> D:
    return sum((D(row[name]) for row in rows), D(0))


def test_every_part_adds_up(store: Path, capsys: pytest.CaptureFixture[str]):
    found = document(store, capsys, "--period", "2026-09-04", "--by", "team,user")
    assert found["cost_usd"] == "14"
    for part in ("spend", "models", "days"):
        assert total(found[part], "cost_usd") == D(14)
    (tied,) = found["variance"]
    assert D(tied["billed_usd"]) == D("9.6") + D("3.84") + D("3.5") - D("1.5")
    assert total(found["residuals"], "amount_usd") == D(tied["difference_usd"])
    assert total(found["chargeback"], "amount_usd") == D(tied["billed_usd"])
    assert {(row["team"], row["user"]) for row in found["chargeback"]} == {
        ("search", "ann"), ("<script>alert(1)</script>", "bob"), ("unattributed", "unattributed"),
    }  # fmt: skip
    # Day over day: 10.50 booked and all of it billed, then 14.00 and 3.50 that no span told of.
    assert {row["part"]: D(row["amount_usd"]) for row in found["change"] if D(row["amount_usd"])} == {
        "volume": D("3.5"), "coverage": D("3.5"),
    }  # fmt: skip
    assert [(row["kind"], row["name"], row["amount_usd"]) for row in found["shadow"]] == [("project", "jobs", "3.5")]
    assert found["ghosts"] == []
    assert {row["token_class"] for row in found["prices"]} == {"input_uncached", "output_text"}


@pytest.mark.parametrize("by", ["team", "feature", "user", "session", "service"])
def test_chargeback_by_anything_sums_to_the_bill(store: Path, capsys: pytest.CaptureFixture[str], by: str):
    found = document(store, capsys, "chargeback", "--since", "2026-09-03", "--until", "2026-09-04", "--by", by)
    assert total(found["chargeback"], "amount_usd") == D("10.5") + D("9.6") + D("3.84") + D("3.5") - D("1.5")
    assert all(row[by] for row in found["chargeback"])


def test_a_share_of_a_fixed_amount_is_charged_beside_searches(
    store: Path, client: Client, capsys: pytest.CaptureFixture[str]
):
    """Two shares in proportion to tokens, one in calls that searched, too: a fee of its own leaves the share alone."""
    columns = ["bucket", "org_id", "provider", "model", "team_id", "project", "cost_status"]
    columns += ["calls", "usage", "class_cost_usd", "cost_usd", "version"]
    noon = datetime(2026, 9, 3, 12, tzinfo=UTC)
    place = [noon, "shared", "openai", "gpt-4o-2024-08-06"]
    rows = [
        [*place, "a", "web", "list", 2, {"input_uncached": 1000, "web_searches": 2}, {"web_searches": D("0.02")}],
        [*place, "b", "web", "list", 1, {"input_uncached": 500}, {}],
    ]
    costs = [D("2.02"), D(1)]
    client.insert(
        "spanledger.usage_by_hour_settled",
        [[*row, cost, 1] for row, cost in zip(rows, costs, strict=True)],
        column_names=columns,
    )
    found = document(store, capsys, "chargeback", "--period", "2026-09-03", "--by", "team", org="shared")
    assert {row["team"]: D(row["amount_usd"]) for row in found["chargeback"]} == {"a": D("2.02"), "b": D(1)}


def test_the_terminal_shows_tables_and_bars(store: Path, capsys: pytest.CaptureFixture[str]):
    out = report(store, capsys, "--period", "2026-09-04")
    for words in (
        "booked  ", "14.00", "Spend by team", "search", "████", "Bill against ledger", "missing_telemetry",
        "project   jobs", "Who pays the bill", "unattributed", "Why spend changed, 2026-09-03 → 2026-09-04",
        "--discount 4% --from 2026-09-04",
    ):  # fmt: skip
        assert words in " ".join(out.split()) or words in out, words


def test_a_narrow_terminal_shows_every_value_whole(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """What does not fit into a table of that width is shown line by line, nothing is cut or broken into scraps."""
    monkeypatch.setattr(output, "WIDTH", 60)
    run(["report", "variance", "--period", "2026-09-04", "--data", str(store), "--org", "docs"])
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines() if not line.startswith("  note:")) <= 80
    for words in (
        "  billed USD  108.84",
        "  connection  prod",
        "  name        playground",
        "  residual    rate_difference",
    ):
        assert words in out
    assert "coverage    96.14 %" in out


def test_csv_holds_one_part_and_defuses_formulas(store: Path, capsys: pytest.CaptureFixture[str]):
    rows = list(
        csv.DictReader(io.StringIO(report(store, capsys, "--period", "2026-09", "--format", "csv", "--by", "session")))
    )
    assert [(row["session"], row["cost_usd"]) for row in rows] == [("s1", "17.5"), ("'=s2", "7")]
    rows = list(
        csv.DictReader(io.StringIO(report(store, capsys, "change", "--period", "2026-09-04", "--format", "csv")))
    )
    assert [row["part"] for row in rows] == ["volume", "mix", "tier", "cache", "rate", "coverage"]


def test_interrupted_calls_stay_between_bounds_until_the_bill_is_final(store: Path, capsys: pytest.CaptureFixture[str]):
    """The final day billed 20,000 tokens beyond the 110,000 that spans tell of; the broken call may have had 40,000."""
    settled = document(store, capsys, "spend", "--period", "2026-09-03", org="broken")
    assert (settled["cost_usd"], settled["cost_low_usd"], settled["cost_high_usd"]) == ("6.1", "6.3", "6.3")
    still_open = document(store, capsys, "spend", "--period", "2026-09-04", org="broken")
    assert (still_open["cost_low_usd"], still_open["cost_high_usd"]) == ("6.1", "6.5")
    out = report(store, capsys, "spend", "--period", "2026-09", org="broken")
    assert "[12.40, 12.80]" in out
    assert run(["reconcile", "--period", "2026-09", "--data", str(store), "--org", "broken"]) == 4
    out = capsys.readouterr().out
    assert "[12.40, 12.80]" in out
    assert "interrupted calls: 1, between [2.60, 3.00] until their days are final" in out
    assert "interrupted calls: 1, booked 2.60, settled by the bill at 2.80" in out
    assert "0.20  missing_telemetry" in out


def test_bad_bills_are_said_in_plain_lines(store: Path, capsys: pytest.CaptureFixture[str]):
    out = report(store, capsys, "--period", "2026-09-02..2026-09-03", org="odd")
    for words in (
        "line in EUR is left out: no exchange rate is known for their days",
        "1 usage line is negative",
        "2026-09-02 were never synced: spanledger sync --since 2026-09-02",
        "`copy` and `prod` bill the same 2 lines, $3.5: one invoice twice? spanledger connections remove prod",
    ):
        assert words in out, words


def test_an_empty_ledger_is_said_and_every_format_still_works(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = report(store, capsys, "--period", "2026-09", org="nobody")
    assert "the ledger holds no calls of this period" in out
    assert "no bill of this period" in out
    found = document(store, capsys, "--period", "2026-09", org="nobody")
    assert found["spend"] == found["variance"] == found["chargeback"] == []
    assert found["forecast"][0]["expected_usd"] is None
    page = tmp_path / "empty.html"
    report(store, capsys, "--period", "2026-09", "--format", "html", "--output", str(page), org="nobody")
    assert "the ledger holds no calls" in page.read_text()
    assert report(store, capsys, "--period", "2026-09", "--format", "csv", org="nobody").count("\n") == 1


def test_the_forecast_knows_its_past(store: Path, capsys: pytest.CaptureFixture[str]):
    (found,) = document(store, capsys, "forecast", org="steady")["forecast"]
    first = TODAY.replace(day=1)
    days = [first + timedelta(days=n) for n in range(31) if (first + timedelta(days=n)).month == first.month]
    assert D(found["expected_usd"]) == sum(D(6) if day.weekday() < 5 else D("3.5") for day in days)
    assert D(found["error"]) == 0
    assert found["trials"] >= 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "colour"], "--by 'colour' is no dimension: choose from provider, model, team"),
        (["--by", ","], "is no dimension"),
        (["--period", "november"], "not a period"),
        (["--period", "2026-09", "--since", "2026-09-01"], "choose one"),
        (["--until", "2026-09-01"], "--until needs --since"),
        (["--since", "2026-09-05", "--until", "2026-09-01"], "swap them"),
        (["--format", "table", "--output", "x"], "choose html, csv or json"),
        (["change", "--compare", "then"], "--compare: not a period"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
):
    assert run(["report", *words, "--data", str(store)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_prices_implied_prints_what_would_mend_the_books(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert run(["reconcile", "--period", "2026-09-04", "--data", str(store), "--org", ORG]) == 3
    capsys.readouterr()
    arguments = ["--since", "2026-09-01", "--data", str(store), "--org", ORG]
    assert run(["prices", "implied", "--drifting", "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["drift"] for row in found["prices"]} == {"-0.04"}
    (advice,) = found["suggestions"]
    monkeypatch.chdir(tmp_path)
    assert run([word.strip("'") for word in advice["command"].split()[1:]]) == 0
    assert "percent = 4\n" in (tmp_path / "prices.toml").read_text()
    rates = [
        "prices",
        "override",
        "--prices",
        "rates.toml",
        "--provider",
        "openai",
        "--model",
        "gpt-4o",
        "--from",
        "2026-09-04",
    ]
    assert run([*rates, "--rate", "output=9.6", "--rate", "input_uncached=2.4"]) == 0
    assert 'per_million = { "output" = "9.6", "input_uncached" = "2.4" }' in (tmp_path / "rates.toml").read_text()
    assert run([*rates, "--rate", "output=much"]) == 2
    assert run(rates) == 2


def test_implied_prices_are_kept_once_and_drift_in_the_metric(store: Path, client: Client):
    for _ in range(2):
        run(["reconcile", "--period", "2026-09", "--data", str(store), "--org", "docs"])
    run(["reconcile", "--period", "2026-09-04", "--data", str(store), "--org", "docs"])
    (kept,) = client.query("SELECT count() FROM spanledger.implied_price_versions WHERE org_id = 'docs'").first_row
    shown = client.query(
        "SELECT day, token_class, quantity * billed_unit_price = billed_usd, drift FROM spanledger.implied_prices "
        "WHERE org_id = 'docs' ORDER BY day, token_class"
    ).result_rows
    assert kept == len(shown) == 6
    assert [(day, name, drift) for day, name, _, drift in shown] == [
        (day, name, drift)
        for day, drift in ((DAY, D(0)), (NEXT, D("-0.04")))
        for name in ("cache_read", "input_uncached", "output_text")
    ]
    metric = client.query(
        sql("price_drift"), parameters={"today": NEXT + timedelta(days=1), "all_orgs": False, "org_id": "docs"}
    ).result_rows
    assert {(row[4], row[5]) for row in metric} == {
        (name, D("-0.04")) for name in ("cache_read", "input_uncached", "output_text")
    }
    # On the running day itself the day before still stands.
    assert not any(
        row[5]
        for row in client.query(
            sql("price_drift"), parameters={"today": NEXT, "all_orgs": False, "org_id": "docs"}
        ).result_rows
    )


def test_the_evidence_of_what_one_side_alone_knows_can_be_asked_for(
    store: Path, client: Client, capsys: pytest.CaptureFixture[str]
):
    run(["reconcile", "--period", "2026-09-04", "--data", str(store), "--org", "docs", "--json"])
    (tied,) = json.loads(capsys.readouterr().out)["connections"]
    (shadow,), (ghost,) = tied["shadow"], tied["ghosts"]
    lines = client.query(shadow["evidence"])
    assert {row[lines.column_names.index("project")] for row in lines.result_rows} == {"jobs"}
    assert sum(row[lines.column_names.index("amount_usd")] for row in lines.result_rows) == D(shadow["amount_usd"])
    calls = client.query(ghost["evidence"])
    assert sum(row[calls.column_names.index("cost_usd")] for row in calls.result_rows) == D(ghost["amount_usd"])


def test_a_file_that_cannot_be_written_is_one_line(store: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    target = tmp_path / "missing" / "page.html"
    words = ["report", "spend", "--period", "2026-09", "--format", "html", "--output", str(target)]
    assert run([*words, "--data", str(store), "--org", "docs"]) == 2
    assert capsys.readouterr().err == f"spanledger: cannot write {target}: No such file or directory\n"


PAGE = Path(__file__).resolve().parents[2] / "docs" / "report.md"
SHOWN = re.findall(r"^```console\n\$ spanledger (.+)\n((?:.*\n)+?)```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_the_documentation_shows_what_is_printed(
    store: Path, capsys: pytest.CaptureFixture[str], command: str, output: str
):
    run([*shlex.split(command), "--data", str(store), "--org", "docs"])
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    for part in re.split(r"^\.\.\.$", output, flags=re.MULTILINE):
        shown = part.strip("\n").splitlines()
        assert any(printed[n : n + len(shown)] == shown for n in range(len(printed))), "\n".join(printed)


def test_the_documentation_shows_every_part():
    shown = " ".join(command for command, _ in SHOWN)
    assert [
        part for part in ("report --period", "chargeback", "change", "prices", "reconcile") if part not in shown
    ] == []
