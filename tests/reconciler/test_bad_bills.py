"""What is odd about a bill is said in plain lines, and the exit code says whether the tie-out can be believed."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from report_books import Books

from spanledger.cli.app import run
from spanledger.ledger.client import StoreTarget, connect

DAY = date(2026, 9, 3)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    books = Books(tmp_path_factory.mktemp("store"))
    for org in ("euros", "mixed", "corrected", "refunded", "parts", "fine"):
        books.call(org, DAY)
        books.bill(org, DAY)
    books.line("euros", DAY, "4", currency="EUR", token_class="output_text", line_item="abroad")
    # The very place of a line in dollars: neither its tokens nor its currency may get into that.
    books.line("mixed", DAY, "4", currency="EUR", token_class="output_text", quantity=50_000)
    # Billed a million tokens too much, then taken off.
    books.line("corrected", DAY, "2.5", quantity=10**6, token_class="input_uncached", line_item="first")
    books.line("corrected", DAY, "-2.5", quantity=-(10**6), token_class="input_uncached", line_item="correction")
    books.line("refunded", DAY, "-0.25", token_class="input_uncached", line_item="goodwill")
    books.bill("unseen", DAY)
    books.call("unbilled", DAY)
    books.write()
    client = connect(StoreTarget.embedded(books.path))
    for table in ("bill_line_versions", "bill_slots"):
        client.command(
            f"INSERT INTO spanledger.{table} SELECT * REPLACE ('file.again' AS stream) FROM spanledger.{table} "
            "WHERE org_id = 'parts'"
        )
    client.close()
    return books.path


def reconcile(store: Path, capsys: pytest.CaptureFixture[str], org: str, period: str = "2026-09-03") -> tuple[int, Any]:
    code = run(["reconcile", "--period", period, "--data", str(store), "--org", org, "--json"])
    return code, json.loads(capsys.readouterr().out)["connections"]


@pytest.mark.parametrize(
    ("org", "code", "residuals", "said"),
    [
        ("fine", 0, {}, ""),
        ("euros", 4, {}, "1 line in EUR is left out: no exchange rate is known for their days"),
        ("mixed", 4, {}, "1 line in EUR is left out: no exchange rate is known for their days"),
        ("corrected", 0, {}, "1 usage line is negative ($-2.50 in all)"),
        ("refunded", 0, {"credits_and_discounts": "-0.25"}, "1 usage line is negative ($-0.25 in all)"),
        (
            "parts",
            3,
            {"missing_telemetry": "3.5"},
            "costs and file.again bill the same $3.50: the same invoice imported",
        ),
        ("unseen", 3, {"missing_telemetry": "3.5"}, "the ledger is empty here"),
    ],
)
def test_it_is_said_and_counted(
    store: Path, capsys: pytest.CaptureFixture[str], org: str, code: int, residuals: dict[str, str], said: str
):
    found, (connection,) = reconcile(store, capsys, org)
    assert (found, connection["residuals"]) == (code, residuals)
    assert [problem[: len(said)] for problem in connection["problems"]] == ([said] if said else [])


def test_a_month_with_missing_days_names_the_first(store: Path, capsys: pytest.CaptureFixture[str]):
    code, (connection,) = reconcile(store, capsys, "fine", "2026-09")
    assert (code, len(connection["missing_days"]), connection["missing_days"][0]) == (4, 29, "2026-09-01")
    run(["reconcile", "--period", "2026-09", "--data", str(store), "--org", "fine"])
    assert "and 24 more were never synced: spanledger sync --since 2026-09-01" in capsys.readouterr().out


def test_a_ledger_without_any_bill_is_missing_data(store: Path, capsys: pytest.CaptureFixture[str]):
    assert reconcile(store, capsys, "unbilled") == (4, [])
    run(["reconcile", "--period", "2026-09-03", "--data", str(store), "--org", "unbilled"])
    assert "No bill lines in this period" in capsys.readouterr().out
