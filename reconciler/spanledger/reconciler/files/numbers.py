"""Numbers as people and spreadsheets write them: ``1,234.56``, ``1.234,56``, ``(5.00)``, ``$0.25``.

A comma that may be a decimal sign or a separator of thousands is never guessed at: the cell is refused until somebody
says which, since the two readings are a factor of a thousand apart.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from spanledger.semconv.money import MoneyError, parse

DECIMALS: Final = (".", ",")
"""The signs that may stand before a fraction."""

HOW: Final = "--decimal . or --decimal ,"
"""How somebody says which."""

_DECORATION: Final = re.compile(r"[$€£¥\s'’]")
"""Signs of currencies, spaces (also those that do not break), apostrophes between thousands."""
_GROUPED: Final = {
    ".": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?"),
    ",": re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?"),
}
_ONE_COMMA: Final = re.compile(r"[+-]?\d*,\d+")
_EITHER: Final = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


class NumberError(ValueError):
    """A text is no number, or more than one; says which."""


def read_number(said: str, decimal: str = "", *, whole: bool = False) -> tuple[Decimal, str]:
    """A number, and the decimal sign that the text shows (``""`` when it shows none).

    Args:
        said: the cell.
        decimal: the decimal sign, where somebody said it.
        whole: of something counted one by one: a comma before three digits separates thousands.

    Raises:
        NumberError: not a number, or one that can be read in two ways.
    """
    plain = _DECORATION.sub("", said)
    negative = plain.startswith("(") and plain.endswith(")")
    plain = plain[1:-1] if negative else plain
    sign = decimal or _shown(said, plain, whole=whole)
    if _GROUPED[sign].fullmatch(plain):
        plain = plain.replace("," if sign == "." else ".", "")
    elif decimal == "," and "." in plain:
        raise NumberError(f"{said!r} is not a number with a decimal comma ({HOW})")
    plain = plain.replace(",", ".") if sign == "," else plain
    try:
        value = parse(plain)
    except MoneyError:
        raise NumberError(f"{said!r} is not a number") from None
    return -value if negative and value else value, sign if "." in plain else ""


def _shown(said: str, plain: str, *, whole: bool) -> str:
    """The decimal sign that a text can only have."""
    if _EITHER.fullmatch(plain) and not whole:
        raise NumberError(f"{said!r} may be a thousand times more or less: say which decimal sign it has ({HOW})")
    if _GROUPED["."].fullmatch(plain) and (whole or not plain.lstrip("+-").startswith("0,")):
        return "."
    if _GROUPED[","].fullmatch(plain) and ("," in plain or plain.count(".") > 1):
        return ","
    return "," if _ONE_COMMA.fullmatch(plain) else "."
