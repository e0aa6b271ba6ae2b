"""How a connection proves who it is. Credentials live in headers of same-origin requests, nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import httpx

from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.secrets.secret import Secret


class Auth(Protocol):
    """Adds the credential to a request."""

    def apply(self, request: httpx.Request) -> None:
        """Sign ``request`` in place; called for each attempt, on the complete request.

        Raises:
            SyncError: a token could not be had.
        """
        ...

    def refresh(self) -> bool:
        """Forget a cached token after a 401. Whether another attempt makes sense."""
        ...

    def secrets(self) -> tuple[Secret, ...]:
        """Everything that must not show up in a message."""
        ...


class NoAuth:
    """For public downloads and gateways that add the credential themselves."""

    def apply(self, request: httpx.Request) -> None:
        del request

    def refresh(self) -> bool:
        return False

    def secrets(self) -> tuple[Secret, ...]:
        return ()


class HeaderAuth:
    """A long-lived key in a header: ``Authorization: Bearer <key>``, ``x-api-key: <key>``."""

    def __init__(self, header: str, key: Secret, *, prefix: str = "", others: Mapping[str, str] | None = None) -> None:
        """Raises `ConfigError`: the key holds a character that no key has."""
        odd = next((place for place, letter in enumerate(key.reveal(), 1) if not "!" <= letter <= "~"), 0)
        if odd:
            raise ConfigError(
                f"the key has a space, line break or special character at position {odd}, which no key has: "
                "copy it again, the key alone"
            )
        self._header = header
        self._key = key
        self._prefix = prefix
        self._others = dict(others or {})

    def apply(self, request: httpx.Request) -> None:
        request.headers[self._header] = self._prefix + self._key.reveal()
        for name, value in self._others.items():
            request.headers.setdefault(name, value)

    def refresh(self) -> bool:
        return False

    def secrets(self) -> tuple[Secret, ...]:
        return (self._key,)


def bearer(key: Secret) -> HeaderAuth:
    """``Authorization: Bearer <key>``."""
    return HeaderAuth("authorization", key, prefix="Bearer ")
