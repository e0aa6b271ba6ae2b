"""A thread that does what was put off, when it is due."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from spanledger.ledger.errors import StoreError

_log: Final = logging.getLogger(__name__)
RETRY_SECONDS: Final = 5.0


class Keeper:
    """Calls `work` once for each `wake`, not before its time. Stops with `stop`, without a last call."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._condition = threading.Condition()
        self._delay: float | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="spanledger-rollups", daemon=True)
        self._thread.start()

    def wake(self, after_seconds: float) -> None:
        """Have the work done after this time; a call that is already planned stays as it is."""
        with self._condition:
            if self._delay is None:
                self._delay = max(after_seconds, 0.0)
                self._condition.notify()

    def stop(self) -> None:
        """End the thread; waits for a call that is running."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopped or self._delay is not None)
                self._condition.wait_for(lambda: self._stopped, timeout=self._delay)
                if self._stopped:
                    return
                self._delay = None
            try:
                self._work()
            except StoreError as error:
                _log.warning("rollups are late and will be tried again: %s", error)
                self.wake(RETRY_SECONDS)
