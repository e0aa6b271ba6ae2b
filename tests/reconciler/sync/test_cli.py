"""The commands about bills, as a user types them, against a fake provider behind a real socket."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.base import serving
from fakes.openai import FakeOpenAI, completions, cost

from spanledger.cli.app import run
from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.migrate import migrate

DAY = datetime.now(UTC).date() - timedelta(days=5)
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeOpenAI, str]]:
    fake = FakeOpenAI()
    fake.costs[DAY] = [cost("gpt-4o, input", "1.25", quantity=100, unit="tokens")]
    fake.usage["completions"][DAY] = [completions("gpt-4o-2024-08-06", input_tokens=100, num_model_requests=2)]
    monkeypatch.setenv("ADMIN", fake.key)
    with serving(fake) as address:
        yield fake, f"{address}/v1"


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--data", str(tmp_path / "store")])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger without connections."""
    folder = tmp_path_factory.mktemp("empty")
    client = connect(StoreTarget.embedded(folder))
    migrate(client)
    client.close()
    return folder


def add(cli: Cli, url: str, *more: str) -> tuple[int, str, str]:
    return cli(
        "connections", "add", "openai", "--name", "prod", "--admin-key-env", "ADMIN", "--base-url", url,
        "--requests-per-second", "1000", *more,
    )  # fmt: skip


def test_the_whole_way_of_a_bill(cli, provider):
    """Add, list, sync, list, query, names, parse again, rotate, remove: each says what it did."""
    fake, url = provider
    code, out, _ = add(cli, url)
    assert (code, "costs" in out, "prod is added" in out) == (0, True, True)
    code, out, _ = cli("connections", "list", "--json")
    (listed,) = json.loads(out)
    assert (listed["account"], listed["secrets"], listed["streams"]) == ("org-fake", {"admin_key": "env:ADMIN"}, [])
    code, out, _ = cli("sync", "openai", "--json")
    (pulled,) = json.loads(out)
    lines = {found["stream"]: found["lines"] for found in pulled["streams"]}
    assert (code, lines["costs"], lines["usage.completions"]) == (0, 1, 2)
    code, out, _ = cli("sync", "prod", "--since", str(DAY), "--until", str(DAY + timedelta(days=1)))
    assert (code, "costs" in out) == (0, True)
    code, out, _ = cli("query", "SELECT model, amount FROM bill_lines WHERE kind = 'cost'", "--format", "json")
    assert json.loads(out) == [{"model": "gpt-4o", "amount": "1.25"}]
    assert "2 names" in cli("connections", "names", "prod")[1]
    assert json.loads(cli("bills", "reparse", "prod", "--json")[1])[0]["changed"] == 0
    assert "is rotated" in cli("connections", "rotate", "prod", "--secret", "admin_key=env:ADMIN")[1]
    fake.key = "revoked"
    code, out, _ = cli("connections", "test", "prod")
    assert (code, "1. Sign in" in out) == (1, True)
    code, _, err = cli("connections", "rotate", "prod", "--secret", "admin_key=env:ADMIN")
    assert (code, "keeps its old secret" in err) == (1, True)
    assert cli("sync", "prod")[0] == 1
    assert "bill lines of 2 days" in cli("connections", "remove", "prod", "--purge")[1]


def test_a_key_that_does_not_work_is_not_added(cli, provider):
    """The problem and the steps are shown; nothing is kept; --no-test keeps it."""
    fake, url = provider
    fake.key = "other"
    code, out, err = add(cli, url)
    assert (code, "1. Sign in" in out, "was not added" in err) == (1, True, True)
    assert json.loads(cli("connections", "list", "--json")[1]) == []
    assert add(cli, url, "--no-test")[0] == 0


