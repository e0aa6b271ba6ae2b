"""Whatever a user gets wrong is one readable line on standard error that names the thing, the place and the mend."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanledger.cli.app import run

Run = Callable[..., subprocess.CompletedProcess[str]]


def only_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("spanledger: ")
    return lines[0].removeprefix("spanledger: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--otlp-grcp", "off"], ["No such option", "--otlp-grpc", "spanledger serve --help"]),
        (["sevre"], ["No such command", "serve", "spanledger --help"]),
        (["serve", "--otlp-grpc", "localhost"], ["--otlp-grpc", "'localhost'", "HOST:PORT", "off"]),
        (["serve", "--http", "127.0.0.1:99999"], ["--http", "not an address"]),
        (["serve", "--sql", "127.0.0.1:http"], ["--sql", "not an address"]),
        (["serve", "--journal-limit", "much"], ["--journal-limit", "'much'", "512MiB"]),
        (["serve", "--stop-within", "soon"], ["--stop-within", "'soon'", "30s"]),
        (["serve", "--log-level", "loud"], ["--log-level", "'loud'", "debug, info, warning, error"]),
        (["serve", "--tls-cert", "cert.pem"], ["--tls-cert", "--tls-key"]),
        (["serve", "--tls-client-ca", "ca.pem"], ["--tls-client-ca", "--tls-cert"]),
        (["serve", "--tls-cert", "cert.pem", "--tls-key", "key.pem"], ["cert.pem", "PEM"]),
        (["serve", "--tls-cert", "/dev/null", "--tls-key", "/dev/null", "--tls-on", "grpc"], ["grpc", "otlp-grpc"]),
        (["serve", "--clickhouse", "localhost:8123"], ["not a ClickHouse URL", "http(s)://"]),
        (["query", "SELECT 1", "--data", "nowhere"], ["no ledger at nowhere", "spanledger serve"]),
        (["query", "SELECT 1", "--format", "xml"], ["--format", "xml"]),
        (["query"], ["sql", "spanledger query --help"]),
        (["tokens", "list", "--data", "nowhere"], ["no ledger at nowhere"]),
        (["import", "nothing.pb"], ["nothing.pb", "no such file"]),
        (["import", "--org", "", "."], ["--org"]),
        (["bills", "import", "nothing.csv"], ["nothing.csv", "no such file"]),
        (["report", "chargback"], ["'chargback' is not one of", "'chargeback'"]),
        (["--config", "none.toml", "doctor"], ["none.toml", "No such file"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and len(value) < 6 else "",
)
def test_user_errors(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    line = only_line(capsys.readouterr().err)
    assert [word for word in words if word not in line] == [], line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[serve\n", ["spanledger.toml", "not valid TOML", "line 1"]),
        ('[serve]\notlp_grcp = "off"\n', ["'otlp_grcp' in [serve]", "did you mean 'otlp_grpc'?"]),
        ('[severe]\nhttp = "off"\n', ["[severe]", "did you mean 'serve'?"]),
        ("dota = 1\n", ["'dota'", "did you mean 'data'?"]),
        ("[tokens.create]\nogr = 'x'\n", ["'ogr' in [tokens.create]", "'org'"]),
    ],
)
def test_config_file_errors(
    text: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spanledger.toml").write_text(text)
    assert run(["doctor"]) == 2
    line = only_line(capsys.readouterr().err)
    assert [word for word in words if word not in line] == [], line


def test_order_of_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Command line over environment over config file; a command's own table over the top of the file."""

    def place(*arguments: str) -> str:
        assert run([*arguments, "query", "SELECT 1", *tail]) == 2
        return only_line(capsys.readouterr().err).split()[3].rstrip(":")

    tail: list[str] = []
    monkeypatch.chdir(tmp_path)
    assert place() == "spanledger-data"
    (tmp_path / "spanledger.toml").write_text('data = "from-top"\n')
    assert place() == "from-top"
    (tmp_path / "spanledger.toml").write_text('data = "from-top"\n[query]\ndata = "from-table"\n')
    assert place() == "from-table"
    (tmp_path / "other.toml").write_text('data = "from-other"\n')
    assert place("--config", "other.toml") == "from-other"
    monkeypatch.setenv("SPANLEDGER_DATA", "from-env")
    assert place() == "from-env"
    tail = ["--data", "from-line"]
    assert place() == "from-line"


