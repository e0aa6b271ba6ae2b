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