def test_a_sealed_secret_from_standard_input(provider, tmp_path, cli, monkeypatch):
    """The key comes through a pipe, is kept sealed, and is in no argument, list or file of the store."""
    fake, url = provider
    (tmp_path / "master.key").write_text("42" * 32)
    monkeypatch.setenv("SPANLEDGER_MASTER_KEY_FILE", str(tmp_path / "master.key"))
    done = subprocess.run(
        [
            sys.executable, "-m", "spanledger.cli.main", "connections", "add", "openai", "--name", "prod",
            "--admin-key-stdin", "--base-url", url, "--requests-per-second", "1000", "--data", str(tmp_path / "store"),
        ],
        input=f"{fake.key}\n", capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code, out, _ = cli("connections", "list", "--json")
    assert (code, "sealed with" in out, fake.key in out) == (0, True, False)
    assert cli("sync", "prod", "--stream", "costs")[0] == 0
    held = [
        path for path in (tmp_path / "store").rglob("*") if path.is_file() and fake.key.encode() in path.read_bytes()
    ]
    assert held == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sync"], ["no connections yet", "connections add"]),
        (["connections", "add", "nope"], ["'nope'", "openai, anthropic"]),
        (["connections", "add", "openai"], ["--admin-key-env"]),
        (["connections", "add", "openai", "--name", "Prod", "--admin-key-env", "A"], ["--name 'Prod'"]),
        (["connections", "add", "openai", "--admin-key-env", "A", "--admin-key-file", "b"], ["one of"]),
        (["connections", "add", "openai", "--admin-key-env", "NOT_SET"], ["was not added"]),
        (["connections", "add", "xai", "--management-key-env", "A", "--timezone", "CET"], ["--timezone", "UTC"]),
        (["connections", "rotate", "x"], ["--secret", "--master-key"]),
        (["connections", "remove", "x"], ["'x'", "none yet"]),
        (["sync", "--since", "yesterday"], ["--since", "2026-11-01"]),
        (["sync", "--since", "2026-02-01", "--until", "2026-01-01"], ["before"]),
        (["bills", "import", "nothing.csv"], ["nothing.csv", "no such file"]),
        (["bills", "rates", "nothing.csv"], ["nothing.csv"]),
        (["bills", "reparse", "x"], ["'x'"]),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(empty, capsys, arguments, words):
    """Exit code 2 (1 where something was tried), and what to do."""
    code = run([*arguments, "--data", str(empty)])
    assert code in (1, 2)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert [word for word in words if word not in line] == [], line


def test_importing_a_file_by_hand(cli, tmp_path):
    """First look, then take over; a second import replaces; a pulled connection is not mixed with files."""
    bill = tmp_path / "november.csv"
    bill.write_text(
        "date,provider,amount,currency,model\n2026-11-03,cohere,1.5,USD,command-r\n2026-11-04,cohere,x,USD,m\n"
    )
    code, out, _ = cli("bills", "import", "--dry-run", str(bill))
    assert (code, "unreadable" in out, "command-r" in out) == (1, True, True)
    code, _, err = cli("bills", "import", "--connection", "cohere", str(bill))
    assert (code, "row 3" in err) == (1, True)
    bill.write_text("date,provider,amount,currency,model\n2026-11-03,cohere,1.5,USD,command-r\n")
    code, out, _ = cli("bills", "import", "--connection", "cohere", str(bill), "--json")
    assert (code, json.loads(out)["months"]) == (0, ["2026-11"])
    assert json.loads(cli("connections", "list", "--json")[1])[0]["connector"] == "file"
    code, out, _ = cli("bills", "import", "--dry-run", str(bill), "--json")
    (row,) = json.loads(out)["rows"]
    assert (row["lines"][0]["amount"], row["lines"][0]["provider"]) == ("1.5", "cohere")
    cli("connections", "add", "openai", "--name", "prod", "--admin-key-env", "A", "--no-test")
    code, _, err = cli("bills", "import", "--connection", "prod", str(bill))
    assert (code, "counted beside" in err) == (2, True)
