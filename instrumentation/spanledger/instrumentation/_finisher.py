"""Completes spans off the caller's thread.

When a call ends, the calling thread only notes times and references (a few microseconds). Reading the response, pricing
it and writing some thirty attributes happens here, in batches on warm caches. Nothing is ever dropped: when calls end
faster than the thread gets to run, the callers do the work themselves; a flush of the tracer or meter provider, and the
end of the process, wait for what is outstanding.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from typing import Final, Protocol

MAX_PENDING: Final = 512
"""Ended calls that may wait, with their responses, before callers complete them inline."""
LINGER_SECONDS: Final = 0.25
"""How long the thread lets calls gather, so that a busy application does not wake it for each."""


class Job(Protocol):
    """An ended call."""

    def complete(self, *, may_block: bool) -> None:
        """Complete it; told whether it may block (resolve prices) or runs in an application's request. Never raises."""
        ...


class Finisher:
    """A queue of ended calls and the thread that completes them; the thread starts with the first call."""

    def __init__(self, *, max_pending: int = MAX_PENDING, linger_seconds: float = LINGER_SECONDS) -> None:
        self._max_pending = max_pending
        self._linger_seconds = linger_seconds
        self._reset()
        if hasattr(os, "register_at_fork"):
            ours = weakref.ref(self)

            def after_fork() -> None:
                if (alive := ours()) is not None:
                    alive._reset()

            os.register_at_fork(after_in_child=after_fork)

    def _reset(self) -> None:
        """Start anew: also in a forked child, whose parent completes what was pending."""
        self._pending: deque[Job] = deque()
        self._wake = threading.Event()
        self._working = threading.RLock()
        self._is_awake = False
        self._thread: threading.Thread | None = None

    def put(self, job: Job) -> None:
        """Queue a job. Costs a few microseconds unless the queue is full."""
        pending = self._pending
        pending.append(job)
        if not self._is_awake:
            self._is_awake = True
            if self._thread is None:
                self._start()
            self._wake.set()
        if len(pending) > self._max_pending:
            # Two out for one in: the queue shrinks, and no single caller pays for all.
            self._complete_one(may_block=False)
            self._complete_one(may_block=False)

    def flush(self) -> None:
        """Complete everything that was queued before, in this thread, and wait for what the other one is at."""
        self._complete_all(may_block=True)

    def _complete_all(self, *, may_block: bool) -> None:
        while self._complete_one(may_block=may_block):
            pass
        with self._working:
            return

    def _start(self) -> None:
        with self._working:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="spanledger-finisher", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # No thread can start (interpreter shutdown, a process limit): callers work inline until one can.
                self._is_awake = False
            else:
                self._thread = thread
        if self._thread is None:
            self._complete_all(may_block=False)

    def _complete_one(self, *, may_block: bool) -> bool:
        with self._working:
            try:
                job = self._pending.popleft()
            except IndexError:
                return False
            job.complete(may_block=may_block)
        return True

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(self._linger_seconds)
            while self._complete_one(may_block=True):
                time.sleep(0)  # hand the interpreter back to the application between two calls
            self._wake.clear()
            self._is_awake = False
            # A call that ended since the last look saw the thread awake and did not wake it.
            if self._pending:
                self._is_awake = True
                self._wake.set()
