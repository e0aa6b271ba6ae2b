"""The commands about bills, as a user types them, against a fake provider behind a real socket."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.base import serving
from fakes.openai import FakeOpenAI, completions, cost, error
from rich.console import Console

from spanledger.cli import output, runtime
from spanledger.cli.app import run
from spanledger.cli.commands.connections_add import from_stdin
from spanledger.cli.commands.sync import bars
from spanledger.cli.errors import UserError
from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.migrate import migrate
from spanledger.reconciler.clock import SystemClock
from spanledger.reconciler.connections import Connection, ConnectionStore
from spanledger.reconciler.connectors import CONNECTORS
from spanledger.reconciler.engine import Progress

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


def test_the_whole_way_of_a_bill(cli, provider, org):
    """Add, list, sync, list, query, names, parse again, rotate, remove: each says what it did."""
    fake, url = provider
    code, out, _ = add(cli, url)
    assert (code, "costs" in out, "prod is added" in out) == (0, True, True)
    code, out, _ = cli("connections", "list", "--json")
    (listed,) = json.loads(out)
    assert (listed["account"], listed["secrets"], listed["streams"]) == ("org-fake", {"admin_key": "env:ADMIN"}, [])
    code, out, _ = cli("sync", "openai", "--days", "30", "--json")
    (pulled,) = json.loads(out)
    assert {found["since"] for found in pulled["streams"]} == {str(datetime.now(UTC).date() - timedelta(days=29))}
    lines = {found["stream"]: found["lines"] for found in pulled["streams"]}
    assert (code, lines["costs"], lines["usage.completions"]) == (0, 1, 2)
    code, out, _ = cli(
        "sync", "prod", "--stream", "costs", "--since", str(DAY), "--until", str(DAY + timedelta(days=1))
    )
    assert (code, "costs" in out) == (0, True)
    code, out, _ = cli(
        "query", f"SELECT model, amount FROM bill_lines WHERE org_id = '{org}' AND kind = 'cost'", "--format", "json"
    )
    assert json.loads(out) == [{"model": "gpt-4o", "amount": "1.25"}]
    assert "2 names" in cli("connections", "names", "prod")[1]
    assert json.loads(cli("bills", "reparse", "prod", "--json")[1])[0]["changed"] == 0
    assert "is rotated" in cli("connections", "rotate", "prod", "--secret", "admin_key=env:ADMIN")[1]
    fake.key = "revoked"
    code, out, _ = cli("connections", "test", "prod")
    assert (code, "1. Sign in" in out) == (1, True)
    code, _, err = cli("connections", "rotate", "prod", "--secret", "admin_key=env:ADMIN")
    assert (code, "keeps its old secret" in err) == (1, True)
    assert cli("sync", "prod", "--stream", "costs")[0] == 1
    assert "bill lines of 2 days" in cli("connections", "remove", "prod", "--purge")[1]


def test_a_key_that_does_not_work_is_not_added(cli, provider):
    """The problem and the steps are shown; nothing is kept; --no-test keeps it."""
    fake, url = provider
    fake.key = "other"
    code, out, err = add(cli, url)
    assert (code, "1. Sign in" in out, "was not added" in err) == (1, True, True)
    assert json.loads(cli("connections", "list", "--json")[1]) == []
    assert add(cli, url, "--no-test")[0] == 0


def test_a_bar_shows_how_far_a_backfill_is(monkeypatch):
    """One per stream, on a terminal; nothing when the output is for scripts."""
    for quiet, shown in ((False, True), (True, False)):
        screen = io.StringIO()
        monkeypatch.setattr(output, "console", lambda: Console(file=screen, force_terminal=True, width=120))  # noqa: B023
        with bars(quiet=quiet) as show:
            show(Progress(connection="prod", stream="costs", done=2, total=6, lines=100))
            show(Progress(connection="prod", stream="usage.images", done=1, total=6, lines=0))
        said = screen.getvalue()
        assert ("prod costs" in said, "2/6" in said, "prod usage.images" in said, "1/6" in said) == (shown,) * 4


def processes_that_show(text: str) -> list[str]:
    """What any user of this machine sees of a process (its arguments), and what its owner sees (its environment)."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        for part in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                if text.encode() in (place / part).read_bytes():
                    found.append(f"{place}/{part}")
    return found


