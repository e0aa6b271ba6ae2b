"""How many spans per CPU-second? By stage, and end to end beside rotel, a collector written in Rust.

    python bench/ingest.py stages              decode and read, the fast decoder beside the stock classes
    python bench/ingest.py serve               OTLP/gRPC in, ledger rows out, through `spanledger serve`
    python bench/ingest.py serve --with-rotel  the same load through rotel into a sink that throws the rows away

CPU is user and system time of the whole process tree, which for `spanledger serve` includes the embedded ClickHouse
engine; rotel is not charged for any database. Times vary with the machine: compare ratios of one run, never runs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-4.1-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    ("gcp.gemini", "gemini-2.5-pro"),
)
START_NS = 1_795_200_000 * 10**9


# --- load


def call_attributes(rng: random.Random) -> dict[str, Any]:
    """What an instrumentation by the conventions writes on a chat span; the response id is unique."""
    provider, model = rng.choice(MODELS)
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": 1024,
        "gen_ai.response.model": model,
        "gen_ai.response.id": f"resp-{rng.getrandbits(96):024x}",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": rng.randrange(50, 8000),
        "gen_ai.usage.output_tokens": rng.randrange(1, 1500),
        "gen_ai.conversation.id": f"conversation-{rng.randrange(2000)}",
        "server.address": "api.example.com",
        "server.port": 443,
        "spanledger.team_id": f"team-{rng.randrange(25)}",
        "spanledger.feature": f"feature-{rng.randrange(25)}",
    }


def any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"array_value": {"values": [any_value(item) for item in value]}}
    return {"int_value": value} if isinstance(value, int) else {"string_value": value}


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


def requests(count: int, spans: int, seed: int = 1) -> list[bytes]:
    """`count` serialized export requests of `spans` billable calls each; the same for the same seed."""
    rng = random.Random(seed)
    bodies: list[bytes] = []
    for number in range(count):
        records: list[dict[str, Any]] = []
        for _ in range(spans):
            start = START_NS + number * 10**9 + rng.randrange(10**9)
            values = call_attributes(rng)
            records.append(
                {
                    "trace_id": rng.randbytes(16),
                    "span_id": rng.randbytes(8),
                    "name": f"chat {values['gen_ai.request.model']}",
                    "kind": 3,
                    "start_time_unix_nano": start,
                    "end_time_unix_nano": start + rng.randrange(10**8, 10**10),
                    "attributes": attributes(values),
                }
            )
        resource = {"attributes": attributes({"service.name": f"service-{rng.randrange(8)}"})}
        group = {"resource": resource, "scope_spans": [{"scope": {"name": "bench"}, "spans": records}]}
        bodies.append(ExportTraceServiceRequest(resource_spans=[group]).SerializeToString())
    return bodies


# --- stages


def stock_decode(body: bytes) -> int:
    """The same work with the stock classes, as one would write it first."""
    count = 0
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                decoded = {}
                for pair in span.attributes:
                    kind = pair.value.WhichOneof("value")
                    decoded[pair.key] = getattr(pair.value, kind) if kind else None
                record = (span.trace_id, span.span_id, span.name, span.start_time_unix_nano, span.end_time_unix_nano)
                count += bool(record and decoded)
    return count


def stages(args: argparse.Namespace) -> None:
    from spanledger.collector.decode import Decoder, check_protobuf
    from spanledger.collector.signals import Signal
    from spanledger.semconv.dialects import Dialects, Reading
    from spanledger.semconv.records import SpanTable

    bodies = requests(args.requests, args.spans)
    decoder, dialects = Decoder(), Dialects()

    def check(body: bytes) -> int:
        return check_protobuf(Signal.TRACES, body).accepted

    def decode(body: bytes) -> int:
        return sum(1 for _ in decoder.spans(body))

    def read(body: bytes) -> int:
        return sum(dialects.read_span(span) is not None for span in decoder.spans(body))

    def tables(body: bytes) -> int:
        return sum(len(part) if isinstance(part, SpanTable) else 1 for part in decoder.parts(body))

    def read_tables(body: bytes) -> int:
        count = 0
        for part in decoder.parts(body):
            if not isinstance(part, SpanTable):
                count += dialects.read_span(part) is not None
                continue
            reading = dialects.read_table(part) or Reading(unusual=range(len(part)))
            count += len(reading.sheet or ())
            count += sum(dialects.read_span(part.record(row)) is not None for row in reading.unusual)
        return count

    work: tuple[tuple[str, Callable[[bytes], int]], ...] = (
        ("stock classes, attributes as dict", stock_decode),
        ("check before the answer", check),
        ("decode, span by span", decode),
        ("decode into tables", tables),
        ("decode and read, span by span", read),
        ("decode and read, in tables", read_tables),
    )
    for name, run in work:
        best = 0.0
        for _ in range(args.rounds):
            started = time.process_time()
            spans = sum(map(run, bodies))
            best = max(best, spans / (time.process_time() - started))
        assert spans == args.requests * args.spans
        print(f"{name:<36} {best:>12,.0f} spans per CPU-second")


# --- end to end


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its threads, and its living children."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return 0.0
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(cpu_seconds, children))


class Discard(socketserver.StreamRequestHandler):
    """Answers each HTTP request with 200 after reading its body, whatever it is."""

    def handle(self) -> None:
        while self.rfile.readline():
            headers = {}
            while line := self.rfile.readline().strip():
                name, _, value = line.lower().partition(b":")
                headers[name] = value.strip()
            if headers.get(b"transfer-encoding") == b"chunked":
                while size := int(self.rfile.readline(), 16):
                    self.rfile.read(size + 2)
                self.rfile.readline()
            else:
                self.rfile.read(int(headers.get(b"content-length", 0)))
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said: list[bytes] = []
    assert process.stderr is not None
    listener = threading.Thread(target=lambda stream: said.extend(stream), args=(process.stderr,), daemon=True)
    listener.start()
    try:
        yield process
    except grpc.FutureTimeoutError as error:
        raise SystemExit(f"{command[0]} does not listen: {(said or [b'it says nothing'])[-1].decode()}") from error
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.join(5)
        process.stderr.close()


def send(port: int, bodies: Sequence[bytes]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)]) as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
        export = channel.unary_unary(EXPORT)
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(lambda body: export(body, timeout=300), bodies):
                pass


def measure(
    pid: int, port: int, bodies: Sequence[bytes], wait_until_done: Callable[[int], None]
) -> tuple[float, float]:
    """CPU and wall seconds for all but the first requests, which warm everything up."""
    warm = max(1, len(bodies) // 20)
    send(port, bodies[:warm])
    wait_until_done(warm)
    cpu, wall = cpu_seconds(pid), time.perf_counter()
    send(port, bodies[warm:])
    wait_until_done(len(bodies))
    return cpu_seconds(pid) - cpu, time.perf_counter() - wall


def through_spanledger(bodies: Sequence[bytes], spans: int) -> tuple[float, float]:
    folder = tempfile.mkdtemp()
    otlp, sql = free_port(), free_port()
    command = [sys.executable, "-m", "spanledger.cli.main", "serve", "--data", folder]
    command += ["--otlp-grpc", f"127.0.0.1:{otlp}", "--otlp-http", "off"]
    command += ["--http", "off", "--sql", f"127.0.0.1:{sql}"]
    query = urllib.parse.urlencode({"query": "SELECT count() FROM spanledger.calls"})

    def wait_until_done(requests_sent: int) -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{sql}/?{query}", timeout=60) as answer:
                    if int(answer.read()) == requests_sent * spans:
                        return
            except OSError:
                pass
            time.sleep(0.5)
        raise SystemExit("the ledger never showed every call")

    try:
        with running(command) as process:
            return measure(process.pid, otlp, bodies, wait_until_done)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def through_rotel(bodies: Sequence[bytes], spans: int) -> tuple[float, float]:
    import rotel  # type: ignore[import-untyped]

    otlp, http = free_port(), free_port()
    sink = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Discard)
    sink.daemon_threads = True
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    command = [str(Path(rotel.__file__).with_name("rotel-agent")), "start", "--exporter", "clickhouse"]
    command += ["--clickhouse-exporter-endpoint", f"http://127.0.0.1:{sink.server_address[1]}"]
    command += ["--otlp-grpc-endpoint", f"127.0.0.1:{otlp}", "--otlp-http-endpoint", f"127.0.0.1:{http}"]

    try:
        with running(command) as process:

            def wait_until_done(_: int) -> None:
                before, now = -1.0, cpu_seconds(process.pid)
                while now != before:  # it answers before it has worked: wait until it rests
                    time.sleep(1.0)
                    before, now = now, cpu_seconds(process.pid)

            return measure(process.pid, otlp, bodies, wait_until_done)
    finally:
        sink.shutdown()
        sink.server_close()


def serve(args: argparse.Namespace) -> None:
    bodies = requests(args.requests, args.spans)
    measured = (args.requests - max(1, args.requests // 20)) * args.spans
    runs = {"spanledger": through_spanledger} | ({"rotel": through_rotel} if args.with_rotel else {})
    best = dict.fromkeys(runs, 0.0)
    for _ in range(args.rounds):
        for name, run in runs.items():
            cpu, wall = run(bodies, args.spans)
            best[name] = max(best[name], measured / cpu)
            print(
                f"{name:<10} {measured / cpu:>10,.0f} spans per CPU-second  {measured / wall:>10,.0f} per second",
                flush=True,
            )
    if args.with_rotel:
        print(f"spanledger / rotel = {best['spanledger'] / best['rotel']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stages", "serve"])
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--spans", type=int, default=512, help="spans per request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--with-rotel", action="store_true")
    args = parser.parse_args()
    {"stages": stages, "serve": serve}[args.what](args)


if __name__ == "__main__":
    main()
