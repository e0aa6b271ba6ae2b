"""FOCUS files add up to the invoice, and hold what the specification asks for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ledger_books import Books

from spanledger.cli.app import run
from spanledger.exporters.focus.columns import VERSIONS, columns

DAY = "2026-09-03"
NEXT = "2026-09-04"


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    books = Books(tmp_path_factory.mktemp("store"))
    books.calls("acme", count=3)
    books.calls("acme", count=1, team="ads")
    books.bill("acme", calls=4, discount="0.96")
    books.bill("acme", calls=1, project="jobs")
    with books.serving_commands():
        run(["reconcile", "--period", DAY, "--data", str(books.path), "--org", "acme"])
        yield books
    books.close()


def export(books: Books, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, str]]:
    assert run(["export", "focus", "--period", DAY, "--data", str(books.path), "--org", "acme", *more]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_billed_cost_sums_to_the_invoice_exactly(books: Books, capsys: pytest.CaptureFixture[str]):
    rows = export(books, capsys)
    assert sum(D(row["BilledCost"]) for row in rows) == D("14") * D("0.96") + D("3.5")
    assert {row["x_Residual"] for row in rows} == {"", "rate_difference", "missing_telemetry"}


def test_usage_keeps_team_class_and_quantity(books: Books, capsys: pytest.CaptureFixture[str]):
    (row,) = [r for r in export(books, capsys) if r["x_Team"] == "ads" and r["x_TokenClass"] == "output_text"]
    assert (row["ConsumedQuantity"], row["ConsumedUnit"], row["BilledCost"]) == ("100000", "Tokens", "1")
    assert (row["PricingQuantity"], row["PricingUnit"]) == ("0.1", "1000000 Tokens")
    assert json.loads(row["Tags"])["team"] == "ads"
    assert row["x_Provisional"] == "true"


def test_a_closed_period_keeps_its_amounts(books: Books, capsys: pytest.CaptureFixture[str]):
    """What comes after the closing is in no file until the next period is closed: there it is a correction."""

    def focus(period: str) -> list[dict[str, str]]:
        capsys.readouterr()
        assert run(["export", "focus", "--period", period, "--data", str(books.path), "--org", "closed"]) == 0
        return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    def total(rows: list[dict[str, str]]) -> D:
        return sum((D(row["BilledCost"]) for row in rows), D(0))

    books.calls("closed", count=2)
    books.bill("closed", calls=3)
    command = ["--data", str(books.path), "--org", "closed"]
    assert run(["periods", "close", DAY, *command]) == 0
    stated = focus(DAY)
    assert (total(stated), {row["x_Provisional"] for row in stated}) == (D("10.5"), {"false"})
    # A late call, and a discount that came later.
    books.calls("closed", count=3)
    books.bill("closed", calls=3, discount="0.9")
    books.calls("closed", count=1, day=1)
    books.bill("closed", calls=1, day=1)
    late = focus(DAY)
    assert (total(late), {row["x_Provisional"] for row in late}) == (D("10.5"), {"false"})
    assert run(["periods", "close", NEXT, *command]) == 0
    assert total(focus(DAY)) == D("10.5")
    after = focus(NEXT)
    assert total(after) == D("3.5") + D("9.45") - D("10.5")
    corrections = [row for row in after if row["ChargeClass"] == "Correction"]
    assert total(corrections) == D("-1.05")
    assert {(row["ChargePeriodStart"], row["BillingPeriodStart"]) for row in corrections} == {
        ("2026-09-03T00:00:00Z", "2026-09-01T00:00:00Z")
    }
    assert {row["x_Residual"]: row["BilledCost"] for row in corrections} == {
        "": "3.5", "missing_telemetry": "-3.5", "rate_difference": "-1.05",
    }  # fmt: skip
    assert run(["periods", "reopen", DAY, "--reason", "try again", *command]) == 0
    assert {row["x_Provisional"] for row in focus(DAY)} == {"true"}


def test_what_comes_late_is_taken_out_and_corrected_for_its_own_team(books: Books, capsys: pytest.CaptureFixture[str]):
    """Files of closed periods, loaded once and added up, are right for each team, and for providers without a bill."""

    def teams(*periods: str) -> dict[tuple[str, str], D]:
        sums: dict[tuple[str, str], D] = {}
        for period in periods:
            capsys.readouterr()
            assert run(["export", "focus", "--period", period, "--data", str(books.path), "--org", "late"]) == 0
            for row in csv.DictReader(io.StringIO(capsys.readouterr().out)):
                key = row["x_Team"], row["InvoiceIssuerName"]
                sums[key] = sums.get(key, D(0)) + D(row["BilledCost"])
        return {key: amount for key, amount in sums.items() if amount}

    command = ["--data", str(books.path), "--org", "late"]
    books.calls("late", count=2)
    books.bill("late", calls=2)
    assert run(["periods", "close", DAY, *command]) == 0
    stated = teams(DAY)
    assert stated == {("search", "OpenAI"): D(7)}
    # Late: a call of another team, and one of a provider that no connection bills.
    books.calls("late", count=1, team="ads")
    books.bill("late", calls=3)
    books.calls("late", count=1, team="ads", provider="mistral", model="mistral-large-2411")
    mistral = books.client.query("SELECT sum(cost_usd) FROM spanledger.calls WHERE provider = 'mistral'").result_rows
    assert teams(DAY) == stated
    books.calls("late", count=1, day=1)
    books.bill("late", calls=1, day=1)
    assert run(["periods", "close", NEXT, *command]) == 0
    whole = {("search", "OpenAI"): D("10.5"), ("ads", "OpenAI"): D("3.5"), ("ads", "Mistral AI"): mistral[0][0]}
    assert teams(DAY, NEXT) == whole
    # Nothing is corrected twice.
    books.calls("late", count=1, day=2)
    books.bill("late", calls=1, day=2)
    assert run(["periods", "close", "2026-09-05", *command]) == 0
    whole["search", "OpenAI"] += D("3.5")
    assert teams(DAY, NEXT, "2026-09-05") == whole


def test_calls_that_came_after_the_last_tie_out_are_in_the_sum(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("fresh", count=1)
    books.bill("fresh", calls=3)
    assert run(["reconcile", "--period", DAY, "--data", str(books.path), "--org", "fresh"]) == 3
    books.calls("fresh", count=3)
    capsys.readouterr()
    assert run(["export", "focus", "--period", DAY, "--data", str(books.path), "--org", "fresh"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sum(D(row["BilledCost"]) for row in rows) == D("10.5")
    assert {row["x_Residual"] for row in rows} == {""}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_has_its_own_columns(books: Books, capsys: pytest.CaptureFixture[str], version: str):
    rows = export(books, capsys, "--focus-version", version)
    assert tuple(rows[0]) == columns(version)
    assert ("ProviderName" in rows[0]) == (version < "1.4")
    mandatory = {"BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodStart", "ChargeCategory"}
    mandatory |= {"ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost"}
    assert all(row[name] for row in rows for name in mandatory)


def test_parquet_holds_the_same_decimals(books: Books, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "spend.parquet"
    command = ["export", "focus", "--period", DAY, "--data", str(books.path), "--org", "acme"]
    assert run([*command, "--file-format", "parquet", "--output", str(file)]) == 0
    capsys.readouterr()
    table = pq.read_table(file)
    assert sum(table.column("BilledCost").to_pylist()) == sum(D(r["BilledCost"]) for r in export(books, capsys))


def test_parquet_needs_a_file(books: Books, capsys: pytest.CaptureFixture[str]):
    command = ["export", "focus", "--period", DAY, "--data", str(books.path), "--file-format", "parquet"]
    assert run(command) == 2
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_hold_what_their_category_asks_for(books: Books, capsys: pytest.CaptureFixture[str], version: str):
    """FOCUS v1.2: nullability of quantities, unit prices and SKU by charge category; unit price x quantity = cost."""
    rows = export(books, capsys, "--focus-version", version)
    of_usage = ("PricingQuantity", "PricingUnit", "PricingCategory", "ListUnitPrice", "ContractedUnitPrice")
    of_usage += ("SkuId", "SkuPriceId", "ConsumedQuantity", "ConsumedUnit")
    assert {row["ChargeCategory"] for row in rows} == {"Usage", "Adjustment"}
    for row in rows:
        usage = row["ChargeCategory"] == "Usage"
        assert all(bool(row[name]) == usage for name in of_usage), row
        if usage:
            assert D(row["PricingQuantity"]) * D(row["ListUnitPrice"]) == D(row["ListCost"])
            assert D(row["PricingQuantity"]) * D(row["ContractedUnitPrice"]) == D(row["ContractedCost"])
    (unseen,) = [r for r in rows if r["x_Residual"] == "missing_telemetry" and r["x_TokenClass"] == "output_text"]
    assert (unseen["ConsumedQuantity"], unseen["BilledCost"]) == ("100000", "1")