def test_a_secret_typed_at_a_prompt(provider, tmp_path, server, org, cli, monkeypatch):
    """No echo, no process list, no list, no file of the store shows it; it moves to a new master key unseen."""
    fake, url = provider
    monkeypatch.delenv("ADMIN")
    keys = tmp_path / "master.key"
    keys.write_text("42" * 32)
    monkeypatch.setenv("SPANLEDGER_MASTER_KEY_FILE", str(keys))
    seen: list[str] = []
    fake.fail_next(error(500, "never sent"), when=lambda _: bool(seen.extend(processes_that_show(fake.key))))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [
            sys.executable, "-m", "spanledger.cli.main", "connections", "add", "openai", "--name", "prod",
            "--base-url", url, "--requests-per-second", "1000", "--data", str(server), "--org", org,
        ],
        stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=tmp_path, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while b"admin key (sk-admin-...): " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, f"{fake.key}\n".encode())
        assert process.stdout is not None
        printed = process.stdout.read()
        with contextlib.suppress(OSError):  # the other end is closed
            while more := os.read(ours, 1000):
                shown += more
    os.close(ours)
    assert (process.returncode, "prod is added" in printed) == (0, True), shown
    assert fake.key not in shown.decode() + printed
    assert (len(fake.questions) > 5, seen) == (True, [])
    code, out, _ = cli("connections", "list", "--json")
    assert (code, "sealed with" in out, fake.key in out) == (0, True, False)
    assert not [path for path in server.rglob("*") if path.is_file() and fake.key.encode() in path.read_bytes()]
    keys.write_text("43" * 32 + "\n" + "42" * 32)
    assert "1 connections are sealed" in cli("connections", "rotate", "--master-key")[1]
    keys.write_text("43" * 32)
    assert cli("sync", "prod", "--stream", "costs")[0] == 0


def test_secrets_through_a_pipe(monkeypatch):
    """One line each; a JSON document whole; nothing is an error."""
    monkeypatch.setattr(sys, "stdin", io.StringIO('one\ntwo\n{\n "private_key": "x"\n}\n'))
    assert [from_stdin("--x-stdin", "x") for _ in range(3)] == ["one", "two", '{\n "private_key": "x"\n}']
    with pytest.raises(UserError, match="--x-stdin: standard input is empty"):
        from_stdin("--x-stdin", "x")


@pytest.mark.parametrize("spec", [each.spec for each in CONNECTORS], ids=lambda spec: spec.name)
def test_no_option_takes_a_secret_itself(spec, empty, capsys):
    """A pasted secret is refused by every option and not repeated: logs must not have it, too."""
    pasted = "sk-CANARY-7f3a9c"
    required = [word for each in spec.settings if each.required for word in (f"--{each.name}", "p.d.t")]
    for secret in spec.secrets:
        for kind in ("env", "file", "ref"):
            flag = f"--{secret.name.replace('_', '-')}-{kind}"
            code = run(["connections", "add", spec.name, flag, pasted, *required, "--data", str(empty)])
            out, err = capsys.readouterr()
            assert (code, pasted in out + err) == (2, False), flag


def test_the_list_shows_the_age_of_keys(cli, server, org):
    """A key of a hundred days is to be changed; a new reference begins to count anew."""
    now = datetime.now(UTC)
    running = runtime.find(server)
    assert running is not None
    client = connect(StoreTarget.server(running.store_url))
    store = ConnectionStore(client, SystemClock())
    old = Connection(
        org_id=org, name="old", connector="openai", secrets={"admin_key": "env:A"},
        created_at=now - timedelta(days=100),
    )  # fmt: skip
    store.put(old)
    store.put(replace(old, name="fresh").rotated({"admin_key": "env:B"}, now))
    client.close()
    code, out, _ = cli("connections", "list")
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert (code, "100 days" in rows["old"], "0 days" in rows["fresh"]) == (0, True, True)
    assert "old, admin_key: 100 days old" in out
    assert "fresh, admin_key" not in out
    assert "nothing is pulled by itself" in out
    found = {each["name"]: each for each in json.loads(cli("connections", "list", "--json")[1])}
    assert (found["old"]["secret_age_days"], found["old"]["next_pull"]) == ({"admin_key": 100}, None)


