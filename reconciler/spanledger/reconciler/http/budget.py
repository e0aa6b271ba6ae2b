"""One rate budget and one circuit breaker per connection, shared by all of its streams."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.errors import RetryableSyncError, State

LONGEST_PAUSE: Final = 3600.0
"""Seconds; the longest quotas that providers document are by the hour."""


class Budget:
    """A token bucket: at most ``per_second`` requests on average, ``burst`` at once. Thread-safe."""

    def __init__(self, clock: Clock, *, per_second: float, burst: int = 1) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError("a rate budget needs a positive rate and a burst of at least 1")
        self._clock = clock
        self._rate = per_second
        self._burst = float(burst)
        self._tokens = float(burst)
        self._then = clock.monotonic()
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Take one request out of the budget, waiting for it if need be."""
        with self._lock:
            now = self._clock.monotonic()
            if now > self._then:
                self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
                self._then = now
            self._tokens -= 1
            wait = -self._tokens / self._rate if self._tokens < 0 else 0.0
            wait += max(0.0, self._then - now)
        if wait > 0:
            self._clock.sleep(wait)

    def paused(self) -> float:
        """Seconds that are left of a pause."""
        with self._lock:
            return max(0.0, self._then - self._clock.monotonic())

    def pause(self, seconds: float) -> None:
        """Let nobody through for a while: the server asked one of us to wait, which concerns all of us.

        At most for `LONGEST_PAUSE`: a server that names a year is asked again after that.
        """
        with self._lock:
            until = self._clock.monotonic() + min(seconds, LONGEST_PAUSE)
            if until > self._then:
                self._then = until
                self._tokens = min(self._tokens, 1.0)


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    open_until: float = 0.0


class Breaker:
    """Stops asking a provider that keeps failing: ``threshold`` requests in a row given up → ``rest`` seconds of peace.

    After the rest one request may try; it closes the circuit or opens it again. Thread-safe.
    """

    def __init__(self, clock: Clock, *, threshold: int = 3, rest: float = 300.0) -> None:
        self._clock = clock
        self._threshold = threshold
        self._rest = rest
        self._circuit = _Circuit()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises `RetryableSyncError` while the circuit is open."""
        with self._lock:
            left = self._circuit.open_until - self._clock.monotonic()
        if left > 0:
            raise RetryableSyncError(
                State.DEGRADED,
                f"the provider failed {self._threshold} requests in a row; not asking again for {left:.0f} s",
            )

    def succeeded(self) -> None:
        with self._lock:
            self._circuit = _Circuit()

    def gave_up(self) -> None:
        """One request failed after all of its retries."""
        with self._lock:
            self._circuit.failures += 1
            if self._circuit.failures >= self._threshold:
                self._circuit.open_until = self._clock.monotonic() + self._rest
