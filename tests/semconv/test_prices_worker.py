"""The background thread: one, daemonic, bounded, gone when idle, back when needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from spanledger.semconv.prices.background import Worker


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.002)
    return False


def test_work_is_done_on_one_daemon_thread() -> None:
    threads: set[threading.Thread] = set()
    done: list[int] = []

    def work(item: int) -> None:
        threads.add(threading.current_thread())
        done.append(item)

    worker = Worker(work)
    for item in range(20):
        worker.submit(item)
    assert eventually(lambda: len(done) == 20)
    assert done == list(range(20))
    assert [thread.daemon for thread in threads] == [True]
    assert threading.current_thread() not in threads


def test_what_is_queued_already_is_not_queued_again() -> None:
    gate, begun = threading.Event(), threading.Event()
    done: list[str] = []

    def work(item: str) -> None:
        begun.set()
        gate.wait(10)
        done.append(item)

    worker = Worker(work)
    worker.submit("first")
    assert begun.wait(10)
    for _ in range(50):
        worker.submit("second")
    gate.set()
    assert eventually(lambda: len(done) == 2)
    worker.submit("second")
    assert eventually(lambda: len(done) == 3)
    assert done == ["first", "second", "second"]


def test_the_queue_is_bounded_and_submitting_never_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanledger.semconv.prices.background._QUEUE_LIMIT", 10)
    gate = threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        gate.wait(10)
        done.append(item)

    worker = Worker(work)
    for item in range(1_000):
        worker.submit(item)
    gate.set()
    assert eventually(lambda: len(done) == 10)
    worker.submit(5_000)
    assert eventually(lambda: done[-1] == 5_000)
    assert len(done) == 11


def test_a_failure_is_counted_and_the_next_item_is_done() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 0:
            raise ValueError(item)
        done.append(item)

    worker = Worker(work)
    worker.submit(0)
    worker.submit(1)
    assert eventually(lambda: done == [1])
    assert worker.errors == 1


def test_the_thread_ends_when_idle_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanledger.semconv.prices.background._IDLE_SECONDS", 0.01)
    threads: list[threading.Thread] = []
    worker = Worker(lambda item: threads.append(threading.current_thread()))
    worker.submit(1)
    assert eventually(lambda: len(threads) == 1 and not threads[0].is_alive())
    worker.submit(2)
    assert eventually(lambda: len(threads) == 2)
    assert threads[0] is not threads[1]
