"""The steps of ``spanledger demo``: a server, a fake provider, real SDK calls, and two accounts side by side."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from spanledger.cli import runtime
from spanledger.cli.commands.reconcile import VARIANCE
from spanledger.cli.commands.serve import ADDRESSES
from spanledger.cli.demo.books import Books
from spanledger.cli.demo.provider import FakeProvider
from spanledger.cli.errors import CommandError, UserError

NEEDED: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "opentelemetry.distro": "'spanledger[all]'",
    "opentelemetry.exporter.otlp": "'spanledger[all]'",
}
START_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 60.0

BY_TEAM: Final = """
SELECT team_id AS team, feature, response_model AS model, count() AS calls,
       sum(input_tokens) AS input, sum(cache_read_tokens) AS cached, sum(output_tokens) AS output,
       sum(cost_usd) AS cost_usd
FROM calls WHERE status = 'ok' GROUP BY ALL ORDER BY team, feature, model
"""
BY_MODEL: Final = """
SELECT provider, response_model AS model, count() AS calls, sum(input_tokens) AS input, sum(output_tokens) AS output,
       sum(cost_usd) AS cost_usd
FROM calls WHERE status = 'ok' GROUP BY ALL ORDER BY provider, model
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One model in both accounts."""

    provider: str
    model: str
    ledger_calls: int
    billed_calls: int
    ledger_usd: Decimal | None
    billed_usd: Decimal

    @property
    def equal(self) -> bool:
        """Whether both accounts agree on calls and on every digit."""
        return self.ledger_calls == self.billed_calls and self.ledger_usd == self.billed_usd


def check_needs() -> None:
    """Make sure that everything the demo runs is installed.

    Raises:
        UserError: names what to install.
    """
    missing = [package for module, package in NEEDED.items() if not _installed(module)]
    if missing:
        raise UserError(f"the demo makes real SDK calls: pip install {' '.join(dict.fromkeys(missing))}")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def start_server(data: Path, *, detached: bool) -> tuple[subprocess.Popen[bytes], runtime.RunningServer]:
    """Start ``spanledger serve`` on ``data``, on the usual ports where they are free.

    Raises:
        CommandError: it does not start.
    """
    listeners = [f"--{name}={address if _is_free(address) else '127.0.0.1:0'}" for name, address in ADDRESSES.items()]
    log = data / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "spanledger.cli.main", "serve", "--data", str(data), *listeners],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=detached,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        server = runtime.find(data)
        if server is not None:
            return process, server
        time.sleep(0.05)
    stop(process)
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    raise CommandError(f"the demo's server did not start: {lines[-1]}")


def _is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def run_workload(provider_url: str, otlp_url: str) -> None:
    """Run the demo's application under ``opentelemetry-instrument``, exporting over OTLP gRPC.

    Raises:
        CommandError: the application failed; its own last line says why.
    """
    instrument = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent)) or shutil.which(
        "opentelemetry-instrument"
    )
    if instrument is None:
        raise UserError("opentelemetry-instrument is not installed: pip install 'spanledger[all]'")
    ambient = {
        key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "OPENAI_", "ANTHROPIC_"))
    }
    environment = ambient | {
        "OPENAI_BASE_URL": f"{provider_url}/v1",
        "OPENAI_API_KEY": "sk-demo-openai",
        "ANTHROPIC_BASE_URL": provider_url,
        "ANTHROPIC_API_KEY": "sk-demo-anthropic",
        "OTEL_SERVICE_NAME": "demo-app",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_url,
        "NO_PROXY": "127.0.0.1,localhost",
    }
    command = [instrument, sys.executable, "-m", "spanledger.cli.demo.workload"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CommandError(f"the demo's application failed: {lines[-1]}")


def wait_until_settled(server: runtime.RunningServer, data: Path, billed: int) -> None:
    """Wait until the ledger shows every billed call, or the deadline has passed (the comparison will then say so)."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        server.post("/settle", {"seconds": "5"}, b"")
        ((count,),) = query("SELECT count() FROM calls WHERE status = 'ok'", data)[1]
        if count >= billed:
            return
        time.sleep(0.1)


def tie_out(provider: FakeProvider, data: Path) -> list[dict[str, Any]]:
    """Connect the fake provider's organisation APIs, pull its bill, and tie the ledger out with it.

    Returns:
        The ``connections`` of ``spanledger reconcile --json``.

    Raises:
        CommandError: one of the commands failed.
    """
    key = data / "admin-key"
    key.touch(mode=0o600)
    key.write_text("sk-admin-demo\n")
    place = ["--data", str(data)]
    for name, url in (("openai", provider.openai_url), ("anthropic", provider.url)):
        address = ["--name", f"demo-{name}", "--base-url", url, "--admin-key-file", str(key)]
        _command(["connections", "add", name, *address, *place])
    days = sorted({datetime.fromtimestamp(call.at_ns // 10**9, UTC).date() for call in provider.books.calls})
    _command(["sync", "--since", days[0].isoformat(), *place])
    period = days[0].isoformat() if len(days) == 1 else f"{days[0]}..{days[-1]}"
    said = _command(["reconcile", "--period", period, "--json", *place])
    connections: list[dict[str, Any]] = json.loads(said)["connections"]
    return connections


def _command(arguments: list[str]) -> str:
    """Run a command of ours in this process and return what it printed."""
    from spanledger.cli.app import run

    said = io.StringIO()
    with redirect_stdout(said):
        code = run(arguments)
    if code not in (0, VARIANCE):
        raise CommandError(f"`spanledger {shlex.join(arguments)}` ended with {code}")
    return said.getvalue()


def query(sql: str, data: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Rows from the demo's ledger, as ``spanledger query`` gives them."""
    from spanledger.cli.commands.query import run

    return run(sql, data, "")


def compare(rows: Sequence[Sequence[Any]], books: Books) -> list[Comparison]:
    """The ledger's rows (of `BY_MODEL`) against the fake provider's own books, model by model."""
    ledger = {(row[0], row[1]): (int(row[2]), row[5]) for row in rows}
    billed = {
        (model["provider"], model["model"]): (int(model["calls"]), Decimal(model["cost_usd"]))
        for model in books.as_json()["models"]
    }
    return [
        Comparison(
            *key, ledger.get(key, (0, None))[0], billed.get(key, (0, None))[0], ledger.get(key, (0, None))[1],
            billed.get(key, (0, Decimal(0)))[1],
        )
        for key in sorted(ledger.keys() | billed.keys())
    ]  # fmt: skip


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to stop; insist after half a minute."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
