"""Sizes and durations as users write them."""

from __future__ import annotations

import re
from typing import Final

from spanledger.cli.errors import UserError

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def size(text: str, option: str) -> int:
    """Bytes of ``512MiB``, ``2G`` or ``1000``; K, M, G and T are powers of 1024.

    Raises:
        UserError: not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{option} {text!r} is not a size: write 512MiB or 8GiB")
    return int(float(match[1]) * 1024 ** "KMGT".find(match[2].upper()) * (1024 if match[2] else 1))


def seconds(text: str, option: str) -> float:
    """Seconds of ``30s``, ``5m``, ``1h`` or ``30``.

    Raises:
        UserError: not a duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{option} {text!r} is not a duration: write 30s, 5m or 1h")
    return float(match[1]) * _SECONDS[match[2] or "s"]
