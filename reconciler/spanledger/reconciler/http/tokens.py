"""Short-lived bearer tokens: fetched when needed, kept until shortly before they expire, renewed once after a 401."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.secrets.secret import Redactor, Secret

_MARGIN_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and how long it lives from now, in seconds."""

    value: Secret
    lifetime: float


class TokenAuth:
    """``Authorization: Bearer <token>`` with a token from ``fetch``."""

    def __init__(self, fetch: Callable[[], Token], clock: Clock, secrets: tuple[Secret, ...]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._secrets = secrets
        self._token: Secret | None = None
        self._good_until = 0.0
        self._lock = threading.Lock()
        self.redactor: Redactor | None = None

    def apply(self, request: httpx.Request) -> None:
        request.headers["authorization"] = f"Bearer {self._current().reveal()}"

    def refresh(self) -> bool:
        with self._lock:
            self._token = None
        return True

    def secrets(self) -> tuple[Secret, ...]:
        return self._secrets

    def _current(self) -> Secret:
        with self._lock:
            if self._token is None or self._clock.monotonic() >= self._good_until:
                token = self._fetch()
                self._token = token.value
                self._good_until = self._clock.monotonic() + max(0.0, token.lifetime - _MARGIN_SECONDS)
                if self.redactor is not None:
                    self.redactor.learn(token.value)
            return self._token
