"""Time as a dependency: tests move it, the scheduler interrupts it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the engine needs of time."""

    def now(self) -> datetime:
        """The current instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; may return early when the process is stopping."""
        ...


class SystemClock:
    """The machine's clock. `interrupt` ends every sleep, present and future: a stopping process waits for nobody."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._stopping.wait(seconds)

    def interrupt(self) -> None:
        self._stopping.set()
