"""The tie-out over a real store: calls ingested, bill lines committed, the command run, its exit code read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path

import pytest
from ledger_books import Books

from spanledger.cli.app import run
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.run import Period, PeriodError
from spanledger.semconv.prices.overrides import Alias, Overrides, Scope


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    books = Books(tmp_path_factory.mktemp("store"))
    with books.serving_commands():
        yield books
    books.close()


def reconcile(books: Books, org: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    code = run(["reconcile", "--period", "2026-09-03", "--data", str(books.path), "--org", org, *more])
    return code, capsys.readouterr().out


def test_equal_books_tie_out(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("equal", count=4)
    books.bill("equal", calls=4)
    code, out = reconcile(books, "equal", capsys, "--json")
    assert code == 0
    assert json.loads(out) == {
        "period": "2026-09-03",
        "doubts": [],
        "connections": [
            {
                "provider": "openai",
                "name": "prod",
                "billed_usd": "14",
                "booked_usd": "14",
                "booked_low_usd": "14",
                "booked_high_usd": "14",
                "coverage": "1",
                "residuals": {},
                "missing_days": [],
                "problems": [],
                "causes": [],
                "shadow": [],
                "ghosts": [],
                "interrupted": [],
            }
        ],
    }


def test_an_uninstrumented_project_and_a_discount_are_named(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("faults", count=4)
    books.bill("faults", calls=4, discount="0.96")
    books.bill("faults", calls=2, project="jobs", discount="0.96")
    code, out = reconcile(books, "faults", capsys, "--json")
    assert code == 3
    (connection,) = json.loads(out)["connections"]
    assert connection["residuals"] == {"missing_telemetry": "6.72", "rate_difference": "-0.56"}
    assert connection["billed_usd"] == "20.16"


def test_the_words_name_the_project_and_the_mend(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("words", count=1)
    books.bill("words", calls=1)
    books.bill("words", calls=1, project="batch-jobs")
    code, out = reconcile(books, "words", capsys)
    assert code == 3
    assert "project `batch-jobs` is billed but was never seen in spans" in out
    assert "instrument what uses it" in out
    assert "shadow spend: billed, never seen in spans" in out
    assert "project IN ('batch-jobs')" in out


def test_a_threshold_decides_the_exit_code(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("threshold", count=1)
    books.bill("threshold", calls=1, discount="0.97")
    assert reconcile(books, "threshold", capsys)[0] == 3
    assert reconcile(books, "threshold", capsys, "--threshold", "5")[0] == 0


def test_days_that_were_never_pulled_are_missing_data(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("missing", count=1)
    books.bill("missing", calls=1)
    code = run(["reconcile", "--period", "2026-09-02..2026-09-03", "--data", str(books.path), "--org", "missing"])
    assert code == 4
    assert "2026-09-02 were never synced" in capsys.readouterr().out


def test_no_bill_at_all_is_missing_data(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("nobill", count=1)
    code, out = reconcile(books, "nobill", capsys)
    assert code == 4
    assert "no connection bills openai: $3.50 booked there" in out


def test_running_twice_keeps_one_result(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("twice", count=1)
    books.bill("twice", calls=1, discount="0.9")
    assert reconcile(books, "twice", capsys) == reconcile(books, "twice", capsys)
    rows = books.client.query(
        "SELECT (SELECT count() FROM spanledger.tieout_versions WHERE org_id = 'twice'), "
        "(SELECT sum(amount_usd) FROM spanledger.tieout_residuals WHERE org_id = 'twice'), "
        "(SELECT billed_usd - booked_usd FROM spanledger.tieouts WHERE org_id = 'twice')"
    ).result_rows
    assert rows == [(1, D("-0.35"), D("-0.35"))]


@pytest.mark.parametrize("period", ["november", "2026-13", "2026-11-05..2026-11-01", ""])
def test_what_is_no_period_is_refused_in_one_line(books: Books, capsys: pytest.CaptureFixture[str], period: str):
    assert run(["reconcile", "--period", period, "--data", str(books.path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "period" in error


def test_names_that_the_price_file_explains_meet(books: Books, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A deployment that only the user can explain: without its meaning it is a ghost beside shadow spend."""
    books.calls("alias", count=2, model="prod-chat-eu")
    books.bill("alias", calls=2)
    code, out = reconcile(books, "alias", capsys, "--json")
    (before,) = json.loads(out)["connections"]
    assert code == 3
    assert before["residuals"].keys() == {"missing_telemetry"}
    prices = tmp_path / "prices.toml"
    prices.write_text('[[aliases]]\nprovider = "openai"\nmodel = "prod-chat-eu"\nmeans = "gpt-4o-2024-08-06"\n')
    _, out = reconcile(books, "alias", capsys, "--json", "--prices", str(prices))
    (after,) = json.loads(out)["connections"]
    # Their tokens meet; that they have no price in the ledger is the next thing to mend.
    assert after["residuals"] == {"unpriced": "7"}
    (cause,) = after["causes"]
    assert books.client.query(cause["evidence"]).row_count == 2


def test_a_name_of_two_meanings_explains_nothing():
    def alias(model: str, **more: object) -> Alias:
        return Alias(scope=Scope(model="prod", **more), model=model)  # type: ignore[arg-type]

    both = Overrides(aliases=(alias("gpt-4o", org="acme"), alias("gpt-4.1", project="p")))
    assert ModelNames.of(both, "acme").canonical("prod") == "prod"
    assert ModelNames.of(both, "other").canonical("prod") == "gpt-4.1"
    assert ModelNames.of(None, "acme").canonical("prod") == "prod"


@pytest.mark.parametrize("period", ["2026-13", "2026-9", "20260903", "2026-W36", "2026-W36-4", "9999-12-31", "9999-12"])
def test_a_period_has_one_name(period: str):
    with pytest.raises(PeriodError, match="write a month"):
        Period.parse(period)


@pytest.mark.parametrize("threshold", ["-1", "nan", "much"])
def test_a_threshold_is_a_share(books: Books, capsys: pytest.CaptureFixture[str], threshold: str):
    assert run(["reconcile", "--period", "2026-09-03", "--data", str(books.path), "--threshold", threshold]) == 2
    assert "--threshold" in capsys.readouterr().err


def test_money_stands_right(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("right", count=40)
    books.bill("right", calls=40, discount="0.9")
    _, out = reconcile(books, "right", capsys)
    lines = out.splitlines()
    heads = next(n for n, line in enumerate(lines) if line.startswith("billed USD"))
    assert lines[heads + 2] == "    126.00       140.00       -14.00   100.00 %"
    assert "rate_difference   -14.00" in lines


@pytest.mark.parametrize(("command", "code"), [("reconcile", 3), ("report", 0)])
def test_a_reader_that_leaves_is_no_failure(books: Books, command: str, code: int, monkeypatch: pytest.MonkeyPatch):
    """``| head``: what was found decides the exit code, not that nobody reads on."""
    books.calls("head", count=1)
    books.bill("head", calls=2)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        found = run([command, "--period", "2026-09-03", "--data", str(books.path), "--org", "head"])
    assert found == code


def test_the_documentation_shows_what_is_printed(books: Books, capsys: pytest.CaptureFixture[str]):
    page = (Path(__file__).parents[2] / "docs" / "reconcile.md").read_text(encoding="utf-8")
    shown = page.partition("```text\n")[2].partition("```")[0]
    books.calls("docs", count=4)
    books.bill("docs", calls=4, discount="0.96")
    books.bill("docs", calls=1, project="jobs")
    _, out = reconcile(books, "docs", capsys)
    assert out.startswith(shown)
