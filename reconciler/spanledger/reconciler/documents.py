"""Reading providers' JSON without losing a digit and without trusting its types.

Numbers with a point become ``Decimal`` from their text, never floats. The accessors say what was found where, so that a
changed shape gives one readable line instead of a traceback.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn, cast

from spanledger.reconciler.errors import PermanentSyncError, State
from spanledger.semconv.money import MoneyError, parse

Json = dict[str, Any]


class ShapeError(PermanentSyncError):
    """The provider's answer has another shape than its documentation."""

    def __init__(self, message: str) -> None:
        super().__init__(State.DEGRADED, message)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def load(body: bytes | str) -> Any:
    """Parse JSON with exact numbers.

    Raises:
        ValueError: the text is not JSON (cut off, HTML, NaN, a thousand brackets inside each other).
    """
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def obj(value: object, where: str) -> Json:
    """``value`` as an object. Raises `ShapeError`."""
    if isinstance(value, dict):
        return cast("Json", value)
    raise ShapeError(f"{where}: expected an object, found {type(value).__name__}")


def maybe_obj(value: object) -> Json:
    """``value`` as an object, or an empty one when it is anything else (null, absent)."""
    return cast("Json", value) if isinstance(value, dict) else {}


def rows(value: object, where: str) -> list[Any]:
    """``value`` as an array. Raises `ShapeError`."""
    if isinstance(value, list):
        return value  # pyright: ignore[reportUnknownVariableType]
    raise ShapeError(f"{where}: expected an array, found {type(value).__name__}")


def maybe_rows(value: object) -> list[Any]:
    """``value`` as an array, or an empty one when it is anything else (null, absent)."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def objects(value: object, where: str) -> Iterator[Json]:
    """The elements of an array of objects. Raises `ShapeError`."""
    for index, element in enumerate(rows(value, where)):
        yield obj(element, f"{where}[{index}]")


def named(names: Sequence[str], values: Sequence[Any], where: str) -> Json:
    """A positional row by its columns' names. Raises `ShapeError`."""
    if len(names) != len(values):
        raise ShapeError(f"{where}: {len(values)} values for {len(names)} columns")
    return dict(zip(names, values, strict=True))


def text(value: object) -> str:
    """``value`` as text: ``""`` for null, the JSON words for booleans, digits for numbers."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def quantity(value: object) -> Decimal | None:
    """A quantity from a number or a decimal text; ``None`` for null, absent or unreadable: it only enriches."""
    if type(value) is int:
        return Decimal(value)
    if value is None or value == "" or isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        return parse(value)
    except MoneyError:
        return None


def unix_time(value: object, where: str) -> datetime:
    """An instant from Unix seconds (number or text). Raises `ShapeError`."""
    seconds = quantity(value)
    if seconds is None:
        raise ShapeError(f"{where}: expected Unix seconds, found {value!r}")
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise ShapeError(f"{where}: {value!r} is no time") from error


def rfc3339(value: object, where: str) -> datetime:
    """An instant from RFC 3339 text; a time without a zone is UTC. Raises `ShapeError`."""
    try:
        instant = datetime.fromisoformat(text(value))
    except ValueError as error:
        raise ShapeError(f"{where}: expected a time like 2026-11-01T00:00:00Z, found {value!r}") from error
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
