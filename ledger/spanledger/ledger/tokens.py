"""API tokens: each belongs to one org, and only its hash is kept."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.database import Database
from spanledger.ledger.errors import PermanentStoreError

PREFIX: Final = "slt_"
FRESH_SECONDS: Final = 10.0
"""How long a process may go on with what it knows of tokens: a revocation by another process is seen after that."""
UNKNOWN_SECONDS: Final = 1.0
"""An unknown token may be one that another process has just made: the store is asked again, at most this often."""

_CREATING: Final = "creating a token"
_REVOKING: Final = "revoking a token"


@dataclass(frozen=True, slots=True)
class Token:
    """What may be shown of a token."""

    token_id: str
    org_id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


class Tokens:
    """The tokens of a store. Thread-safe."""

    def __init__(
        self,
        client: Client,
        *,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = Database(client)
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._orgs: dict[bytes, str] = {}
        self._loaded: float | None = None

    def create(self, org_id: str, name: str = "") -> tuple[str, Token]:
        """Make a token for `org_id` (made known when new). The first value is the secret: it is never shown again.

        Raises:
            PermanentStoreError: the org's name is empty.
        """
        if not org_id.strip():
            raise PermanentStoreError("a token needs an org: name one with --org")
        secret = PREFIX + secrets.token_urlsafe(32)
        now = self._clock()
        token = Token(secrets.token_hex(4), org_id, name, _time(now), None)
        with self._lock:
            columns = ("org_id", "name", "created_at", "version")
            self._database.insert_rows("orgs", columns, [[org_id, org_id, token.created_at, 1]], _CREATING)
            self._write(token, _hash(secret), now, _CREATING)
            self._loaded = None
        return secret, token

    def list(self, org_id: str | None = None) -> list[Token]:
        """All tokens, or one org's, oldest first; revoked ones too."""
        with self._lock:
            return [Token(*row) for row in self._database.rows("tokens", {"org": org_id or ""}, "listing tokens")]

    def revoke(self, token_id: str) -> Token:
        """Make a token useless, at once in this process and within `FRESH_SECONDS` in others.

        Raises:
            PermanentStoreError: there is no such token.
        """
        with self._lock:
            rows = self._database.rows("token", {"id": token_id}, _REVOKING)
            if not rows:
                raise PermanentStoreError(f"no token {token_id!r}: `spanledger tokens list` shows them")
            *fields, token_hash = rows[0]
            token = Token(*fields)
            if token.revoked_at is None:
                now = self._clock()
                token = replace(token, revoked_at=_time(now))
                self._write(token, bytes(token_hash), now, _REVOKING)
            self._loaded = None
        return token

    def verify(self, token: str) -> str | None:
        """The org that a presented token belongs to; ``None`` for an unknown or revoked one.

        Cheap enough for every request: the store is asked at most once in `FRESH_SECONDS`, for tokens that it does not
        know at most once in `UNKNOWN_SECONDS`.
        """
        presented = _hash(token)
        with self._lock:
            limit = FRESH_SECONDS if presented in self._orgs else UNKNOWN_SECONDS
            if self._loaded is None or self._monotonic() - self._loaded > limit:
                self._load()
            # The table is keyed by hash, so timing tells nothing about the secrets themselves.
            return self._orgs.get(presented)

    def any(self) -> bool:
        """Whether at least one usable token exists."""
        with self._lock:
            if self._loaded is None or self._monotonic() - self._loaded > FRESH_SECONDS:
                self._load()
            return bool(self._orgs)

    def _load(self) -> None:
        rows = self._database.rows("usable_tokens", {}, "reading tokens")
        self._orgs = {bytes(token_hash): org for token_hash, org in rows}
        self._loaded = self._monotonic()

    def _write(self, token: Token, token_hash: bytes, version: int, doing: str) -> None:
        columns = ("token_id", "org_id", "name", "created_at", "revoked_at", "token_hash", "version")
        row = [token.token_id, token.org_id, token.name, token.created_at, token.revoked_at, token_hash, version]
        self._database.insert_rows("api_tokens", columns, [row], doing)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 10**6 / 1000, UTC)
