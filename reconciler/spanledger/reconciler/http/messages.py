"""Requests and responses as values, independent of the client library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request to a provider.

    Attributes:
        path: below the connection's base URL, beginning with ``/``; or an absolute URL on the same origin.
        params: query parameters in order; names may repeat.
        json: a JSON body (any value that ``json.dumps`` takes), or ``None``.
        form: an urlencoded body, or ``None``.
        content: a raw body, or ``None``.
        headers: beside those of the authentication.
        reads: ``json`` decodes the body (a body that is not JSON counts as a broken transfer and is retried);
            ``bytes`` leaves it alone; ``file`` writes it to a temporary file that the caller removes.
        permission: the scope or role that this request needs, in the provider's words, for error messages.
    """

    path: str
    method: str = "GET"
    params: tuple[tuple[str, str], ...] = ()
    json: Any = None
    form: Mapping[str, str] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)
    reads: str = "json"
    permission: str = ""
    turn: int = 0
    """Tells apart requests that are meant to be the same (polling)."""

    def identity(self) -> tuple[object, ...]:
        """Equal for two requests that would get the same answer: a repeated one is a cursor that does not move."""
        return (self.method, self.path, self.params, repr(self.json), repr(self.form), self.turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse:
    """A complete answer. ``document`` is the decoded body when the request reads JSON, else ``None``."""

    request: ApiRequest
    url: str
    """Where it came from, without credentials."""
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    document: Any
    fetched_at: datetime
    file: Path | None = None
    """The body, when the request asked for a file."""
