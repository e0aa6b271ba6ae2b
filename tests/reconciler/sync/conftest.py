"""A connected engine over a fake: ``rig(fake, connector, ...)``."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from clickhouse_connect.driver.client import Client
from fakes.base import Fake, transport

from spanledger.cli import runtime
from spanledger.cli.app import run
from spanledger.reconciler.connections import Connection
from spanledger.reconciler.engine import Engine, StreamReport
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.http.retry import RetryPolicy
from spanledger.reconciler.opening import Opener
from spanledger.reconciler.planning import Depth
from spanledger.reconciler.secrets.references import Resolver
from spanledger.reconciler.store import BillStore

FACTS = (
    "provider, kind, toString(period_start), model, token_class, project, workspace, api_key, service_tier, is_batch, "
    "line_item, quantity, unit, amount, currency, amount_usd, is_final"
)


@dataclass
class Rig:
    """One connection to one fake, and the lines that come of it."""

    client: Client
    clock: Any
    org: str
    connection: Connection
    opener: Opener
    store: BillStore
    fx: FxRates = field(default_factory=FxRates)

    def sync(self, since: str | None = None, until: str | None = None, **options: Any) -> dict[str, StreamReport]:
        options.setdefault("depth", Depth.FULL)
        with self.opener.open(self.connection) as opened:
            reports = Engine(self.store, self.clock, fx=self.fx).sync(
                opened.source(),
                since=date.fromisoformat(since) if since else None,
                until=date.fromisoformat(until) if until else None,
                **options,
            )
        return {report.stream: report for report in reports}

    def lines(self, columns: str = FACTS, where: str = "1") -> list[tuple[Any, ...]]:
        return self.query(
            f"SELECT {columns} FROM spanledger.bill_lines_detail "
            f"WHERE org_id = {{org:String}} AND connection = {{name:String}} AND ({where}) ORDER BY ALL"
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        result = self.client.query(sql, parameters={"org": self.org, "name": self.connection.name})
        return [tuple(row) for row in result.result_rows]

    def total(self, where: str = "kind = 'cost'") -> Decimal:
        return self.lines("sum(amount)", where)[0][0] or Decimal(0)


@pytest.fixture
def rig(bills_client: Client, clock: Any, org: str) -> Callable[..., Rig]:
    def make(
        fake: Fake | None,
        connector: str,
        *,
        settings: dict[str, str] | None = None,
        secrets: dict[str, str] | None = None,
        base_url: str = "",
        hosts: dict[str, Fake] | None = None,
        name: str = "prod",
        attempts: int = 4,
        real: bool = False,
    ) -> Rig:
        environ = {f"SECRET_{key.upper()}": value for key, value in (secrets or {}).items()}
        fakes = (fake,) if fake is not None else tuple((hosts or {}).values())
        client = httpx.Client if real else (lambda: httpx.Client(transport=transport(*fakes, hosts=hosts)))
        return Rig(
            client=bills_client,
            clock=clock,
            org=org,
            connection=Connection(
                org_id=org,
                name=name,
                connector=connector,
                base_url=base_url,
                settings={"requests_per_second": "1000", **(settings or {})},
                secrets={key: f"env:SECRET_{key.upper()}" for key in secrets or {}},
            ),
            opener=Opener(
                resolver=Resolver(environ),
                clock=clock,
                client=client,
                policy=RetryPolicy(attempts=attempts),
            ),
            store=BillStore(bills_client, clock),
        )

    random.seed(0)
    return make


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A serving process that leaves pulling to the tests, shared by all that type commands; its data directory."""
    data, log = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("log") / "serve.log"
    ports = [f"--{name}=127.0.0.1:0" for name in ("otlp-grpc", "otlp-http", "http", "sql")]
    command = [sys.executable, "-m", "spanledger.cli.main", "serve", "--no-sync", "--data", str(data), *ports]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent) as process:
        deadline = time.monotonic() + 60
        while runtime.find(data) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield data
        process.terminate()


@pytest.fixture
def cli(
    server: Path, org: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Callable[..., tuple[int, str, str]]:
    """``cli("sync", ...)``: exit code, output, errors; in an organisation of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--data", str(server), *(() if arguments[0] == "query" else ("--org", org))])
        out, err = capsys.readouterr()
        return code, out, err

    return call
