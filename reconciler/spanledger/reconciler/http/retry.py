"""When to try again, and how long to wait first.

Sources: the OpenAI and Anthropic SDKs (``x-should-retry`` first, then ``retry-after-ms``, then ``Retry-After``), Azure
Cost Management (several ``...-retry-after`` headers: the longest one counts), RFC 9110 section 10.2.3.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

RETRYABLE_STATUS: Final = frozenset({408, 409, 425, 429})
"""Beside everything from 500 on: the SDKs' own rule, which covers what stands before a provider (520 to 527, 529)."""

_AZURE_SUFFIX: Final = "-retry-after"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attributes: ``attempts`` in all, first one included; back-off in seconds; ``patience`` is the longest wait that a
    server may ask for before the run gives up and leaves the rest to the next one."""

    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 60.0
    patience: float = 300.0

    def backoff(self, attempt: int, rng: random.Random) -> float:
        """Exponential with full jitter in the upper half: ``attempt`` counts from 1."""
        wait = min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 1))
        return wait * (0.5 + rng.random() / 2)


def asks_to_retry(status: int, headers: Mapping[str, str]) -> bool:
    """Whether the answer invites another attempt; the server's own word goes before the status code."""
    said = headers.get("x-should-retry", "").lower()
    if said in ("true", "false"):
        return said == "true"
    return status in RETRYABLE_STATUS or status >= 500


def asked_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the server asks to wait; ``None`` when it does not say, or says 0: then the back-off decides.

    An HTTP-date is measured against the server's own ``Date``, so that a wrong clock on either side does no harm.
    """
    waits: list[float] = []
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds:
        return milliseconds / 1000
    plain = headers.get("retry-after", "")
    if plain:
        wait = _seconds(plain)
        if wait is None:
            wait = _until(plain, headers.get("date", ""), now)
        if wait is not None:
            waits.append(wait)
    for name, value in headers.items():
        if name.startswith("x-ms-ratelimit-") and name.endswith(_AZURE_SUFFIX):
            wait = _seconds(value)
            if wait is not None:
                waits.append(wait)
    return max(waits, default=0.0) or None


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _until(value: str, server_date: str, now: datetime) -> float | None:
    target = http_date(value)
    if target is None:
        return None
    return max(0.0, (target - (http_date(server_date) or now)).total_seconds())


def http_date(value: str) -> datetime | None:
    """An HTTP-date as an aware UTC instant; ``None`` when it is not one."""
    try:
        instant = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
