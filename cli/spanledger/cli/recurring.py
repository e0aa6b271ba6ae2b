"""Work that a serving process does again and again by itself, each kind in a thread of its own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Recurring(ABC):
    """Does its work at the start, and again after every pause, until it is stopped."""

    def __init__(self, name: str, pause_seconds: float) -> None:
        """Name the thread, and how long it rests between two rounds."""
        self._pause = pause_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin in the background; returns at once."""
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """End; waits for work under way, for at most so long where a time is given."""
        self._stopped.set()
        self._thread.join(seconds)

    @property
    def is_stopped(self) -> bool:
        """Whether long work should end early."""
        return self._stopped.is_set()

    @abstractmethod
    def work(self) -> None:
        """One round. An error that it lets through ends the thread."""

    def _run(self) -> None:
        while not self.is_stopped:
            self.work()
            self._stopped.wait(self._pause)
