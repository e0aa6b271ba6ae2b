"""A value that does not print."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import quote, quote_plus

_MASK = "***"


class Secret:
    """Holds a secret text; every way to print, format, compare by accident or pickle it gives ``***`` or fails."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself: for the one call that puts it on the wire."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied out of the process")


class Redactor:
    """Takes known secrets out of texts that others wrote: provider messages, URLs, response bodies."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._values: list[str] = []
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: Secret) -> None:
        """Remember one more (a token that was issued meanwhile). Very short values would blank out innocent text."""
        value = secret.reveal()
        for plain in {value, *value.splitlines()}:
            # An echo may be a piece of JSON or of a form.
            for form in (plain, json.dumps(plain)[1:-1], quote(plain, safe=""), quote_plus(plain)):
                if len(form) >= 6 and form not in self._values:
                    self._values.append(form)
        self._values.sort(key=len, reverse=True)

    def clean(self, said: str) -> str:
        for value in self._values:
            said = said.replace(value, _MASK)
        return said

    def clean_bytes(self, body: bytes) -> bytes:
        for value in self._values:
            body = body.replace(value.encode(), _MASK.encode())
        return body
