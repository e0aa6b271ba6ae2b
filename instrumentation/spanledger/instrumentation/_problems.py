"""What went wrong with the instrumentation itself: told once, counted, and there for `spanledger doctor` to print."""

from __future__ import annotations

import logging
import threading
from collections import Counter

_log = logging.getLogger("spanledger.instrumentation")


class Problems:
    """Problems of this process. Thread-safe.

    Args:
        raise_errors: raise what would be swallowed: for our own tests alone.
    """

    def __init__(self, *, raise_errors: bool = False) -> None:
        self._raise_errors = raise_errors
        self._lock = threading.Lock()
        self._missing: list[str] = []
        self._errors: Counter[str] = Counter()

    def missing(self, sdk: str, version: str, what: str) -> None:
        """An SDK changed under us: one warning per process and thing, the SDK goes on uninstrumented at that place."""
        line = f"{sdk} {version} has no {what}: calls through it are not recorded"
        with self._lock:
            if line in self._missing:
                return
            self._missing.append(line)
        _log.warning("spanledger: %s", line)

    def ours(self, doing: str, error: Exception) -> None:
        """An error of our own, which the application must not see."""
        if self._raise_errors:
            raise error
        line = f"error while {doing}: {type(error).__name__}"
        with self._lock:
            self._errors[line] += 1
            first = self._errors[line] == 1
        if first:
            _log.warning("spanledger: %s (told once; the application is not affected)", line, exc_info=error)

    def lines(self) -> list[str]:
        """One readable line per problem."""
        with self._lock:
            return [*self._missing, *(f"{line} ({count} times)" for line, count in self._errors.items())]