def test_a_serving_process_pulls_what_is_connected(provider, serve, wait_for, tmp_path, capsys):
    """Without being asked, every stream; the list then shows when it will do so again."""
    fake, url = provider
    (tmp_path / "key").write_text(fake.key)
    data = tmp_path / "data"
    add_it = [
        "--admin-key-file",
        str(tmp_path / "key"),
        "--base-url",
        url,
        "--requests-per-second",
        "1000",
        "--no-test",
    ]
    assert run(["connections", "add", "openai", "--name", "prod", *add_it, "--data", str(data)]) == 0
    served = serve(data=data)

    def pulled() -> list[dict[str, Any]]:
        return served.sql("SELECT stream, state FROM spanledger.sync_runs WHERE step = 'run'")

    wait_for(lambda: len(pulled()) >= 11, "every stream pulled", 120)
    assert {each["state"] for each in pulled()} == {"ok"}
    (line,) = served.sql("SELECT model, amount FROM spanledger.bill_lines WHERE kind = 'cost'")
    assert line == {"model": "gpt-4o", "amount": "1.25"}
    capsys.readouterr()
    assert run(["connections", "list", "--json", "--data", str(data)]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    following = datetime.fromisoformat(listed["next_pull"])
    assert timedelta(0) < following - datetime.now(UTC) <= timedelta(hours=1)


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
        (["sync", "--days", "30", "--since", "2026-01-01"], ["--days", "without --since"]),
        (["sync", "--since", "yesterday"], ["--since", "2026-11-01"]),
        (["sync", "--since", "2026-02-01", "--until", "2026-01-01"], ["before"]),
        (["sync", "--since", "2099-01-01"], ["--since 2099-01-01", "yet to come"]),
        (["sync", "--since", "0001-01-01", "--until", "0001-01-02"], ["--since 0001-01-01", "no bill"]),
        (["sync", "--until", "9999-12-31"], ["--until 9999-12-31", "no bill"]),
        (["sync", "--days", "99999999"], ["--days", "up to 3650"]),
        (["sync", "--days", "-1"], ["--days", "up to 3650"]),
        (["connections", "add", "openai", "--admin-key-env", "A", "--requests-per-second", "inf"], ["from 0.001"]),
        (["bills", "reparse", "x", "--since", "2026-11-02", "--until", "2026-11-01"], ["before"]),
        (["connections", "add", "xai", "--management-key-env", "PATH", "--team-id", "default"], ["was not added"]),
        (["bills", "import", "/"], ["/ is a folder", "connections add file --path /"]),
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


def test_what_was_imported_by_hand_is_not_pulled(cli, tmp_path, org):
    """Neither the first of several files in place of all, nor a part a second time; the list says so."""
    row = "2026-11-03,cohere,{},USD,command-r\n"
    for name, amount in (("a", "1.5"), ("b", "2.5"), ("c", "4")):
        (tmp_path / f"{name}.csv").write_text("date,provider,amount,currency,model\n" + row.format(amount))
    files = {name: str(tmp_path / f"{name}.csv") for name in "abc"}
    code, _, err = cli("bills", "import", "--connection", "Not A Name", files["a"])
    assert (code, "--name 'Not A Name'" in err) == (2, True)
    assert cli("bills", "import", "--connection", "cohere", files["a"], files["b"])[0] == 0
    assert cli("bills", "import", "--connection", "other", "--part", "tools", files["c"])[0] == 0
    assert cli("sync")[0] == 0
    _, out, _ = cli(
        "query", f"SELECT connection, sum(amount) AS x FROM bill_lines WHERE org_id = '{org}' GROUP BY 1 ORDER BY 1",
        "--format", "json",
    )  # fmt: skip
    assert [(each["connection"], each["x"]) for each in json.loads(out)] == [("cohere", "4"), ("other", "4")]
    _, out, _ = cli("connections", "list")
    assert out.count("by hand") == 2
    code, _, err = cli("bills", "reparse", "cohere", "--stream", "nope")
    assert (code, "keeps no stream 'nope'; it keeps file" in err) == (2, True)
    cli("connections", "add", "file", "--name", "folder", "--path", str(tmp_path), "--no-test")
    code, _, err = cli("bills", "import", "--connection", "folder", files["a"])
    assert (code, "would replace the import" in err) == (2, True)
