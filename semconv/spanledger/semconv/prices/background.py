"""One daemon thread that does the slow work of a price book, so that no request of an application ever waits for it."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

_QUEUE_LIMIT: Final = 1_000
_IDLE_SECONDS: Final = 60

Item = TypeVar("Item")


class Worker(Generic[Item]):
    """Runs ``work(item)`` for each submitted item on one daemon thread that starts when needed and ends when idle.

    Fork-safe: a fork waits until the item at hand is done (an import cut in half would lock the child for ever), and
    the child starts with an empty queue and a thread of its own.
    """

    def __init__(self, work: Callable[[Item], None]) -> None:
        self._work: Final = work
        self._errors = 0
        self._hooked = False
        self._lock = threading.Lock()
        self._busy = threading.Lock()
        self._wake = threading.Event()
        self._queue: deque[Item] = deque()
        self._waiting: dict[Item, None] = {}
        self._thread: threading.Thread | None = None

    @property
    def errors(self) -> int:
        """Items whose work failed; they stay unresolved."""
        return self._errors

    def submit(self, item: Item) -> None:
        """Queue an item unless it is queued already; never blocks and never raises."""
        with self._lock:
            if item in self._waiting or len(self._waiting) >= _QUEUE_LIMIT:
                return
            self._waiting[item] = None
            self._queue.append(item)
            if self._thread is None:
                self._start()
        self._wake.set()

    def _start(self) -> None:
        if not self._hooked:
            self._hooked = True
            _hook(self)
        self._thread = threading.Thread(target=self._run, name="spanledger-prices", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is shutting down
            self._thread = None

    def _run(self) -> None:
        while True:
            self._wake.clear()
            while self._queue:
                item = self._queue.popleft()
                with self._busy:
                    try:
                        self._work(item)
                    except Exception:  # noqa: BLE001 - a thread's end: the item stays unresolved and is counted
                        self._errors += 1
                with self._lock:
                    self._waiting.pop(item, None)
            if self._wake.wait(_IDLE_SECONDS):
                continue
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return

    def before_fork(self) -> None:
        self._busy.acquire()

    def after_fork_in_parent(self) -> None:
        self._busy.release()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._busy = threading.Lock()
        self._wake = threading.Event()
        self._queue = deque()
        self._waiting = {}
        self._thread = None


def _hook(worker: Worker[Item]) -> None:
    """Tie a worker to the process's forks without keeping it alive (Windows has no fork)."""
    if not hasattr(os, "register_at_fork"):
        return
    reference = weakref.ref(worker)

    def call(name: str) -> None:
        alive = reference()
        if alive is not None:
            getattr(alive, name)()

    os.register_at_fork(
        before=lambda: call("before_fork"),
        after_in_parent=lambda: call("after_fork_in_parent"),
        after_in_child=lambda: call("after_fork_in_child"),
    )
