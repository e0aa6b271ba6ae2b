"""Who may see what: an API token shows one organisation; no token shows everything or nothing.

A listener on loopback is usually open: a request without a token sees all organisations. Everywhere else a token is
required. A token that is presented is always checked, on an open listener too, and narrows the answer to its own
organisation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass

VerifyToken = Callable[[str], str | None]
"""Looks an API token up: its organisation, or ``None`` for an unknown or revoked token. May read the store."""


class AccessDeniedError(Exception):
    """A token is missing, unknown or revoked; the message is one readable line for the caller."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request may see.

    Attributes:
        org_id: the only organisation in sight; ``None`` for all of them.
    """

    org_id: str | None = None


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Access:
    """The rule of one listener.

    Attributes:
        verify: looks a token up; ``None`` when the installation has no tokens at all.
        is_open: whether a request without a token is served, and then sees all organisations.
    """

    verify: VerifyToken | None = None
    is_open: bool = False

    def scope(self, token: str) -> Scope:
        """Decide what the bearer of `token` sees (``""`` when the request has none).

        Raises:
            AccessDeniedError: no token where one is needed, or a token that nobody knows.
        """
        if not token:
            if self.is_open:
                return EVERYTHING
            raise AccessDeniedError("a token is needed: make one with 'spanledger tokens create', send it as Bearer")
        org_id = self.verify(token) if self.verify is not None else None
        if org_id is None:
            raise AccessDeniedError("unknown or revoked token: list the valid ones with 'spanledger tokens list'")
        return Scope(org_id)


def bearer_token(headers: Mapping[str, str]) -> str:
    """The token of an ``Authorization: Bearer`` header; ``""`` when there is none.

    Raises:
        AccessDeniedError: the header has another scheme (a proxy's Basic login, say), which we cannot check.
    """
    header = headers.get("authorization", "").strip()
    if not header:
        return ""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "bearer":
        raise AccessDeniedError(f"Authorization scheme {scheme[:20]!r} is not served: send 'Bearer <token>'")
    return value.strip()


def clickhouse_token(headers: Mapping[str, str]) -> str:
    """The token as ClickHouse clients send it: the password of Basic, ``X-ClickHouse-Key``, or Bearer.

    The user name says nothing (clients always send one, ``default`` as a rule); an empty password is no token.

    Raises:
        AccessDeniedError: an Authorization header that cannot be read.
    """
    header = headers.get("authorization", "").strip()
    if header[:6].lower() == "basic ":
        try:
            login = base64.b64decode(header[6:].strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise AccessDeniedError("the Authorization header is not valid Basic base64") from None
        return login.partition(":")[2]
    return bearer_token(headers) or headers.get("x-clickhouse-key", "")
