"""Units on bills: ``1K tokens``, ``1000000 Tokens``, ``Minutes`` → our unit and how many of it one is."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_SCALED: Final = re.compile(r"(?:(\d[\d,]*)\s*)?([kKmMbB])?\s*([A-Za-z][A-Za-z -]*)")
_LETTERS: Final = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
_NAMES: Final = {
    "token": ("tokens", 1),
    "request": ("requests", 1),
    "call": ("requests", 1),
    "search": ("searches", 1),
    "searche": ("searches", 1),
    "image": ("images", 1),
    "character": ("characters", 1),
    "second": ("seconds", 1),
    "minute": ("seconds", 60),
    "hour": ("seconds", 3600),
    "page": ("pages", 1),
    "session": ("sessions", 1),
}


def read_unit(said: str) -> tuple[str, Decimal] | None:
    """Our unit and its factor; ``None`` for units that are in no table (hours of provisioned throughput, ``Units``)."""
    match = _SCALED.fullmatch(said.strip())
    if match is None:
        return None
    digits, letter, word = match.groups()
    known = _NAMES.get(word.strip().lower().removesuffix("s"))
    if known is None and letter:
        # The letter may have been the word's own: "Minutes".
        known = _NAMES.get((letter + word).strip().lower().removesuffix("s"))
        letter = None
    if known is None:
        return None
    name, factor = known
    scale = int(digits.replace(",", "")) if digits else 1
    return name, Decimal(scale * _LETTERS.get((letter or "").lower(), 1) * factor)


def scaled(quantity: Decimal | None, unit: str) -> tuple[Decimal | None, str]:
    """A quantity in single units; as it is, under its own unit, when the unit is unknown."""
    if quantity is None:
        return None, ""
    known = read_unit(unit)
    return (quantity * known[1], known[0]) if known else (quantity, unit)
