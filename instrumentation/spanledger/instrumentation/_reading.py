"""Reads what an SDK answered: pydantic models, plain documents, or anything odd. A missing field never raises.

``getattr(model, "absent", None)`` on a pydantic model costs microseconds (a failing ``__getattr__``), so fields are
read from the instance's own dict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

MAX_COUNT: Final = 2**53
"""What nobody counts; sums of a few of these still fit into the 64 bits that a span's numbers have."""
NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})


def fields(value: Any) -> Mapping[str, Any]:
    """The fields of a model or a document, extra ones included; empty for anything else."""
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType]
    own: Mapping[str, Any] = getattr(value, "__dict__", NO_FIELDS)
    # What the SDK's types do not know yet (a vendor's own usage fields) stands apart from the declared fields.
    extra: Mapping[str, Any] | None = getattr(value, "__pydantic_extra__", None)
    return {**own, **extra} if extra else own


def snapshot(value: Any) -> Mapping[str, Any]:
    """A copy of a small model, two levels deep: applications do add one answer's usage to another's."""
    return {
        name: field if field is None or type(field) is int else _copied(field) for name, field in fields(value).items()
    }


def _copied(value: Any) -> Any:
    if isinstance(value, (str, int, float, list, tuple)):
        return value  # pyright: ignore[reportUnknownVariableType]
    return dict(fields(value))


def integer(value: Any) -> int | None:
    """A token count, or ``None`` for anything that is not a non-negative whole number of a possible size."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if isinstance(value, float) and 0 <= value <= MAX_COUNT and value.is_integer():
        return int(value)
    return None


def text(value: Any) -> str:
    """A string, or ``""`` for anything else."""
    return value if isinstance(value, str) else ""


def items(value: Any) -> list[Any]:
    """A list, or an empty one for anything else."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def size(value: Any) -> int | None:
    """Bytes of a tool's input or output as UTF-8 (JSON for what is not a text); ``None`` when there is none."""
    if value is None:
        return None
    return len((value if isinstance(value, str) else to_json(value)).encode("utf-8", "surrogatepass"))


def to_json(value: Any) -> str:
    """Compact JSON; models are written by their fields, and what JSON cannot hold by its text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    known = fields(value)
    if known:
        return {name: field for name, field in known.items() if not name.startswith("_") and field is not None}
    return str(value)
