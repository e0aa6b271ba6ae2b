"""The tie-out over a real store: calls ingested, bill lines committed, the command run, its exit code read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

import pytest

from spanledger.cli.app import run
from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.store import Ledger
from spanledger.reconciler.batch import LineBuffer
from spanledger.reconciler.bill_line import BillLine, Kind
from spanledger.reconciler.clock import SystemClock
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.store import BillStore, Place
from spanledger.reconciler.units import Money
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

DAY = datetime(2026, 9, 3, tzinfo=UTC)


@dataclass
class Books:
    """A store that is filled first and then read by the command."""

    path: Path

    def calls(
        self, org: str, *, count: int, project: str = "web", model: str = "gpt-4o-2024-08-06", day: int = 0
    ) -> None:
        start = int((DAY + timedelta(days=day, hours=12)).timestamp()) * 10**9
        ledger = Ledger.open(StoreTarget.embedded(self.path), PriceBook())
        try:
            ledger.ingest(
                [
                    Observation(
                        org_id=org,
                        trace_id=f"{org}{project}{day}{n}".encode().ljust(16, b"-")[:16],
                        span_id=n.to_bytes(8, "big"),
                        dialect="test",
                        received_ns=start,
                        started_ns=start + n,
                        ended_ns=start + n + 10**9,
                        provider="openai",
                        operation="chat",
                        request_model=model,
                        response_model=model,
                        response_id=f"chatcmpl-{org}-{project}-{day}-{n}",
                        usage=Usage(input_uncached=1_000_000, cache_read=0, output_text=100_000),
                        project=project,
                        team_id="search",
                        service_name="api",
                    )
                    for n in range(count)
                ]
            )
        finally:
            ledger.close()

    def bill(
        self, org: str, *, calls: int, project: str = "web", discount: str = "1", day: int = 0, name: str = "prod"
    ) -> None:
        """The true bill of as many calls: $2.50 a million input, $10 a million output, times a discount."""
        start = DAY + timedelta(days=day)
        buffer = LineBuffer(FxRates())
        for token_class, quantity, rate in (("input_uncached", 10**6, "2.5"), ("output_text", 10**5, "10")):
            buffer.add(
                BillLine(
                    kind=Kind.COST,
                    start=start,
                    end=start + timedelta(days=1),
                    provider="openai",
                    model="gpt-4o-2024-08-06",
                    token_class=token_class,
                    project=project,
                    quantity=D(quantity * calls),
                    unit="tokens",
                    money=Money(D(quantity * calls) * D(rate) * D(discount) / 10**6, "USD"),
                ),
                start.date().isoformat(),
                is_final=True,
                evidence=f"page-{project}",
            )
        client = connect(StoreTarget.embedded(self.path))
        try:
            store, place = BillStore(client, SystemClock()), Place(org, name, f"costs-{project}")
            version = store.new_version(place)
            store.write_lines(place, buffer.take(), version, start)
            store.commit(place, buffer.slots, version=version, run_id="r1", fetched_at=start)
        finally:
            client.close()


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Books:
    return Books(tmp_path_factory.mktemp("store"))


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
        "connections": [
            {
                "provider": "openai",
                "name": "prod",
                "billed_usd": "14",
                "booked_usd": "14",
                "coverage": "1",
                "residuals": {},
                "missing_days": [],
                "problems": [],
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
    client = connect(StoreTarget.embedded(books.path))
    try:
        rows = client.query(
            "SELECT (SELECT count() FROM spanledger.tieout_versions WHERE org_id = 'twice'), "
            "(SELECT sum(amount_usd) FROM spanledger.tieout_residuals WHERE org_id = 'twice'), "
            "(SELECT billed_usd - booked_usd FROM spanledger.tieouts WHERE org_id = 'twice')"
        ).result_rows
    finally:
        client.close()
    assert rows == [(1, D("-0.35"), D("-0.35"))]


@pytest.mark.parametrize("period", ["november", "2026-13", "2026-11-05..2026-11-01", ""])
def test_what_is_no_period_is_refused_in_one_line(books: Books, capsys: pytest.CaptureFixture[str], period: str):
    assert run(["reconcile", "--period", period, "--data", str(books.path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "period" in error
