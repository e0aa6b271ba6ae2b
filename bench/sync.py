"""How long a large organization's backfill takes: OpenAI, days x models x projects, over a local socket.

    python bench/sync.py                        # 180 days, 50 models, 20 projects
    python bench/sync.py --days 30 --models 10 --projects 5

The provider is a second process that writes its pages as it goes. Reported are the wall time, this process's CPU time,
and how far its memory rose above what it was with the store open (the embedded engine alone takes about 280 MiB).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.migrate import migrate
from spanledger.reconciler.connections import Connection
from spanledger.reconciler.service import Bills

PAGE_BUCKETS = 7


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--projects", type=int, default=20)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    provider = context.Process(target=serve, args=(ready, options.models, options.projects), daemon=True)
    provider.start()
    port = ready.get()
    until = datetime.now(UTC).date() - timedelta(days=1)
    with tempfile.TemporaryDirectory() as folder:
        measure(folder, port, until - timedelta(days=options.days), until)
    provider.terminate()


def measure(folder: str, port: int, since: date, until: date) -> None:
    client = connect(StoreTarget.embedded(folder))
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
    before, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
    reports = bills.sync(connection, since=since, until=until)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    lines = sum(report.lines for report in reports)
    states = {report.state.value for report in reports}
    print(f"{lines:,} lines of {len(reports)} streams, {sum(report.requests for report in reports)} requests: {states}")
    print(f"backfill: {wall:.1f} s wall, {cpu:.1f} s CPU, {lines / cpu:,.0f} lines per CPU-second")
    print(f"memory: {before:.0f} MiB with the store open, peak {peak_mib():.0f} MiB (+{peak_mib() - before:.0f})")
    wall = time.perf_counter()
    reports = bills.sync(connection, since=until - timedelta(days=35), until=until)
    changed = sum(report.slots_changed for report in reports)
    print(f"nightly re-pull of 35 days: {time.perf_counter() - wall:.1f} s, {changed} days changed")
    wall = time.perf_counter()
    month = client.query(
        "SELECT count(), sum(amount_usd) FROM spanledger.bill_lines "
        "WHERE org_id = 'bench' AND period_start >= {m:Date}",
        parameters={"m": until - timedelta(days=30)},
    ).first_row
    print(f"a month through the view: {time.perf_counter() - wall:.2f} s, {month[0]:,} lines")
    client.close()


if __name__ == "__main__":
    main()
