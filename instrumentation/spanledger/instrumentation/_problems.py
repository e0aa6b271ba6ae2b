"""What went wrong with the instrumentation itself: told once, counted, and there for `spanledger doctor` to print."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

_log = logging.getLogger("spanledger.instrumentation")


class Problems:
    """Problems of this process. Thread-safe.

    Args:
        raise_errors: raise what would be swallowed: for our own tests alone.
    """

    def __init__(self, *, raise_errors: bool = False) -> None:
        self._raise_errors = raise_errors
        self._lock = threading.Lock()
        self._missing: dict[tuple[str, str], list[str]] = {}
        self._told: set[tuple[str, str]] = set()
        self._gathering = 0
        self._errors: Counter[str] = Counter()

    def missing(self, sdk: str, version: str, what: str) -> None:
        """An SDK changed under us: one warning per process and SDK, which goes on uninstrumented at that place."""
        with self._lock:
            found = self._missing.setdefault((sdk, version), [])
            if what not in found:
                found.append(what)
        self._warn()

    @contextmanager
    def gathering(self) -> Generator[None]:
        """Warn of what is found missing inside the block at its end, of all that an SDK lacks in one."""
        with self._lock:
            self._gathering += 1
        try:
            yield
        finally:
            with self._lock:
                self._gathering -= 1
            self._warn()

    def _warn(self) -> None:
        with self._lock:
            if self._gathering:
                return
            new = [(sdk, lacks) for sdk, lacks in self._missing.items() if sdk not in self._told]
            self._told.update(sdk for sdk, _ in new)
        for sdk, lacks in new:
            _log.warning("spanledger: %s", _missing_line(*sdk, lacks))

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
            missing = [_missing_line(*sdk, lacks) for sdk, lacks in self._missing.items()]
            return [*missing, *(f"{line} ({count} times)" for line, count in self._errors.items())]


def _missing_line(sdk: str, version: str, lacks: list[str]) -> str:
    through = "it" if len(lacks) == 1 else "them"
    return f"{sdk} {version} has no {', '.join(lacks)}: calls through {through} are not recorded"