def test_a_port_in_use(spanledger: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for option in ("--otlp-grpc", "--otlp-http", "--http", "--sql"):
            others = [f"{name}=off" for name in ("--otlp-grpc", "--otlp-http", "--http", "--sql") if name != option]
            result = spanledger("serve", "--data", str(tmp_path / "data"), option, address, *others)
            assert result.returncode == 2
            line = only_line(result.stderr)
            assert line.startswith(f"{option} {address}: ")
            assert "in use" in line


@pytest.mark.parametrize("kind", ["file", "impossible", "foreign", "newer"])
def test_a_data_directory_that_cannot_be_ours(kind: str, spanledger: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    if kind == "file":
        data.write_text("not a directory")
    elif kind == "impossible":
        data = Path("/proc/no/such/place")
    elif kind == "foreign":
        (data / "metadata").mkdir(parents=True)
    elif kind == "newer":
        data.mkdir()
        (data / "spanledger-store.json").write_text('{"format": 999}')
    result = spanledger("serve", "--data", str(data), "--otlp-grpc=off", "--otlp-http=off", "--http=off", "--sql=off")
    assert result.returncode == 2
    assert str(data) in only_line(result.stderr)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_is_not_writable(spanledger: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    result = spanledger("serve", "--data", str(tmp_path / "data"))
    assert result.returncode == 2
    assert "not writable" in only_line(result.stderr)


def test_a_second_process_on_the_same_store(serve: Callable[..., Any], spanledger: Run) -> None:
    served = serve()
    ports = ["--otlp-grpc=off", "--otlp-http=off", "--http=off", "--sql=off"]
    result = spanledger("serve", "--data", str(served.data), *ports)
    assert result.returncode == 2
    line = only_line(result.stderr)
    assert str(served.data) in line
    assert f"process {served.process.pid}" in line
    assert served.sql("SELECT 1 AS one") == [{"one": 1}], "the first one is not disturbed"


def test_the_network_needs_a_token(spanledger: Run, tmp_path: Path) -> None:
    result = spanledger(
        "serve", "--data", str(tmp_path / "data"), "--otlp-grpc=0.0.0.0:0", "--otlp-http=off", "--http=off", "--sql=off"
    )
    assert result.returncode == 2
    line = only_line(result.stderr)
    assert "--otlp-grpc" in line
    assert "spanledger tokens create" in line
    assert "--insecure-no-auth" in line


def test_sql_that_is_refused(serve: Callable[..., Any], spanledger: Run) -> None:
    data = str(serve().data)
    wrong = spanledger("query", "--data", data, "SELEC 1")
    assert wrong.returncode == 1
    assert "Syntax error" in only_line(wrong.stderr)
    writing = spanledger("query", "--data", data, "DROP TABLE calls_settled")
    assert writing.returncode == 1
    assert "readonly" in only_line(writing.stderr)


def test_a_revoked_or_wrong_token(serve: Callable[..., Any], spanledger: Run) -> None:
    data = str(serve().data)
    gone = spanledger("tokens", "revoke", "--data", data, "00000000")
    assert gone.returncode == 2
    assert "spanledger tokens list" in only_line(gone.stderr)


def test_a_file_that_is_not_otlp(spanledger: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("dear diary")
    result = spanledger("import", "--data", str(tmp_path / "data"), str(tmp_path / "notes.txt"))
    assert result.returncode == 1
    assert "notes.txt" in only_line(result.stderr)
    assert "no OTLP" in result.stderr
