"""Closing a period freezes it; what is restated later becomes an adjustment; the chain verifies anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_books import Books

from spanledger.cli.app import run


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    books = Books(tmp_path_factory.mktemp("store"))
    with books.serving_commands():
        yield books
    books.close()


def periods(
    books: Books, org: str, capsys: pytest.CaptureFixture[str], command: str, *more: str
) -> tuple[int, str, str]:
    code = run(["periods", command, *more, "--data", str(books.path), "--org", org])
    out, err = capsys.readouterr()
    return code, out, err


DAY = "2026-09-03"
NEXT = "2026-09-04"


def test_a_period_closes_once_with_its_shares(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("close", count=3)
    books.calls("close", count=1, team="ads")
    books.bill("close", calls=4)
    books.bill("close", calls=1, project="jobs")
    code, out, _ = periods(books, "close", capsys, "close", DAY)
    assert code == 0
    body = json.loads(out)["body"]
    assert body["connections"][0]["residuals"] == {"missing_telemetry": "3.5"}
    assert {share["owner"]["team"]: share["amount_usd"] for share in body["shares"]} == {
        "search": "10.5",
        "ads": "3.5",
        "unattributed": "3.5",
    }
    code, _, err = periods(books, "close", capsys, "close", DAY)
    assert code == 2
    assert "closed already" in err


def test_a_restatement_is_an_adjustment_of_the_next_closing(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("restated", count=2)
    books.bill("restated", calls=2)
    assert periods(books, "restated", capsys, "close", DAY)[0] == 0
    books.bill("restated", calls=2, discount="0.9")
    listed = periods(books, "restated", capsys, "list")[1]
    assert "billed -0.7 USD" in listed
    assert "rate_difference -0.7 USD" in listed
    books.calls("restated", count=1, day=1)
    books.bill("restated", calls=1, day=1)
    _, out, _ = periods(books, "restated", capsys, "close", NEXT)
    assert json.loads(out)["body"]["adjustments"] == [
        {
            "period": DAY,
            "connection": "prod",
            "billed_usd": "-0.7",
            "booked_usd": "0",
            "was": {"billed_usd": "7", "booked_usd": "7"},
            "now": {"billed_usd": "6.3", "booked_usd": "7"},
            "residuals": {"rate_difference": "-0.7"},
        }
    ]
    assert "restated since" not in periods(books, "restated", capsys, "list")[1]


def test_reopening_needs_a_reason_and_stays_in_the_chain(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("reopen", count=1)
    books.bill("reopen", calls=1)
    assert "nothing to reopen" in periods(books, "reopen", capsys, "reopen", DAY, "--reason", "x")[2]
    periods(books, "reopen", capsys, "close", DAY)
    assert "say why" in periods(books, "reopen", capsys, "reopen", DAY, "--reason", " ")[2]
    assert periods(books, "reopen", capsys, "reopen", DAY, "--reason", "wrong account")[0] == 0
    assert periods(books, "reopen", capsys, "close", DAY)[0] == 0
    _, out, _ = periods(books, "reopen", capsys, "list", "--json")
    assert [entry["action"] for entry in json.loads(out)["log"]] == ["close", "reopen", "close"]
    assert periods(books, "reopen", capsys, "verify") == (0, "3 statements verified\n", "")


def test_signed_statements_verify_offline(books: Books, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    books.calls("signed", count=1)
    books.bill("signed", calls=1)
    _, out, _ = periods(books, "signed", capsys, "close", DAY, "--signing-key-file", str(tmp_path / "key.pem"))
    document = tmp_path / "statement.jsonl"
    document.write_text(out)
    public = key.public_key().public_bytes_raw().hex()
    offline = ["periods", "verify", str(document), "--trusted-key", public, "--data", str(tmp_path / "nowhere")]
    assert run(offline) == 0
    document.write_text(out.replace('"billed_usd":"3.5"', '"billed_usd":"3.4"'))
    assert run(offline) == 2
    assert "changed after closing" in capsys.readouterr().err


def test_what_is_not_final_or_not_synced_does_not_close(books: Books, capsys: pytest.CaptureFixture[str]):
    assert "No period was closed yet" in periods(books, "empty", capsys, "list")[1]
    assert "no bill" in periods(books, "empty", capsys, "close", DAY)[2]
    books.calls("gap", count=1)
    books.bill("gap", calls=1)
    _, _, err = periods(books, "gap", capsys, "close", "2026-09-02..2026-09-03")
    assert "1 days were never synced" in err
    assert periods(books, "gap", capsys, "close", "2026-09-02..2026-09-03", "--force")[0] == 0
    assert "is not over" in periods(books, "gap", capsys, "close", "2099-01")[2]


def test_a_second_restatement_adjusts_only_what_is_new(books: Books, capsys: pytest.CaptureFixture[str]):
    """Each closing states the change since the last word about a period, so that all statements sum to what is now."""
    books.calls("again", count=2)
    books.bill("again", calls=2)
    assert periods(books, "again", capsys, "close", DAY)[0] == 0
    told = []
    for day, discount in ((1, "0.9"), (2, "0.95")):
        books.bill("again", calls=2, discount=discount)
        books.calls("again", count=1, day=day)
        books.bill("again", calls=1, day=day)
        _, out, _ = periods(books, "again", capsys, "close", f"2026-09-{3 + day:02}")
        told.append([change["billed_usd"] for change in json.loads(out)["body"]["adjustments"]])
    assert told == [["-0.7"], ["0.35"]]
    assert periods(books, "again", capsys, "verify")[1] == "3 statements verified\n"


def test_no_day_is_stated_twice(books: Books, capsys: pytest.CaptureFixture[str]):
    books.calls("overlap", count=1)
    books.bill("overlap", calls=1)
    assert periods(books, "overlap", capsys, "close", DAY)[0] == 0
    code, _, err = periods(books, "overlap", capsys, "close", "2026-09", "--force")
    assert (code, "days in common with 2026-09-03, which is closed" in err) == (2, True)
    periods(books, "overlap", capsys, "reopen", DAY, "--reason", "the month as a whole")
    assert periods(books, "overlap", capsys, "close", "2026-09", "--force")[0] == 0


def test_an_offline_chain_shows_what_was_removed_or_reordered(
    books: Books, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    books.calls("chain", count=1)
    books.bill("chain", calls=1)
    lines = [periods(books, "chain", capsys, "close", DAY)[1]]
    lines.append(periods(books, "chain", capsys, "reopen", DAY, "--reason", "a line was missing")[1])
    lines.append(periods(books, "chain", capsys, "close", DAY)[1])
    document = tmp_path / "chain.jsonl"
    offline = ["periods", "verify", str(document), "--data", str(tmp_path / "nowhere")]
    for kept, said in (
        ((0, 1, 2), ""),
        ((0, 2), "one was removed"),
        ((1, 0, 2), "one was removed"),
        ((1, 2), "removed"),
    ):
        document.write_text("".join(lines[n] for n in kept))
        assert run(offline) == (2 if said else 0)
        assert said in capsys.readouterr().err
    assert json.loads(lines[1])["body"]["reason"] == "a line was missing"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no statement"),
        ("\n\n", "holds no statement"),
        ("no json", "statement.json:1: not a statement: it is no JSON"),
        ("[]", "statement.json:1: not a statement: it is no JSON object"),
        ('\n{"body": [], "previous": ""}', "statement.json:2: not a statement: 'body' is missing"),
        ('{"body": {}, "previous": "", "digest": 7}', "'digest' is missing"),
    ],
)
def test_what_is_no_statement_is_said_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
):
    file = tmp_path / "statement.json"
    file.write_text(text)
    assert run(["periods", "verify", str(file)]) == 2
    assert words in capsys.readouterr().err
