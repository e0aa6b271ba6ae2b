"""Request fields that become span attributes as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

FieldTable = tuple[tuple[str, str, tuple[type, ...]], ...]
"""``(body field, span attribute, accepted types)``; a field of another type (``NOT_GIVEN``) is left out."""

_LIMIT: Final = 2**63
"""A span's numbers have 64 bits."""


def copy_fields(table: FieldTable, request: Mapping[str, Any], found: dict[str, Any]) -> None:
    for field, attribute, types in table:
        value = request.get(field)
        if isinstance(value, types) and not isinstance(value, bool):
            if isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
                continue
            found[attribute] = value
