"""Who sends: a Bearer token decides the org; the payload never does."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from spanledger.collector.errors import UnauthenticatedError, UnavailableError
from spanledger.collector.ports import TokenVerifier

DEFAULT_ORG: Final = "default"
_CACHE_ENTRIES: Final = 4096
_UNKNOWN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Known:
    org_id: str | None
    checked_at: float


class Authenticator:
    """Turns the ``authorization`` header of a request into an org. Thread-safe.

    A verified token is remembered for `fresh_seconds`, so that a revoked one stops working soon and the store is not
    asked for each request. While the token store does not answer, a token that was good within `stale_seconds` stays
    good: a store that is down for hours must not stop the receiver from accepting.
    """

    def __init__(
        self,
        verifier: TokenVerifier | None,
        *,
        required: bool,
        fresh_seconds: float = 2.0,
        stale_seconds: float = 86_400.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verifier = verifier
        self._required = required
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[bytes, _Known] = {}

    def org_of(self, authorization: str) -> str:
        """The org that a request belongs to.

        Args:
            authorization: the header's value, ``""`` when the request has none.

        Raises:
            UnauthenticatedError: no token where one is required, or a token that is not valid.
            UnavailableError: the token store does not answer and the token was not seen before.
        """
        scheme, _, token = authorization.strip().partition(" ")
        token = token.strip()
        if scheme.lower() not in ("bearer", ""):
            raise UnauthenticatedError("the authorization header must read 'Bearer <token>'")
        if not token:  # no header, or a template that was filled with nothing
            if self._required:
                raise UnauthenticatedError("no API token: send the header 'authorization: Bearer <token>'")
            return DEFAULT_ORG
        org_id = self._verify(token)
        if org_id is None:
            raise UnauthenticatedError("the API token is not valid: see 'spanledger tokens list'")
        return org_id

    def _verify(self, token: str) -> str | None:
        if self._verifier is None:
            return None
        key = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        now = self._clock()
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            # An unknown token may be made in the next moment, and a sender drops what is refused for a wrong token.
            fresh = self._fresh_seconds if known.org_id is not None else min(self._fresh_seconds, _UNKNOWN_SECONDS)
            if now - known.checked_at < fresh:
                return known.org_id
        try:
            org_id = self._verifier.verify(token)
        except Exception as error:
            if known is not None and known.org_id is not None and now - known.checked_at < self._stale_seconds:
                return known.org_id
            raise UnavailableError("API tokens cannot be checked right now") from error
        with self._lock:
            if len(self._known) >= _CACHE_ENTRIES:
                self._known.clear()
            self._known[key] = _Known(org_id, now)
        return org_id
