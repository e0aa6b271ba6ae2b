"""The background thread that completes spans: nothing lost, nothing twice, whoever flushes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from llm_wire import MESSAGES, chat

from spanledger.instrumentation._finisher import Finisher

REQUEST: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}


class Job:
    def __init__(self, done: list[Any]) -> None:
        self._done = done

    def complete(self, *, may_block: bool) -> None:
        self._done.append((threading.current_thread().name, may_block))


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_thread_completes_what_was_put() -> None:
    done: list[Any] = []
    finisher = Finisher(linger_seconds=0.001)
    finisher.put(Job(done))
    wait_until(lambda: len(done) == 1)
    finisher.put(Job(done))
    wait_until(lambda: len(done) == 2)
    assert set(done) == {("spanledger-finisher", True)}


def test_a_flush_completes_at_once() -> None:
    done: list[Any] = []
    finisher = Finisher(linger_seconds=60)
    for _ in range(3):
        finisher.put(Job(done))
    finisher.flush()
    assert done == [(threading.current_thread().name, True)] * 3


def test_a_flush_waits_for_the_job_at_hand() -> None:
    began, may_end = threading.Event(), threading.Event()
    done: list[Any] = []

    class Slow(Job):
        def complete(self, *, may_block: bool) -> None:
            began.set()
            may_end.wait(10)
            super().complete(may_block=may_block)

    finisher = Finisher(linger_seconds=0.001)
    finisher.put(Slow(done))
    began.wait(10)
    flushing = threading.Thread(target=finisher.flush)
    flushing.start()
    assert flushing.is_alive()
    may_end.set()
    flushing.join(10)
    assert len(done) == 1


def test_a_full_queue_is_worked_off_by_callers() -> None:
    done: list[Any] = []
    finisher = Finisher(max_pending=10, linger_seconds=60)
    for _ in range(100):
        finisher.put(Job(done))
    assert len(done) >= 90
    assert set(done) == {(threading.current_thread().name, False)}
    finisher.flush()
    assert len(done) == 100


def test_many_threads_lose_nothing() -> None:
    done: list[Any] = []
    finisher = Finisher(max_pending=50, linger_seconds=0.001)

    def work() -> None:
        for _ in range(500):
            finisher.put(Job(done))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    finisher.flush()
    assert len(done) == 2000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_anew() -> None:
    done: list[Any] = []
    finisher = Finisher(linger_seconds=60)
    finisher.put(Job(done))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        finisher.flush()  # the parent's call is the parent's
        inherited = len(done)
        finisher.put(Job(done))
        finisher.flush()
        os.write(write, f"{inherited} {len(done)}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"0 1"
    os.close(read)
    os.close(write)
    finisher.flush()
    assert len(done) == 1


@pytest.mark.parametrize("how", ["force_flush", "shutdown"])
def test_providers_find_everything_written(on: Any, clients: Any, provider: Any, reply: Any, how: str) -> None:
    provider.replies.append(reply(chat()))
    clients.openai().chat.completions.create(**REQUEST)
    assert on._exporter.get_finished_spans() == ()
    getattr(on.tracer_provider, how)()
    assert len(on._exporter.get_finished_spans()) == 1


def test_a_meter_provider_finds_everything_measured(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(chat()))
    clients.openai().chat.completions.create(**REQUEST)
    on.meter_provider.force_flush()
    assert len(on._exporter.get_finished_spans()) == 1


def test_inline_needs_no_flush(switch_on: Any, clients: Any, provider: Any, reply: Any) -> None:
    telemetry = switch_on({"SPANLEDGER_FINISH": "inline"})
    provider.replies.append(reply(chat()))
    clients.openai().chat.completions.create(**REQUEST)
    assert len(telemetry._exporter.get_finished_spans()) == 1


def test_a_script_that_ends_loses_nothing(provider: Any, reply: Any) -> None:
    """No flush, no shutdown: the interpreter's exit writes the span, cost included."""
    provider.replies.append(reply(chat()))
    script = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from spanledger.instrumentation import instrument
instrument()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
import openai
client = openai.OpenAI(api_key="sk", base_url="{provider.url}")
client.chat.completions.create(model="gpt-4o", messages=[])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stderr == ""
    assert ran.stdout.count('"name": "chat gpt-4o"') == 1
    assert '"spanledger.cost.total": "0.004925"' in ran.stdout
