"""How long a large organization's backfill takes: OpenAI, days x models x projects, over a local socket.

    python bench/sync.py                        # 180 days, 50 models, 20 projects; beside a running server
    python bench/sync.py --days 30 --models 10 --projects 5
    python bench/sync.py --embedded             # the process that pulls holds the store itself

The provider is a process of its own that writes its pages as it goes. Beside a server (`spanledger serve`) the process
that pulls holds no database: its memory is the pull's own. Embedded, the engine alone takes about 360 MiB, and what
counts is how far memory rises above that. Results are kept in ``bench/results/sync.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from spanledger.cli import runtime
from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.migrate import migrate
from spanledger.reconciler.connections import Connection
from spanledger.reconciler.service import Bills

PAGE_BUCKETS = 7
RESULTS = Path(__file__).parent / "results"


def serve(ready: Any, models: int, projects: int) -> None:
    """Costs and completions of every model in every project, every day; other reports are empty."""

    class Provider(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            first, end = int(query["start_time"][0]), int(query["end_time"][0])
            start = int(query.get("page", [str(first)])[0])
            stop = min(end, start + PAGE_BUCKETS * 86400)
            kind = parts.path.rpartition("/")[2]
            buckets = ",".join(bucket(kind, at) for at in range(start, stop, 86400))
            more = json.dumps(stop < end)
            following = json.dumps(str(stop) if stop < end else None)
            body = f'{{"object":"page","data":[{buckets}],"has_more":{more},"next_page":{following}}}'.encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    def bucket(kind: str, at: int) -> str:
        results = ""
        if kind == "costs":
            results = ",".join(
                f'{{"object":"organization.costs.result",'
                f'"amount":{{"value":"0.{at % 9973}{model:04}{project}00000000000000",'
                f'"currency":"usd"}},"line_item":"gpt-{model}-2026-01-01, {words}","project_id":"proj_{project}",'
                f'"api_key_id":"key_{project}","quantity":{at % 99991 + model},"quantity_unit":"tokens"}}'
                for project in range(projects)
                for model in range(models)
                for words in ("input", "cached input", "output")
            )
        elif kind == "completions":
            results = ",".join(
                f'{{"object":"organization.usage.completions.result","input_tokens":{at % 99991 + 900},'
                f'"input_cached_tokens":{at % 900},"output_tokens":{model + 7},"num_model_requests":{project + 1},'
                f'"project_id":"proj_{project}","api_key_id":"key_{project}","model":"gpt-{model}-2026-01-01",'
                f'"batch":false,"service_tier":"default"}}'
                for project in range(projects)
                for model in range(models)
            )
        return f'{{"object":"bucket","start_time":{at},"end_time":{at + 86400},"results":[{results}]}}'

    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    ready.put(server.server_address[1])
    server.serve_forever()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A serving process that leaves pulling to us; the URL of its store."""
    ports = [f"--{name}=127.0.0.1:0" for name in ("otlp-grpc", "otlp-http", "http", "sql")]
    command = [sys.executable, "-m", "spanledger.cli.main", "serve", "--no-sync", "--data", str(folder), *ports]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while (running := runtime.find(folder)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        yield running.store_url
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--projects", type=int, default=20)
    parser.add_argument("--embedded", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    provider = context.Process(target=serve, args=(ready, options.models, options.projects), daemon=True)
    provider.start()
    port = ready.get()
    until = datetime.now(UTC).date() - timedelta(days=1)
    since = until - timedelta(days=options.days)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as parts:
        if options.embedded:
            target = StoreTarget.embedded(Path(folder))
        else:
            target = StoreTarget.server(parts.enter_context(server(Path(folder))))
        found = measure(target, port, since, until)
    provider.terminate()
    result = {
        **{name: getattr(options, name) for name in ("days", "models", "projects", "embedded")},
        **found,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }
    for name, value in result.items():
        print(f"{name:<24} {value}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = RESULTS / f"sync{'-embedded' if options.embedded else ''}.json"
    kept.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(target: StoreTarget, port: int, since: date, until: date) -> dict[str, Any]:
    """Backfill, nightly re-pull, and a month through the view."""
    client = connect(target)
    if target.path is not None:
        migrate(client)
    bills = Bills.on(client, {"KEY": "sk-admin-bench"})
    connection = Connection(
        org_id="bench",
        name="prod",
        connector="openai",
        base_url=f"http://127.0.0.1:{port}/v1",
        settings={"requests_per_second": "1000"},
        secrets={"admin_key": "env:KEY"},
    )
    found: dict[str, Any] = {"mib_before": round(peak_mib())}
    wall, cpu = time.perf_counter(), time.process_time()
    reports = bills.sync(connection, since=since, until=until)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found["lines"] = sum(report.lines for report in reports)
    found["requests"] = sum(report.requests for report in reports)
    found["states"] = sorted({report.state.value for report in reports})
    found["backfill_seconds"], found["backfill_cpu_seconds"] = round(wall, 1), round(cpu, 1)
    found["mib_peak"] = round(peak_mib())
    wall = time.perf_counter()
    reports = bills.sync(connection, since=until - timedelta(days=35), until=until)
    found["nightly_35_days_seconds"] = round(time.perf_counter() - wall, 1)
    found["nightly_days_changed"] = sum(report.slots_changed for report in reports)
    wall = time.perf_counter()
    month = client.query(
        "SELECT count(), sum(amount_usd) FROM spanledger.bill_lines "
        "WHERE org_id = 'bench' AND period_start >= {m:Date}",
        parameters={"m": until - timedelta(days=30)},
    ).first_row
    found["month_query_seconds"], found["month_lines"] = round(time.perf_counter() - wall, 2), month[0]
    client.close()
    return found


if __name__ == "__main__":
    main()
