"""What was acknowledged is there after ``kill -9`` and after a full disk, proven on real processes."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.collector.grpc_receiver import METHODS
from spanledger.collector.journal import Frame, Gap, Journal, JournalSettings
from spanledger.collector.signals import Encoding, Signal

TRACES = next(iter(METHODS))
VICTIM = Path(__file__).with_name("victim.py")


@contextmanager
def victim(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running collector process and its port; killed at the end, whatever happens."""
    process = subprocess.Popen([sys.executable, str(VICTIM), *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class Sender:
    """Sends from several threads until the other side is gone; knows what was acknowledged."""

    def __init__(self, port: int, bodies: Iterator[bytes], threads: int = 8) -> None:
        self.acknowledged: list[bytes] = []
        self.enough = threading.Event()
        self._bodies = bodies
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._threads = [threading.Thread(target=self._send) for _ in range(threads)]
        self._wanted = 0

    def start(self, wanted: int) -> None:
        """`enough` is set after `wanted` acknowledgements; sending goes on."""
        self._wanted = wanted
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        self._channel.close()

    def _send(self) -> None:
        call = self._channel.unary_unary(TRACES)
        while True:
            with self._lock:
                body = next(self._bodies)
            try:
                call(body, timeout=20)
            except grpc.RpcError:
                return
            with self._lock:
                self.acknowledged.append(body)
                if len(self.acknowledged) >= self._wanted:
                    self.enough.set()


def bodies(build: Any) -> Iterator[bytes]:
    """Requests of one span each, of different size, each with a response id of its own."""
    for number in range(1, 1_000_000):
        values = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.id": f"chatcmpl-{number}",
            "gen_ai.usage.input_tokens": number,
            "gen_ai.usage.output_tokens": 1,
            "padding": "x" * (number % 97),
        }
        yield build.traces(build.span(number, attributes=values))


@pytest.mark.parametrize("seed", range(4))
def test_everything_acknowledged_survives_kill_9(build: Any, tmp_path: Path, seed: int) -> None:
    """Killed while eight senders are at work: every acknowledged request is in the journal, whole and once."""
    with victim("receive", str(tmp_path)) as (process, port):
        sender = Sender(port, bodies(build))
        sender.start(wanted=random.Random(seed).randrange(20, 200))
        assert sender.enough.wait(30)
        process.kill()
        sender.join()
    journal = Journal.open(tmp_path / "journal", JournalSettings(reserve_bytes=0))
    found: list[bytes] = []
    position = journal.start
    while items := journal.read(position, 1 << 20):
        assert not any(isinstance(item, Gap) for item in items)
        found += [item.payload for item in items if isinstance(item, Frame)]
        position = items[-1].end
    journal.close()
    assert set(sender.acknowledged) <= set(found)
    assert len(found) == len(set(found))
    assert len(found) - len(sender.acknowledged) <= 8  # what was stored, but killed before its answer left


def test_a_torn_frame_after_kill_9_is_cut_and_the_next_start_goes_on(build: Any, tmp_path: Path) -> None:
    """The half-written frame that a kill can leave behind, made by hand; a new process appends after it."""
    with victim("receive", str(tmp_path)) as (process, port):
        sender = Sender(port, bodies(build), threads=1)
        sender.start(wanted=10)
        assert sender.enough.wait(30)
        process.kill()
        sender.join()
    last = max((tmp_path / "journal").glob("*.journal"))
    whole = last.read_bytes()
    last.write_bytes(whole + whole[8:60])
    with victim("receive", str(tmp_path)) as (process, port):
        again = Sender(port, (build.traces(build.span(n)) for n in range(5_000_000, 6_000_000)), threads=1)
        again.start(wanted=5)
        assert again.enough.wait(30)
        process.kill()
        again.join()
    journal = Journal.open(tmp_path / "journal", JournalSettings(reserve_bytes=0))
    found: list[Any] = []
    position = journal.start
    while items := journal.read(position, 1 << 20):
        found += [item.payload if isinstance(item, Frame) else item for item in items]
        position = items[-1].end
    journal.close()
    assert set(sender.acknowledged) | set(again.acknowledged) <= set(found)


def test_every_acknowledged_call_reaches_the_ledger_once(build: Any, tmp_path: Path) -> None:
    """Killed twice in the middle of ingesting: after the last start, each call stands in the ledger exactly once."""
    from spanledger.collector.deadletter import DeadLetters
    from spanledger.collector.pipeline import Pipeline
    from spanledger.collector.stats import Stats
    from spanledger.ledger.client import StoreTarget
    from spanledger.ledger.store import Ledger
    from spanledger.semconv.dialects import Dialects
    from spanledger.semconv.prices import PriceBook

    acknowledged: list[bytes] = []
    source = bodies(build)
    for wanted in (30, 60):
        with victim("serve", str(tmp_path)) as (process, port):
            sender = Sender(port, source, threads=4)
            sender.start(wanted)
            assert sender.enough.wait(60)
            process.kill()
            sender.join()
            acknowledged += sender.acknowledged
    stats = Stats()
    journal = Journal.open(tmp_path / "journal", JournalSettings(reserve_bytes=0), stats=stats)
    ledger = Ledger.open(StoreTarget.embedded(tmp_path / "store"), prices=PriceBook())
    pipeline = Pipeline(journal, Dialects(), ledger, DeadLetters(tmp_path / "dead"), stats=stats)
    pipeline.start()
    assert pipeline.wait_idle(60), pipeline.store_trouble
    rows = ledger.query("SELECT response_id, input_tokens FROM spanledger.calls").result_rows
    pipeline.stop()
    ledger.close()
    journal.close()
    assert not (tmp_path / "dead").exists()
    calls = dict(rows)
    assert len(calls) == len(rows)
    for response_id, tokens in calls.items():
        assert response_id == f"chatcmpl-{tokens}"
    spans = (
        ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0] for body in acknowledged
    )
    wanted_ids = {f"chatcmpl-{int.from_bytes(span.span_id, 'big')}" for span in spans}
    assert len(wanted_ids) == len(acknowledged)
    assert wanted_ids <= set(calls)


def test_a_file_size_limit_of_the_system(tmp_path: Path) -> None:
    """A real refusal by the kernel (RLIMIT_FSIZE stands for a full disk): everything acknowledged is there."""
    result = subprocess.run(
        [sys.executable, str(VICTIM), "fill", str(tmp_path), "50000"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    count, _, message = result.stdout.partition(" ")
    assert message.strip() == f"no space left for the journal in {tmp_path / 'journal'}"
    journal = Journal.open(tmp_path / "journal", JournalSettings(reserve_bytes=0))
    items = journal.read(journal.start, 1 << 20)
    assert [item.payload for item in items if isinstance(item, Frame)] == [b"%d " % n * 100 for n in range(int(count))]
    assert int(count) > 50
    journal.append("acme", Signal.TRACES, Encoding.PROTOBUF, b"room again")
    journal.close()
